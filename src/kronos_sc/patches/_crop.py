"""Blocks → windows as plain arrays, for montages, statistics and people's own networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kronos_sc.patches._loaded import PixelBlock


def crop(block: PixelBlock, *, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Return the windows of a block, or of its units `start` to `stop` (units, channels, size, size), in the image's dtype."""
    ys, xs = block.y[start:stop].tolist(), block.x[start:stop].tolist()
    out = np.empty((len(ys), len(block.pixels), block.size, block.size), block.pixels.dtype)
    for window, y, x in zip(out, ys, xs, strict=True):
        window[...] = block.pixels[:, y : y + block.size, x : x + block.size]
    return out


def covered(block: PixelBlock) -> np.ndarray:
    """Return which pixels of a block lie in a window of at least one of its units (rows, columns; bool)."""
    out = np.zeros(block.pixels.shape[1:], bool)
    for y, x in zip(block.y.tolist(), block.x.tolist(), strict=True):
        out[y : y + block.size, x : x + block.size] = True
    return out


def crop_masks(block: PixelBlock) -> np.ndarray:
    """Return which pixels of each window belong to its unit (units, size, size): the cell, or the part of a box on the image."""
    size = block.size
    out = np.empty((len(block.units), size, size), bool)
    top, bottom, left, right = block.inside
    grid = np.arange(size)
    # of one type with the labels: numpy may compare signed with unsigned 64 bits as float64, which rounds
    ids = None if block.labels is None or block.ids is None else block.ids.astype(block.labels.dtype)
    for position, (mask, y, x) in enumerate(zip(out, block.y.tolist(), block.x.tolist(), strict=True)):
        if ids is not None:
            mask[...] = block.labels[y : y + size, x : x + size] == ids[position]
        else:
            rows, columns = (
                (grid + corner >= low) & (grid + corner < high)
                for corner, low, high in ((y, top, bottom), (x, left, right))
            )
            mask[...] = rows[:, None] & columns
    return out
