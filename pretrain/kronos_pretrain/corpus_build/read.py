"""TOML file → checked manifest."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from glob import has_magic
from pathlib import Path
from typing import Any

from kronos_pretrain.corpus_build.ids import known_markers, vocabulary_at
from kronos_pretrain.corpus_build.manifest import VERDICTS, CorpusSettings, Entry, Exclusion, Manifest, Quality, section
from kronos_pretrain.corpus_build.values import value
from kronos_sc._core.checks import listed, near, one_of, repeated

TOP = ("corpus", "quality", "channels", "exclude", "image")
LEAST_STRIDE, MOST_STRIDE = 32, 2048


def read(path: str | Path) -> Manifest:
    """Read and check a manifest; no image is opened.

    Parameters
    ----------
    path
        A TOML file.

    Raises
    ------
    FileNotFoundError
        The manifest, an image or the vocabulary does not exist, or a pattern finds nothing.
    KeyError, TypeError, ValueError
        A key is unknown, a value of the wrong type or out of range, or a name or an image is there twice.
    """
    path = Path(path)
    record = _parsed(path)
    for key in record:
        if key not in TOP:
            close = near(key, TOP)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            msg = f"{path.name} has no section {key!r}; it has {listed(TOP)}.{hint} Correct or remove it."
            raise KeyError(msg)

    settings = section(CorpusSettings, record.get("corpus", {}), f"{path.name} [corpus]")
    quality = section(Quality, record.get("quality", {}), f"{path.name} [quality]")
    _check_settings(settings, quality)
    entries = [
        section(Entry, table, f"{path.name} [[image]] number {number}")
        for number, table in enumerate(_tables(record, "image", path), 1)
    ]
    exclusions = [
        section(Exclusion, table, f"{path.name} [[exclude]] number {number}")
        for number, table in enumerate(_tables(record, "exclude", path), 1)
    ]
    if not entries:
        msg = f"{path.name} lists no image. Add [[image]] with path = and subset = for each."
        raise ValueError(msg)

    base = _root(settings, path)
    images = [image for entry in entries for image in _expand(entry, path, base)]
    channels = value("Mapping[str, str | None]", record.get("channels", {}), f"{path.name} [channels]")
    given = vocabulary_at(settings.vocabulary, path.resolve().parent, f"vocabulary of {path.name} [corpus]")
    return Manifest(
        path, settings, quality, channels, tuple(exclusions), _named(images, path), given, known_markers(given)
    )


def _parsed(path: Path) -> dict[str, Any]:
    if not path.is_file():
        msg = f"There is no manifest {str(path)!r}. Write one: [[image]] with path = and subset = for each image."
        raise FileNotFoundError(msg)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path.name} is no TOML file: {error}. Correct that line."
        raise ValueError(msg) from error


def _tables(record: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    tables = record.get(key, [])
    if not isinstance(tables, list):
        msg = f"{path.name} has one table [{key}]; there can be several of them. Write [[{key}]]."
        raise TypeError(msg)
    required = {"image": ("path", "subset"), "exclude": ("marker",)}[key]
    for number, table in enumerate(tables, 1):
        if missing := [name for name in required if not isinstance(table, Mapping) or not table.get(name)]:
            msg = f"{path.name} [[{key}]] number {number} lacks {listed(missing)}. Add {missing[0]} = to it."
            raise ValueError(msg)
    return tables


def _check_settings(settings: CorpusSettings, quality: Quality) -> None:
    one_of(settings.format, ("zarr", "npy"), name="format of [corpus]")
    stride = settings.stride
    patch = settings.patch
    # a power of two: blocks, shards and the cells of masks then share their edges
    if not LEAST_STRIDE <= stride <= MOST_STRIDE or stride & (stride - 1):
        msg = (
            f"stride={stride} of [corpus] is no power of two from {LEAST_STRIDE} to {MOST_STRIDE}. The paper's is 128."
        )
        raise ValueError(msg)
    if patch < stride or patch % stride:
        msg = f"patch={patch} of [corpus] is no multiple of stride={stride}. The paper's are 256 and 128."
        raise ValueError(msg)
    for name in ("least_tissue", "most_artifacts", "saturation", "blur"):
        if not 0 <= getattr(settings, name) <= 1:
            msg = f"{name}={getattr(settings, name)!r} of [corpus] is no share; it can be 0 to 1."
            raise ValueError(msg)
    for verdict in quality.drop:
        one_of(verdict, VERDICTS[1:], name="each of drop in [quality]")


def _root(settings: CorpusSettings, manifest: Path) -> Path:
    """Return the folder that paths are relative to."""
    root = os.path.expandvars(settings.root)
    base = (manifest.resolve().parent / root).resolve()
    if not base.is_dir():
        hint = " A variable of the environment is not set." if "$" in root else ""
        msg = (
            f"root={settings.root!r} of {manifest.name} [corpus] is no folder ({str(base)!r}).{hint} Correct it, or "
            "leave it out."
        )
        raise FileNotFoundError(msg)
    return base


def _expand(entry: Entry, manifest: Path, base: Path) -> list[Entry]:
    """Return one entry per image of a pattern, or the entry itself."""
    one_of(entry.nan, ("error", "zero"), name=f"nan of {str(entry.path)!r}")
    one_of(entry.tissue, ("auto", "all"), name=f"tissue of {str(entry.path)!r}")
    if entry.max_value < 0:
        msg = (
            f"max_value of {str(entry.path)!r} is {entry.max_value}; it must be above 0. Leave it out for the full "
            "scale of the dtype."
        )
        raise ValueError(msg)
    if not has_magic(str(entry.path)):
        whole = base / entry.path
        if not whole.exists():
            msg = (
                f"{manifest.name} lists {str(entry.path)!r}, and there is no such file or folder in {str(base)!r}. "
                "Correct the path."
            )
            raise FileNotFoundError(msg)
        return [replace(entry, path=whole)]

    # pathlib takes relative patterns alone
    anchor, pattern = base, entry.path
    if entry.path.is_absolute():
        anchor = Path(entry.path.anchor)
        pattern = entry.path.relative_to(anchor)
    paths = sorted(path for path in anchor.glob(str(pattern)) if not path.name.startswith("."))
    if not paths:
        msg = f"{manifest.name}: the pattern {str(entry.path)!r} finds nothing in {str(base)!r}. Correct it."
        raise FileNotFoundError(msg)
    if entry.name and len(paths) > 1:
        msg = (
            f"{manifest.name}: name={entry.name!r} stands for the {len(paths)} images of {str(entry.path)!r}. Leave "
            "name out: files name them."
        )
        raise ValueError(msg)
    return [replace(entry, path=path) for path in paths]


def _named(images: list[Entry], manifest: Path) -> tuple[Entry, ...]:
    """Give each image a name: its file's, with the folder's where file names repeat."""
    if twice := repeated(f"{entry.path} {entry.image}".strip() for entry in images):
        msg = (
            f"{manifest.name} lists {listed(twice)} more than once. Remove one of them; an image belongs to one subset."
        )
        raise ValueError(msg)
    stems = [entry.name or _stem(entry) for entry in images]
    ambiguous = set(repeated(stems))
    names = [
        f"{entry.path.parent.name}-{stem}" if stem in ambiguous and not entry.name else stem
        for entry, stem in zip(images, stems, strict=True)
    ]
    if twice := repeated(names):
        paths = listed(entry.path for entry, name in zip(images, names, strict=True) if name in twice)
        msg = f"{manifest.name}: several images are called {listed(twice)} ({paths}). Give each a name = of its own."
        raise ValueError(msg)
    return tuple(replace(entry, name=name) for entry, name in zip(images, names, strict=True))


def _stem(entry: Entry) -> str:
    stem = entry.path.name
    for ending in (".tif", ".tiff", ".qptiff", ".npy", ".zarr", ".ome"):
        if stem.lower().endswith(ending):
            stem = stem[: -len(ending)]
    return f"{stem}-{entry.image}" if entry.image else stem
