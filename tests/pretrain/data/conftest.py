"""A small corpus on disk, written by zarr-python and numpy, and its pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from kronos_sc.markers import Marker, Vocabulary

PATCH = 32
NAMES = ("DAPI", "HOECHST", "CD3", "CD8", "CD20", "CD68")
IDS = (4, 6, 222, 270, 206, 264)


class Written(NamedTuple):
    """A corpus on disk and what it holds."""

    folder: Path
    pixels: dict[str, np.ndarray]
    record: dict


def write_zarr(path: Path, pixels: np.ndarray, *, chunk: int = 16, shard: int = 64, empty: bool = True):
    """Write (planes, h, w) in the layout of a corpus, with small chunks; return the array."""
    import zarr
    from zarr.codecs import ZstdCodec

    array = zarr.create_array(
        path,
        shape=pixels.shape,
        dtype=pixels.dtype,
        chunks=(1, chunk, chunk),
        shards=(1, shard, shard),
        compressors=ZstdCodec(level=3, checksum=True),
        fill_value=0,
        zarr_format=3,
        config={"write_empty_chunks": empty},
    )
    array[:] = pixels
    return array


def vocabulary(**changes: dict) -> Vocabulary:
    """Six markers, two of them nuclear; fields may be changed by name of the marker."""
    made = []
    for i, (name, number) in enumerate(zip(NAMES, IDS, strict=True)):
        fields = {"mean": 0.1 + 0.01 * i, "std": 0.2 + 0.05 * i, "role": "nuclear" if i < 2 else "other"} | changes.get(
            name, {}
        )
        made.append(Marker(name, number, **fields))
    return Vocabulary("tests", tuple(made))


def write_corpus(folder: Path, rng: np.random.Generator) -> Written:
    """Write three images of two subsets: uint16 in Zarr, uint8 in Zarr, float32 in .npy."""
    kinds = (
        ("one", "a · CODEX", "uint16", 65535.0, "zarr", (100, 150)),
        ("two", "a · CODEX", "uint8", 255.0, "zarr", (64, 64)),
    )
    kinds += (("three", "b · IMC", "float32", 1.0, "npy", (40, 70)),)
    pixels = {}
    images = []
    for number, (name, subset, dtype, scale, kind, shape) in enumerate(kinds):
        home = folder / f"images/{number:04}-{name}"
        home.mkdir(parents=True)
        planes = list(range(6)) if number == 0 else [0, 2, 3, 5]
        raw = (rng.random((len(planes), *shape)) * scale).astype(dtype)
        if kind == "zarr":
            write_zarr(home / "pixels.zarr", raw)
        else:
            np.save(home / "pixels.npy", raw)
        corners = [(y, x) for y in range(0, shape[0] - PATCH + 1, 16) for x in range(0, shape[1] - PATCH + 1, 16)]
        np.save(home / "origins.npy", np.array(corners, np.int32))
        markers = [
            {"channel": f"{NAMES[p]} raw", "marker": NAMES[p], "id": IDS[p], "plane": i} for i, p in enumerate(planes)
        ]
        about = {
            "name": name,
            "subset": subset,
            "folder": f"images/{number:04}-{name}",
            "pixels": f"pixels.{kind}",
            "shape": list(shape),
        }
        images.append(about | {"dtype": dtype, "scale": scale, "markers": markers, "origins": len(corners)})
        pixels[name] = raw
    record = {
        "format": "kronos-corpus/1",
        "patch": PATCH,
        "stride": 16,
        "vocabulary": vocabulary().to_dict(),
        "images": images,
    }
    (folder / "corpus.json").write_text(json.dumps(record), encoding="utf-8")
    return Written(folder, pixels, record)


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Written:
    """A corpus that tests only read."""
    return write_corpus(tmp_path_factory.mktemp("corpus"), np.random.default_rng(0))


@pytest.fixture
def spoilt(tmp_path) -> Written:
    """A corpus that a test may damage."""
    return write_corpus(tmp_path / "corpus", np.random.default_rng(0))


@pytest.fixture(scope="session")
def zarr_writer():
    """The function that writes an array in the layout of a corpus."""
    return write_zarr


@pytest.fixture(scope="session")
def some_vocabulary():
    """The function that makes the vocabulary of the corpus, changed where asked."""
    return vocabulary
