"""Where pixels come from: sharded Zarr, a memory-mapped .npy, or an array in memory; all are read by window.

A source holds no open file and no map, so that it can be sent to another process, forked, and used by several threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from kronos_pretrain.data import shards

if TYPE_CHECKING:
    from collections.abc import Sequence

OPEN_MAPS = 128  # .npy files mapped at a time per process; each holds a file descriptor


class PixelSource(Protocol):
    """The planes of one image."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, height, width."""

    @property
    def dtype(self) -> np.dtype:
        """Of the raw values."""

    def read(self, planes: Sequence[int] | np.ndarray, row: int, column: int, size: int) -> np.ndarray:
        """Return the raw values of a square window whose first pixel is (row, column): (len(planes), size, size)."""


@dataclass(frozen=True, eq=False)
class ArraySource:
    """An array in memory.

    Parameters
    ----------
    pixels
        Raw values (planes, height, width).
    """

    pixels: np.ndarray

    def __post_init__(self) -> None:
        _require_planes(self.pixels, "This array")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, height, width."""
        return self.pixels.shape

    @property
    def dtype(self) -> np.dtype:
        """Of the raw values."""
        return self.pixels.dtype

    def read(self, planes: Sequence[int] | np.ndarray, row: int, column: int, size: int) -> np.ndarray:
        """Return the raw values of a square window whose first pixel is (row, column): (len(planes), size, size)."""
        _require_inside(self.shape, planes, row, column, size)
        return self.pixels[np.asarray(planes), row : row + size, column : column + size]


@dataclass(frozen=True)
class NpySource:
    """A plain .npy file (planes, height, width), memory-mapped: no codec, the fastest to read and the largest on disk.

    Parameters
    ----------
    path
        The file.
    image
        Name of the image, for messages.
    """

    path: Path
    image: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, height, width."""
        return self._mapped().shape

    @property
    def dtype(self) -> np.dtype:
        """Of the raw values."""
        return self._mapped().dtype

    def read(self, planes: Sequence[int] | np.ndarray, row: int, column: int, size: int) -> np.ndarray:
        """Return the raw values of a square window whose first pixel is (row, column): (len(planes), size, size)."""
        pixels = self._mapped()
        _require_inside(pixels.shape, planes, row, column, size)
        window = pixels[:, row : row + size, column : column + size]
        return np.stack([window[plane] for plane in planes])

    def _mapped(self) -> np.ndarray:
        try:
            state = self.path.stat()
            pixels = _map(str(self.path), state.st_size, state.st_mtime_ns)
        except (OSError, ValueError) as error:  # numpy says ValueError of a file that is too short
            msg = (
                f"The pixels of image {self.image!r} cannot be read from {str(self.path)!r}: {error}. "
                f"{_rebuild(self.path)}"
            )
            raise OSError(msg) from error
        return _require_planes(pixels, f"The file {str(self.path)!r}")


@dataclass(frozen=True)
class ZarrSource:
    """A sharded Zarr v3 array (planes, height, width) as `corpus build` writes it.

    Only the chunks that a window touches are unpacked.

    Parameters
    ----------
    folder
        Of the array.
    image
        Name of the image, for messages.
    channels
        Name of each plane, for messages.
    """

    folder: Path
    image: str = ""
    channels: tuple[str, ...] = ()
    layout: shards.Layout = field(init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            layout = shards.layout(Path(self.folder))
        except OSError as error:
            msg = (
                f"The pixels of image {self.image!r} cannot be read from {str(self.folder)!r}: {error}. "
                f"{_rebuild(self.folder)}"
            )
            raise OSError(msg) from error
        object.__setattr__(self, "layout", layout)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, height, width."""
        return self.layout.shape

    @property
    def dtype(self) -> np.dtype:
        """Of the raw values."""
        return self.layout.dtype

    def read(self, planes: Sequence[int] | np.ndarray, row: int, column: int, size: int) -> np.ndarray:
        """Return the raw values of a square window whose first pixel is (row, column): (len(planes), size, size)."""
        _require_inside(self.shape, planes, row, column, size)
        # a window may lie across the edges of shards
        pixels = np.zeros((len(planes), size, size), self.dtype)
        down, across = self.layout.shard
        for out_hw, plane in zip(pixels, planes, strict=True):
            for y in range(row // down, (row + size - 1) // down + 1):
                for x in range(column // across, (column + size - 1) // across + 1):
                    self._copy(out_hw, int(plane), (y, x), (row, column))
        return pixels

    def _copy(self, out_hw: np.ndarray, plane: int, shard: tuple[int, int], corner: tuple[int, int]) -> None:
        """Copy the part of a window that lies in one shard."""
        path = f"{self.folder}/c/{plane}/{shard[0]}/{shard[1]}"
        rows, columns = self.layout.chunks
        down, across = self.layout.chunk
        # chunks that the window touches, counted over the whole plane, kept to this shard
        first_y = max(corner[0] // down, shard[0] * rows)
        first_x = max(corner[1] // across, shard[1] * columns)
        stop_y = min((corner[0] + len(out_hw) - 1) // down, shard[0] * rows + rows - 1) + 1
        stop_x = min((corner[1] + len(out_hw) - 1) // across, shard[1] * columns + columns - 1) + 1
        y, x = first_y, first_x
        try:
            with Path(path).open("rb", buffering=0) as file:
                table = shards.table(file, path, rows * columns)
                for y in range(first_y, stop_y):
                    for x in range(first_x, stop_x):
                        offset, length = table[(y % rows) * columns + x % columns].tolist()
                        if offset == shards.MISSING:
                            continue
                        chunk = shards.chunk(file, offset, length, self.layout)
                        _paste(out_hw, chunk, y * down - corner[0], x * across - corner[1])
        except (OSError, ValueError) as error:
            name = repr(self.channels[plane]) if plane < len(self.channels) else "?"
            msg = (
                f"Image {self.image!r}, marker {name} (plane {plane}), chunk ({y}, {x}) cannot be read from {path!r}: "
                f"{error}. {_rebuild(self.folder)}"
            )
            raise OSError(msg) from error


def _paste(out_hw: np.ndarray, part: np.ndarray, top: int, left: int) -> None:
    """Write `part`, whose corner lies at (top, left) of `out_hw`, where the two overlap."""
    y = max(top, 0)
    x = max(left, 0)
    bottom = min(top + part.shape[0], out_hw.shape[0])
    right = min(left + part.shape[1], out_hw.shape[1])
    out_hw[y:bottom, x:right] = part[y - top : bottom - top, x - left : right - left]


@lru_cache(maxsize=OPEN_MAPS)
def _map(path: str, _size: int, _changed: int) -> np.ndarray:
    """Map a file; size and time are part of the key, so that a file changed meanwhile is opened anew."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _require_planes(pixels: np.ndarray, what: str) -> np.ndarray:
    """Return `pixels` if they are planes of real numbers."""
    if pixels.ndim != 3 or pixels.dtype.kind not in "uif":
        msg = (
            f"{what} has shape {pixels.shape} and dtype {pixels.dtype}; pixels are numbers (planes, height, width). "
            "Store them so."
        )
        raise ValueError(msg)
    return pixels


def _require_inside(
    shape: tuple[int, int, int], planes: Sequence[int] | np.ndarray, row: int, column: int, size: int
) -> None:
    """Raise an IndexError for a window that is not inside, which numpy would silently cut."""
    most = max(planes, default=0)
    negative = min(row, column, *planes) < 0
    beyond = most >= shape[0] or row + size > shape[1] or column + size > shape[2]
    if size < 1 or negative or beyond:
        msg = (
            f"A window of {size} px at row {row}, column {column} of planes up to {most} is not inside {shape} "
            "(planes, height, width). Check origins and planes."
        )
        raise IndexError(msg)


def _rebuild(path: Path) -> str:
    return (
        f"The file is truncated or damaged, or the disk is. Delete {str(Path(path).parent)!r} and run the same `corpus "
        "build` again: it makes only this image anew."
    )
