"""Blocks → windows as plain arrays, for montages, statistics and people's own networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kronos_sc.patches._loaded import PixelBlock


def crop(block: PixelBlock, *, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Return the windows of a block, or of its units `start` to `stop`, in the image's dtype.

    The array has the axes (units, channels, size, size).
    """
    ys = block.y[start:stop].tolist()
    xs = block.x[start:stop].tolist()
    windows = np.empty((len(ys), len(block.pixels), block.size, block.size), block.pixels.dtype)
    for window, y, x in zip(windows, ys, xs, strict=True):
        window[...] = block.pixels[:, y : y + block.size, x : x + block.size]
    return windows


def covered(block: PixelBlock) -> np.ndarray:
    """Return which pixels of a block lie in a window of at least one of its units (rows, columns; bool)."""
    is_covered = np.zeros(block.pixels.shape[1:], bool)
    for y, x in zip(block.y.tolist(), block.x.tolist(), strict=True):
        is_covered[y : y + block.size, x : x + block.size] = True
    return is_covered


def crop_masks(block: PixelBlock) -> np.ndarray:
    """Return which pixels of each window belong to its unit (units, size, size; bool).

    They are those of the cell, or the part of a box that lies on the image.
    """
    size = block.size
    masks = np.empty((len(block.units), size, size), bool)
    corners = zip(masks, block.y.tolist(), block.x.tolist(), strict=True)

    if block.labels is not None and block.ids is not None:
        # of one type with the labels: numpy may compare signed with unsigned 64 bits as float64, which rounds
        ids = block.ids.astype(block.labels.dtype)
        for unit_id, (mask, y, x) in zip(ids, corners, strict=True):
            mask[...] = block.labels[y : y + size, x : x + size] == unit_id
        return masks

    top, bottom, left, right = block.inside
    grid = np.arange(size)
    for mask, y, x in corners:
        rows = (grid + y >= top) & (grid + y < bottom)
        columns = (grid + x >= left) & (grid + x < right)
        mask[...] = rows[:, None] & columns
    return masks
