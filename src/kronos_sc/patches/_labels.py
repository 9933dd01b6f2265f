"""Label images: where each label lies, and a compact copy so that no stored chunk is decoded a second time."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from kronos_sc._core.checks import listed
from kronos_sc._core.progress import track
from kronos_sc._core.settings import settings
from kronos_sc.patches._ahead import in_threads
from kronos_sc.patches._rect import Rect
from kronos_sc.patches._source import chunk_reader, view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import dask.array as da

    Tile = tuple[int, int, int, int, bytes]  # first row, first column, rows, columns, compressed labels

T = TypeVar("T")

# Pixels measured at once: working memory is a few bytes per pixel (a hundred where no two are equal), whatever the size
# of chunks.
_STRIP = 2**22
_EXACT = 2**53  # float64 holds every whole number below
_TILE = 256  # edge of what is compressed at once: a window in a corner does not decode a whole chunk


def label_table(labels: da.Array | np.ndarray, *, name: str | None = None) -> pd.DataFrame:
    """Measure every label of an image in one pass over its chunks.

    Sums are whole numbers, so the result does not depend on chunking.

    Parameters
    ----------
    labels
        Integer labels (rows, columns); 0 is background.
    name
        Of the element, for the error about a chunk that cannot be decoded; without it such errors pass as they are.

    Returns
    -------
    One row per label, sorted by label: `label` (int64; uint64 where one lies beyond 2⁶³), `y` and `x` (float64,
    centroid in continuous pixel coordinates, where pixel `i` covers [i, i + 1)), `area` (int64, pixels).
    """
    parts = list(_strip_by_strip(labels, name, lambda y0, x0, strip: _sums(strip, y0, x0, name)))
    return _merge(parts, unsigned=labels.dtype.kind == "u")


def scan(labels: da.Array | np.ndarray, *, name: str | None = None) -> tuple[pd.DataFrame, LabelImage]:
    """Measure every label and hold the pixels compressed for later reading, in the same pass."""
    parts: list[np.ndarray] = []
    copy = LabelImage(labels.shape, labels.dtype)

    def measured(y0: int, x0: int, strip: np.ndarray) -> tuple[np.ndarray, list[Tile]]:
        return _sums(strip, y0, x0, name), list(copy.packed(y0, x0, strip))

    for sums, tiles in _strip_by_strip(labels, name, measured):
        parts.append(sums)
        copy.keep(tiles)
    return _merge(parts, unsigned=labels.dtype.kind == "u"), copy


def strips(labels: da.Array | np.ndarray, name: str | None) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield origin and pixels of strips of each chunk, in row-major order of the chunks; each chunk is decoded once."""
    yield from _strip_by_strip(labels, name, lambda y0, x0, strip: (y0, x0, strip))


def _strip_by_strip(
    labels: da.Array | np.ndarray, name: str | None, work: Callable[[int, int, np.ndarray], T]
) -> Iterator[T]:
    """Yield what `work` makes of origin and pixels of each strip; several chunks at a time, results in order."""
    read, origin = _chunks(labels, name)

    def strips_of(key: tuple[int, int]) -> list[T]:
        chunk = read(key)
        y0, x0 = origin(key)
        rows = max(1, _STRIP // max(1, chunk.shape[1]))
        return [work(y0 + start, x0, chunk[start : start + rows]) for start in range(0, len(chunk), rows)]

    down, across = getattr(labels, "numblocks", (1, 1))
    largest = getattr(labels, "chunksize", labels.shape)
    # chunks of labels may be far larger than those of images
    n_in_memory = 2 * settings.block_memory // max(1, int(np.prod(largest)) * labels.dtype.itemsize)
    threads = max(1, min(settings.read_threads, n_in_memory))
    chunks = in_threads(strips_of, product(range(down), range(across)), threads)
    for results in track(chunks, total=int(down * across), description="labels", unit="chunk"):
        yield from results


def _chunks(
    labels: da.Array | np.ndarray, name: str | None
) -> tuple[Callable[[tuple[int, int]], np.ndarray], Callable[[tuple[int, int]], tuple[int, int]]]:
    """Return functions that give the pixels and the origin of a chunk."""
    if isinstance(labels, np.ndarray):
        return lambda _: labels, lambda _: (0, 0)
    ys, xs = (np.concatenate([[0], np.cumsum(axis)]).tolist() for axis in labels.chunks)
    decode = chunk_reader(labels)

    def read(key: tuple[int, int]) -> np.ndarray:
        i, j = key
        try:
            return decode(key)
        except Exception as error:
            if name is None:
                raise
            msg = (
                f"Labels {name!r} could not be decoded at rows {ys[i]}–{ys[i + 1]}, columns {xs[j]}–{xs[j + 1]}: "
                f"{type(error).__name__}: {error}. "
                "The SpatialData is as it was. Restore that chunk, or write the element again from the segmentation."
            )
            raise OSError(msg) from error

    return read, lambda key: (ys[key[0]], xs[key[1]])


def _sums(chunk: np.ndarray, y0: int, x0: int, name: str | None) -> np.ndarray:
    """Return (label, pixels, sum of rows, sum of columns) of each label of a chunk, int64 (labels × 4).

    Labels beyond 2⁶³ are negative here: the same 64 bits, which `_merge` reads as what they are.
    """
    ids, rows, first, length = _runs(chunk)
    if ids.size == 0:
        return np.empty((0, 4), np.int64)
    low, high = int(ids.min()), int(ids.max())
    if low < 0 and chunk.dtype.kind != "u":
        what = "Labels" if name is None else f"Labels {name!r}"
        msg = (
            f"{what} hold the negative value {low}; labels must be 0 (background) or positive. Relabel: where such "
            "pixels are no cells, count them as background, labels.where(labels > 0, 0); else number the cells anew, "
            "as with skimage.measure.label, and their table with them."
        )
        raise ValueError(msg)
    # counting over the range of ids is the fastest way to sum, until most counters stay empty
    if high - low < max(2**16, 4 * ids.size):
        local = ids - low
        present = np.flatnonzero(np.bincount(local))
        names = present + low
    else:
        names, local = np.unique(ids, return_inverse=True)
        present = np.arange(len(names))
    # float64 sums of whole numbers are exact below 2**53; a run of columns adds up like its two ends
    count, sum_y, sum_2x = (
        np.bincount(local, weights=weights)[present].astype(np.int64)
        for weights in (length, rows * length, (2 * first + length - 1) * length)
    )
    return np.stack([names, count, sum_y + y0 * count, sum_2x // 2 + x0 * count], axis=1)


def _runs(chunk: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return label, row, first column and length of each run of equal labels within a row (int64 each).

    Background is left out.
    """
    # a run begins in the first column, and wherever a pixel differs from the one before it
    begins = np.empty(chunk.shape, bool)
    begins[:, :1] = True
    np.not_equal(chunk[:, 1:], chunk[:, :-1], out=begins[:, 1:])
    start = np.flatnonzero(begins)
    length = np.diff(start, append=chunk.size)
    row, column = np.divmod(start, max(1, chunk.shape[1]))
    ids = chunk[row, column].astype(np.int64)
    cells = np.flatnonzero(ids)
    return ids[cells], row[cells], column[cells], length[cells]


def _merge(parts: list[np.ndarray], *, unsigned: bool) -> pd.DataFrame:
    """Add the sums of all chunks and turn them into centroids."""
    rows = np.concatenate([np.empty((0, 4), np.int64), *parts])
    ids = rows[:, 0]
    if unsigned and ids.min(initial=0) < 0:
        ids = ids.astype(np.uint64)

    # a label that lies in several strips has a row for each
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    sums = rows[order, 1:]
    if len(ids):
        starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
        ids = ids[starts]
        sums = np.add.reduceat(sums, starts, axis=0)
    area = sums[:, 0]
    return pd.DataFrame({"label": ids, "y": sums[:, 1] / area + 0.5, "x": sums[:, 2] / area + 0.5, "area": area})


def whole_ids(values: Any, *, what: str) -> np.ndarray:
    """Return ids as whole numbers, int64 or, where one lies beyond 2⁶³, uint64.

    For anything else the error says that `what` holds it.

    Numbers stored as float64 are refused from 2⁵³ on, where it no longer tells one from the next.
    """
    ids = pd.to_numeric(pd.Series(np.asarray(values)), errors="coerce").to_numpy()
    if ids.dtype.kind not in "iu":
        whole = np.isfinite(ids.astype(float)) & (ids.astype(float) % 1 == 0)
        if not whole.all():
            bad = [value for value, ok in zip(values, whole, strict=True) if not ok]
            msg = f"{what} must hold whole numbers; found {listed(bad)}. Correct that column."
            raise ValueError(msg)
        if ids.size and np.abs(ids.astype(float)).max() >= _EXACT:
            msg = (
                f"{what} holds numbers of {_EXACT:,} and more as {ids.dtype}, which no longer tells one from the next "
                f"(the largest is {ids.max():.0f}). Read the column as text or as uint64, or number the labels anew "
                "with skimage.segmentation.relabel_sequential."
            )
            raise ValueError(msg)
    large = ids.dtype == np.uint64 and ids.size > 0 and ids.max() >= np.uint64(2**63)
    if large:
        return ids
    return ids.astype(np.int64)


def find_ids(ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the position of each id among labels; -1 where it is not there.

    Signed and unsigned are compared as numbers.
    """
    if np.uint64 in (ids.dtype, labels.dtype):
        # a negative id would become some large one
        positions = pd.Index(labels.astype(np.uint64)).get_indexer(ids.astype(np.uint64))
        return np.where(ids > 0, positions, -1)
    return pd.Index(labels).get_indexer(ids)


class LabelImage:
    """A label image held in memory, tile by tile, compressed (labels shrink some thirty-fold).

    May be read from several threads.

    Parameters
    ----------
    shape
        Rows and columns.
    dtype
        Of the labels.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype) -> None:
        from numcodecs import Blosc

        self.shape = shape
        self.dtype = np.dtype(dtype).newbyteorder("=")
        # a third of the memory that lz4 takes, twice its time
        self._codec = Blosc(cname="zstd", clevel=1, shuffle=Blosc.SHUFFLE)
        self._tiles: list[Tile] = []
        self._tiles_of: dict[tuple[int, int], list[int]] = {}  # square of the image → tiles that meet it

    def add(self, y0: int, x0: int, chunk: np.ndarray) -> None:
        """Keep one chunk."""
        self.keep(self.packed(y0, x0, chunk))

    def packed(self, y0: int, x0: int, chunk: np.ndarray) -> Iterator[Tile]:
        """Yield origin, shape and compressed pixels of the tiles of a chunk."""
        for y, x in product(range(0, chunk.shape[0], _TILE), range(0, chunk.shape[1], _TILE)):
            tile = np.ascontiguousarray(chunk[y : y + _TILE, x : x + _TILE], self.dtype)
            yield y0 + y, x0 + x, *tile.shape, self._codec.encode(tile)

    def keep(self, tiles: Iterable[Tile]) -> None:
        """Keep compressed tiles."""
        for tile in tiles:
            y, x, height, width, _ = tile
            for square in _squares(y, y + height, x, x + width):
                self._tiles_of.setdefault(square, []).append(len(self._tiles))
            self._tiles.append(tile)

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Return labels of rows `y0`–`y1` and columns `x0`–`x1`; pixels outside the image are 0."""
        labels = np.zeros((y1 - y0, x1 - x0), self.dtype)
        # tiles are found by the squares they meet, and decoded only where they reach into the rectangle
        squares = _squares(max(0, y0), min(y1, self.shape[0]), max(0, x0), min(x1, self.shape[1]))
        rect = Rect(y0, y1, x0, x1)
        for number in sorted({number for square in squares for number in self._tiles_of.get(square, ())}):
            y, x, height, width, packed = self._tiles[number]
            tile_rect = Rect(y, y + height, x, x + width)
            common = rect.meet(tile_rect)
            if common is not None:
                tile = np.frombuffer(self._codec.decode(packed), self.dtype).reshape(height, width)
                view(labels, rect, common)[...] = view(tile, tile_rect, common)
        return labels


def _squares(y0: int, y1: int, x0: int, x1: int) -> Iterator[tuple[int, int]]:
    """Yield the squares of the index that a rectangle meets."""
    return product(range(y0 // _TILE, -(-y1 // _TILE)), range(x0 // _TILE, -(-x1 // _TILE)))
