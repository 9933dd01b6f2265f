"""Labelled patches, by which frozen features are judged while training goes on: one file, arrays only."""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from kronos_sc._core.checks import listed, positive_number, repeated

if TYPE_CHECKING:
    import os

MULTIPLE = 16  # edge of a token
DTYPES = ("uint8", "uint16", "float32")
SPLITS = ("train", "test")
_UNREADABLE = (BadZipFile, zlib.error, ValueError, EOFError, OSError, TypeError)  # TypeError: an array, no archive
NEEDED = ("name", "pixels", "scale", "labels", "split", "markers")


@dataclass(frozen=True, eq=False)
class Labelled:
    """Patches with a class each, in a part to learn from and a part to be tested on.

    Parameters
    ----------
    name
        For log lines.
    pixels
        Raw intensities (n, m, h, w), uint8, uint16 or float32; h and w are multiples of 16.
    scale
        Raw value that becomes 1.
    labels
        Class of each patch (n,).
    split
        `"train"` or `"test"` for each patch (n,).
    markers
        Channel names (m,).
    mask
        Pixels that belong to the patch's cell (n, h, w), if features are to see nothing else; others are set to the
        marker's mean.
    """

    name: str
    pixels: np.ndarray
    scale: float
    labels: np.ndarray
    split: np.ndarray
    markers: tuple[str, ...]
    mask: np.ndarray | None = None

    def __post_init__(self) -> None:
        # lists and object arrays are welcome; everything below sees one form
        for field in ("labels", "split"):
            object.__setattr__(self, field, np.asarray(getattr(self, field), dtype=np.str_))
        object.__setattr__(self, "markers", tuple(str(marker) for marker in self.markers))
        object.__setattr__(self, "scale", positive_number(float(self.scale), name="scale"))
        _check_arrays(self)
        _check_split(self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Labelled:
        """Read a file written by :meth:`save`, or any `.npz` that holds the fields of this class as arrays."""
        path = Path(path)
        if not path.is_file():
            msg = (
                f"There is no file {str(path)!r} of labelled patches (watch.labelled). Make one with python -m "
                "kronos_pretrain labelled."
            )
            raise FileNotFoundError(msg)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
        except _UNREADABLE as error:
            msg = (
                f"{path} is not a readable .npz of plain arrays ({error}); it may be truncated. Write it again with "
                "python -m kronos_pretrain labelled."
            )
            raise ValueError(msg) from error
        if missing := [key for key in NEEDED if key not in arrays]:
            msg = (
                f"{path} lacks {listed(missing)}; it holds {listed(arrays)}. Write it with Labelled.save, or python -m "
                "kronos_pretrain labelled."
            )
            raise ValueError(msg)
        return cls(
            name=str(arrays["name"]),
            pixels=arrays["pixels"],
            scale=float(arrays["scale"]),
            labels=arrays["labels"],
            split=arrays["split"],
            markers=tuple(arrays["markers"].tolist()),
            mask=arrays["mask"].astype(bool) if "mask" in arrays else None,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an `.npz`, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            "name": self.name,
            "pixels": self.pixels,
            "scale": self.scale,
            "labels": self.labels,
            "split": self.split,
            "markers": np.asarray(self.markers),
        }
        if self.mask is not None:
            arrays["mask"] = self.mask
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as staging:
            whole = Path(staging) / "labelled.npz"
            np.savez_compressed(whole, **arrays)
            whole.replace(path)

    def __len__(self) -> int:
        return len(self.pixels)

    def __str__(self) -> str:
        sizes = ", ".join(f"{(self.split == part).sum()} {part}" for part in SPLITS)
        h, w = self.pixels.shape[2:]
        return (
            f"{self.name}: {len(self)} patches ({sizes}) of {h} × {w} pixels, {len(self.markers)} markers, "
            f"{len(self.classes)} classes"
        )

    @property
    def classes(self) -> np.ndarray:
        """Names of the classes, sorted."""
        return np.unique(self.labels)

    @property
    def codes(self) -> np.ndarray:
        """Class of each patch as a position in `classes` (n,), int64."""
        return np.searchsorted(self.classes, self.labels)

    def part(self, split: str) -> np.ndarray:
        """Return the positions of the patches of a part."""
        return np.flatnonzero(self.split == split)


def _check_arrays(labelled: Labelled) -> None:
    pixels = labelled.pixels
    name = labelled.name
    if pixels.ndim != 4 or pixels.dtype.name not in DTYPES:
        msg = (
            f"Labelled patches {name!r} are {pixels.dtype} {pixels.shape}; they must be (patches, markers, rows, "
            f"columns) of {', '.join(DTYPES)}."
        )
        raise ValueError(msg)
    n, m, h, w = pixels.shape
    if not n or not h or h % MULTIPLE or w % MULTIPLE or h != w:
        msg = (
            f"Labelled patches {name!r} are {n} of {h} × {w} pixels; they must be square, the edge a multiple of "
            f"{MULTIPLE}. Cut them with size=64, say."
        )
        raise ValueError(msg)
    expected: dict[str, tuple[int, ...]] = {"labels": (n,), "split": (n,), "markers": (m,)}
    if labelled.mask is not None:
        expected["mask"] = (n, h, w)
    shapes = {key: np.shape(getattr(labelled, key)) for key in expected}
    if wrong := [f"{key} {shapes[key]} for {shape}" for key, shape in expected.items() if shapes[key] != shape]:
        msg = (
            f"Labelled patches {name!r} have arrays of another length than pixels {pixels.shape}: {', '.join(wrong)}. "
            "Give one entry per patch or marker."
        )
        raise ValueError(msg)
    if twice := repeated(labelled.markers):
        msg = (
            f"Labelled patches {name!r} name the markers {listed(twice)} more than once; names must differ. Rename or "
            "drop them."
        )
        raise ValueError(msg)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        bad = int((~np.isfinite(pixels)).any((1, 2, 3)).sum())
        msg = (
            f"Labelled patches {name!r}: {bad} of {n} hold NaN or infinite pixels; features of them would be, too. "
            "Leave these patches out."
        )
        raise ValueError(msg)


def _check_split(labelled: Labelled) -> None:
    name = labelled.name
    splits = np.unique(labelled.split)
    if not np.isin(splits, SPLITS).all():
        msg = (
            f"Labelled patches {name!r} have the splits {listed(splits)}; there are 'train' and 'test'. Name each "
            "patch's part by one of them."
        )
        raise ValueError(msg)
    if len(labelled.classes) < 2:
        msg = (
            f"Labelled patches {name!r} hold one class only ({listed(labelled.classes)}); there is nothing to tell "
            "apart. Take a column with two or more."
        )
        raise ValueError(msg)
    for part in SPLITS:
        if missing := sorted(set(labelled.classes) - set(labelled.labels[labelled.split == part])):
            msg = (
                f"The {part} part of {name!r} lacks {len(missing)} of {len(labelled.classes)} classes "
                f"({listed(missing)}). "
                "Leave them out, or split otherwise."
            )
            raise ValueError(msg)
