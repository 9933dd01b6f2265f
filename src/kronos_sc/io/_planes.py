"""Planes of a TIFF as a lazy array: a window is read by decoding only the stored tiles or strips it touches."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dask.array as da

# Edge of a chunk in pixels where the file leaves the choice: one block of the patch reader is a few of these.
_EDGE = 1024


@dataclass(frozen=True)
class Plane:
    """One two-dimensional page of a TIFF file.

    Nothing here holds a file open, so planes travel to threads and to workers.

    Parameters
    ----------
    path
        The file.
    stamp
        Its size and time of change when it was opened.
    number
        Which plane of the file, for messages.
    offset
        Where the page's directory starts; where its first pixel lies if `keyframe` is None.
    keyframe
        Where the directory starts that says how pixels are encoded; None for plain pixels, row after row.
    first
        Its first tile or strip among those of the page.
    shape
        Rows and columns.
    dtype
        As stored, byte order included.
    tile
        Rows and columns that are decoded together.
    """

    path: str
    stamp: tuple[int, int]
    number: int
    offset: int
    keyframe: int | None
    first: int
    shape: tuple[int, int]
    dtype: str
    tile: tuple[int, int]

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Return rows `y0`–`y1` and columns `x0`–`x1`."""
        import tifffile

        if stamp(self.path) != self.stamp:
            msg = (
                f"{self.path!r} has changed since it was opened. Its pixels can no longer be found: call io.read_tiff "
                "again."
            )
            raise OSError(msg)
        try:
            if self.keyframe is None:
                # mapped for the length of this line only: a copy leaves it
                return np.array(np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[y0:y1, x0:x1])
            return self._decode_window(y0, y1, x0, x1)
        except (
            OSError,
            RuntimeError,
            ValueError,
            TypeError,
            IndexError,
            struct.error,
            tifffile.TiffFileError,
        ) as error:
            msg = (
                f"Plane {self.number} of {self.path!r} could not be decoded ({type(error).__name__}: {error}). "
                "The file is damaged, or its compression needs another version of imagecodecs. Copy or export it again."
            )
            raise OSError(msg) from error

    def _decode_window(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        encoding = _encoding(self.path, self.stamp, self.keyframe)
        segments = _segments(self.path, self.stamp, self.offset)
        result = np.full((y1 - y0, x1 - x0), encoding.empty, np.dtype(self.dtype).newbyteorder("="))
        height, width = self.tile
        across = -(-self.shape[1] // width)
        # only tiles or strips that the window touches are decoded
        with Path(self.path).open("rb") as handle:
            for row, column in product(range(y0 // height, -(-y1 // height)), range(x0 // width, -(-x1 // width))):
                pixels = _segment(handle, encoding, segments, self.first + row * across + column)
                if pixels is None:
                    continue
                top = row * height
                left = column * width
                ya, yb = _overlap(y0, y1, top, len(pixels))
                xa, xb = _overlap(x0, x1, left, pixels.shape[1])
                result[ya - y0 : yb - y0, xa - x0 : xb - x0] = pixels[ya - top : yb - top, xa - left : xb - left]
        return result


@dataclass(frozen=True)
class _Encoding:
    decode: Callable[..., Any]
    tables: dict[str, Any]
    empty: float


@dataclass(frozen=True)
class _Segments:
    offsets: np.ndarray
    counts: np.ndarray
    tables: bytes | None


def stamp(path: str | Path) -> tuple[int, int]:
    """Return size and time of change of a file."""
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=128)
def _encoding(path: str, _stamp: tuple[int, int], offset: int) -> _Encoding:
    """Return how the pages of one layout are decoded."""
    import tifffile

    with tifffile.TiffFile(path) as tif:
        tif.filehandle.seek(offset)
        page = tifffile.TiffPage(tif, index=0)
        # only JPEG needs more than the bytes of the segment
        tables: dict[str, Any] = {}
        if page.compression in {6, 7, 33007, 34892}:
            tables["jpegheader"] = page.jpegheader
        return _Encoding(page.decode, tables, page.nodata)


@lru_cache(maxsize=512)
def _segments(path: str, _stamp: tuple[int, int], offset: int) -> _Segments:
    """Return where the tiles or strips of a page lie, without reading its other tags."""
    import tifffile

    with tifffile.TiffFile(path) as tif:
        frame = tifffile.TiffFrame(tif, index=0, offset=offset)
        return _Segments(
            np.asarray(frame.dataoffsets, np.int64), np.asarray(frame.databytecounts, np.int64), frame.jpegtables
        )


def _segment(handle: BinaryIO, encoding: _Encoding, segments: _Segments, index: int) -> np.ndarray | None:
    """Return one decoded tile or strip (rows × columns, cut at the border), or None where nothing is stored."""
    offset = int(segments.offsets[index])
    count = int(segments.counts[index])
    if offset == 0 or count == 0:
        return None
    handle.seek(offset)
    data = handle.read(count)
    if len(data) < count:
        msg = f"{count} bytes expected at {offset}, {len(data)} found"
        raise OSError(msg)
    tables = {}
    if encoding.tables:
        tables = {**encoding.tables, "jpegtables": segments.tables}
    pixels, _, shape = encoding.decode(data, index, **tables)
    return pixels.reshape(pixels.shape[1:3])[: shape[1], : shape[2]]


def _overlap(start: int, stop: int, origin: int, length: int) -> tuple[int, int]:
    return max(start, origin), min(stop, origin + length)


class PlaneStack:
    """Planes of one size as a (channel, row, column) array that reads when it is indexed.

    Parameters
    ----------
    planes
        One per channel.
    """

    ndim = 3

    def __init__(self, planes: Sequence[Plane]) -> None:
        self.planes = tuple(planes)
        self.shape = (len(self.planes), *self.planes[0].shape)
        self.dtype = np.result_type(*(np.dtype(plane.dtype).newbyteorder("=") for plane in self.planes))

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("kronos_sc.io.PlaneStack", *((p.path, p.stamp, p.offset, p.first) for p in self.planes))

    def __getitem__(self, key: tuple[int | slice, ...]) -> np.ndarray:
        windows = [slice(k, k + 1) if isinstance(k, (int, np.integer)) else k for k in key]
        c, y, x = (range(*window.indices(size)) for window, size in zip(windows, self.shape, strict=True))
        result = np.empty((len(c), len(y), len(x)), self.dtype)
        if result.size:
            for slot, channel in enumerate(c):
                window = self.planes[channel].read(min(y), max(y) + 1, min(x), max(x) + 1)
                result[slot] = window[:: y.step, :: x.step]
        return result[tuple(0 if isinstance(k, (int, np.integer)) else slice(None) for k in key)]

    def lazy(self, chunks: tuple[int, int] | None = None) -> da.Array:
        """Return a dask array; chunks hold one channel and whole stored tiles, so that none is decoded twice."""
        import dask.array as da

        tile = tuple(max(plane.tile[axis] for plane in self.planes) for axis in (0, 1))
        target = chunks or _spread(tile, self.shape[1:])
        # rounded up to whole tiles: none is decoded for two chunks
        edges = [
            min(size, -(-edge // step) * step) for edge, step, size in zip(target, tile, self.shape[1:], strict=True)
        ]
        return da.from_array(self, chunks=(1, *edges), fancy=False, asarray=False)


def _spread(tile: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int]:
    """Return a chunk of about `_EDGE` × `_EDGE` pixels made of whole tiles.

    Of many rows where tiles are as wide as the image.
    """
    width = tile[1] * max(1, _EDGE // tile[1])
    rows = _EDGE
    if tile[1] >= shape[1]:
        rows = max(1, _EDGE**2 // width)
    return tile[0] * max(1, rows // tile[0]), width
