"""How many pixels of each class lie in each box of a label image; arrays in, arrays out.

Codes: 0 is background, class c is c + 1. Boxes are (top, left, bottom, right) in pixels of the labels, ends excluded,
and may reach beyond them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kronos_sc.patches._labels import LabelImage

Strips = Iterable[tuple[int, int, np.ndarray]]
"""First row, first column and pixels of pieces that cover an image once."""

_TILES_PER_BOX = 16  # a histogram per tile is worth its memory up to here; the result itself has one per box
_BAND = 2**24  # pixels of codes looked at together where boxes lie on no grid


@dataclass(frozen=True)
class Lookup:
    """Class codes of labels.

    Parameters
    ----------
    ids
        Labels that have a class (int64, or uint64 beyond 2⁶³; increasing); any size, so no table is indexed by them.
    codes
        Code of each (uint16).
    """

    ids: np.ndarray
    codes: np.ndarray

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """Return the code of each pixel (uint16); 0 where the label has no class."""
        flat = labels.ravel()
        if len(self.ids) == 0 or len(flat) == 0:
            return np.zeros(labels.shape, np.uint16)
        # labels come in runs along the rows: one search per run, not per pixel
        starts = np.r_[0, np.flatnonzero(flat[1:] != flat[:-1]) + 1]
        values = flat[starts].astype(self.ids.dtype)
        position = np.minimum(np.searchsorted(self.ids, values), len(self.ids) - 1)
        codes = np.where(self.ids[position] == values, self.codes[position], 0).astype(np.uint16)
        return np.repeat(codes, np.diff(np.r_[starts, len(flat)])).reshape(labels.shape)


def class_pixels(
    strips: Strips, lookup: Lookup, boxes: np.ndarray, n_codes: int, *, shape: tuple[int, int]
) -> np.ndarray:
    """Return pixels per code (int64, boxes × codes); those beyond the labels count as background.

    Boxes that fit a common grid, as those of `pp.tile` do, are sums of its tiles, and one pass counts all tiles. Others
    are counted one by one.
    """
    step = _grid_step(boxes)
    extent = boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)
    if np.prod(extent // step) <= _TILES_PER_BOX * len(boxes):
        counts = _by_tiles(strips, lookup, boxes, n_codes, step)
    else:
        counts = _one_by_one(strips, lookup, boxes, n_codes, shape)
    # whatever has no class is background, pixels beyond the labels included
    counts[:, 0] = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - counts[:, 1:].sum(axis=1)
    return counts


def _grid_step(boxes: np.ndarray) -> np.ndarray:
    """Return rows and columns (int64) of the largest tiles that all boxes are made of."""
    low = boxes[:, :2].min(axis=0)
    return np.gcd.reduce(np.concatenate([boxes[:, :2] - low, boxes[:, 2:] - low]), axis=0)


def _by_tiles(strips: Strips, lookup: Lookup, boxes: np.ndarray, n_codes: int, step: np.ndarray) -> np.ndarray:
    """Count the tiles of the grid once, and add up those of each box."""
    low = boxes[:, :2].min(axis=0)
    high = boxes[:, 2:].max(axis=0)
    rows, columns = (high - low) // step
    # sums over all tiles above and to the left; they may pass 2**32, and their differences are right all the same
    sums = np.zeros((rows + 1, columns + 1, n_codes), np.uint32)
    for y0, x0, labels in strips:
        # the part of the strip that boxes cover
        top, left = np.maximum((y0, x0), low)
        bottom, right = np.minimum((y0 + labels.shape[0], x0 + labels.shape[1]), high)
        if top >= bottom or left >= right:
            continue
        codes = lookup(labels[top - y0 : bottom - y0, left - x0 : right - x0])

        # tile column and code make one number per pixel: a single histogram counts a whole row of tiles
        first = (left - low[1]) // step[1]
        last = (right - 1 - low[1]) // step[1] + 1
        base = ((np.arange(left, right) - low[1]) // step[1] - first) * n_codes
        for row in range((top - low[0]) // step[0], (bottom - 1 - low[0]) // step[0] + 1):
            start, stop = (np.clip(low[0] + (row + i) * step[0], top, bottom) - top for i in (0, 1))
            counts = np.bincount((base + codes[start:stop]).ravel(), minlength=(last - first) * n_codes)
            sums[row + 1, first + 1 : last + 1] += counts.reshape(last - first, n_codes).astype(np.uint32)
    for axis in (0, 1):
        np.cumsum(sums, axis=axis, out=sums)

    # four corners of the summed table give any box
    top, left, bottom, right = ((boxes - np.tile(low, 2)) // np.tile(step, 2)).T
    return (sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]).astype(np.int64)


def _one_by_one(strips: Strips, lookup: Lookup, boxes: np.ndarray, n_codes: int, shape: tuple[int, int]) -> np.ndarray:
    """Write down the codes of the whole image, and count each box in it."""
    image = LabelImage(shape, np.uint16)
    for y0, x0, labels in strips:
        image.add(y0, x0, lookup(labels))
    counts = np.zeros((len(boxes), n_codes), np.int64)
    inside = np.clip(boxes, 0, np.tile(shape, 2))
    for band in _bands(inside):
        low = inside[band, :2].min(axis=0)
        high = inside[band, 2:].max(axis=0)
        codes = image.read(low[0], high[0], low[1], high[1])
        for box in band:
            top, left, bottom, right = inside[box] - np.tile(low, 2)
            counts[box] = np.bincount(codes[top:bottom, left:right].ravel(), minlength=n_codes)
    return counts


def _bands(boxes: np.ndarray) -> Iterable[np.ndarray]:
    """Yield boxes (row numbers) from top to bottom, as many at a time as span `_BAND` pixels, at least one."""
    order = np.lexsort((boxes[:, 1], boxes[:, 0]))
    width = max(1, int(boxes[:, 3].max() - boxes[:, 1].min()))
    start = 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or (boxes[order[stop], 2] - boxes[order[start], 0]) * width > _BAND:
            yield order[start:stop]
            start = stop
