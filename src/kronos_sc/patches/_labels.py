"""Label images: where each label lies, and a compact copy so that no stored chunk is decoded a second time."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._core.progress import track

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dask.array as da

_STRIP = 2**22  # pixels measured at once: working memory is some 30 bytes per pixel, whatever the size of the stored chunks


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
    One row per label, sorted by label: `label` (int64), `y` and `x` (float64, centroid in continuous pixel coordinates, where pixel
    `i` covers [i, i + 1)), `area` (int64, pixels).
    """
    return _merge([_sums(chunk, y0, x0, name) for y0, x0, chunk in strips(labels, name)])


def scan(labels: da.Array | np.ndarray, *, name: str | None = None) -> tuple[pd.DataFrame, LabelImage]:
    """Measure every label and hold the pixels compressed for later reading, in the same pass."""
    parts: list[np.ndarray] = []
    copy = LabelImage(labels.shape, labels.dtype)
    for y0, x0, chunk in strips(labels, name):
        parts.append(_sums(chunk, y0, x0, name))
        copy.add(y0, x0, chunk)
    return _merge(parts), copy


def strips(labels: da.Array | np.ndarray, name: str | None) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield origin and pixels of strips of each chunk, in row-major order of the chunks; each chunk is decoded once."""
    for y0, x0, chunk in track(
        _chunks(labels, name), total=int(np.prod(getattr(labels, "numblocks", 1))), description="labels", unit="chunk"
    ):
        rows = max(1, _STRIP // max(1, chunk.shape[1]))
        for start in range(0, len(chunk), rows):
            yield y0 + start, x0, chunk[start : start + rows]


def _chunks(labels: da.Array | np.ndarray, name: str | None) -> Iterator[tuple[int, int, np.ndarray]]:
    if isinstance(labels, np.ndarray):
        yield 0, 0, labels
        return
    ys, xs = (np.concatenate([[0], np.cumsum(axis)]) for axis in labels.chunks)
    for i, j in product(range(len(ys) - 1), range(len(xs) - 1)):
        try:
            chunk = np.asarray(labels.blocks[i, j].compute(scheduler="synchronous"))
        except Exception as error:
            if name is None:
                raise
            msg = (
                f"Labels {name!r} could not be decoded at rows {ys[i]}–{ys[i + 1]}, columns {xs[j]}–{xs[j + 1]}: {type(error).__name__}: {error}. "
                "Nothing was written. Restore that chunk, or write the element again from the segmentation."
            )
            raise OSError(msg) from error
        yield int(ys[i]), int(xs[j]), chunk


def _sums(chunk: np.ndarray, y0: int, x0: int, name: str | None) -> np.ndarray:
    """Return (label, pixels, sum of rows, sum of columns) of each label of a chunk, int64 (labels × 4)."""
    rows, columns = np.nonzero(chunk)
    if rows.size == 0:
        return np.empty((0, 4), np.int64)
    ids = chunk[rows, columns].astype(np.int64)
    low, high = int(ids.min()), int(ids.max())
    if low < 0:
        what = "Labels" if name is None else f"Labels {name!r}"
        msg = f"{what} hold the negative value {low}; labels must be 0 (background) or positive. Relabel with skimage.measure.label."
        raise ValueError(msg)
    # counting over the range of ids is the fastest way to sum, until most counters stay empty
    if high - low < max(2**16, 4 * ids.size):
        names, local = None, ids - low
    else:
        names, local = np.unique(ids, return_inverse=True)
    counts = np.bincount(local)
    present = np.flatnonzero(counts)
    # float64 sums of whole numbers are exact below 2**53
    sum_y = np.bincount(local, weights=rows)[present].astype(np.int64)
    sum_x = np.bincount(local, weights=columns)[present].astype(np.int64)
    count = counts[present]
    return np.stack([present + low if names is None else names[present], count, sum_y + y0 * count, sum_x + x0 * count], axis=1)


def _merge(parts: list[np.ndarray]) -> pd.DataFrame:
    """Add the sums of all chunks and turn them into centroids."""
    every = np.concatenate(parts) if parts else np.empty((0, 4), np.int64)
    order = np.argsort(every[:, 0], kind="stable")
    every = every[order]
    starts = np.flatnonzero(np.r_[True, every[1:, 0] != every[:-1, 0]]) if len(every) else np.empty(0, np.int64)
    sums = np.add.reduceat(every[:, 1:], starts, axis=0) if len(every) else every[:, 1:]
    area = sums[:, 0]
    return pd.DataFrame({"label": every[starts, 0], "y": sums[:, 1] / area + 0.5, "x": sums[:, 2] / area + 0.5, "area": area})


class LabelImage:
    """A label image held in memory, chunk by chunk, compressed (labels shrink some fifty-fold).

    Parameters
    ----------
    shape
        Rows and columns.
    dtype
        Of the labels.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype) -> None:
        from numcodecs import Blosc

        self.shape, self.dtype = shape, np.dtype(dtype).newbyteorder("=")
        self._codec = Blosc(cname="lz4", clevel=1, shuffle=Blosc.SHUFFLE)
        self._chunks: list[tuple[int, int, int, int, bytes]] = []

    def add(self, y0: int, x0: int, chunk: np.ndarray) -> None:
        """Keep one chunk."""
        chunk = np.ascontiguousarray(chunk, self.dtype)
        self._chunks.append((y0, x0, *chunk.shape, self._codec.encode(chunk)))

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Return labels of rows `y0`–`y1` and columns `x0`–`x1`; pixels outside the image are 0."""
        out = np.zeros((y1 - y0, x1 - x0), self.dtype)
        for cy, cx, height, width, packed in self._chunks:
            top, bottom, left, right = max(y0, cy), min(y1, cy + height), max(x0, cx), min(x1, cx + width)
            if top < bottom and left < right:
                chunk = np.frombuffer(self._codec.decode(packed), self.dtype).reshape(height, width)
                out[top - y0 : bottom - y0, left - x0 : right - x0] = chunk[top - cy : bottom - cy, left - cx : right - cx]
        return out
