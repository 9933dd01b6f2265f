"""A block once its pixels are in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class PixelBlock:
    """Pixels of one block.

    Parameters
    ----------
    index
        Position of the block in the plan.
    units
        Positions of the units it owns (int64).
    pixels
        Selected channels (channels, rows, columns) of the bounding box of the windows, zero outside the image; the
        image's dtype.
    labels
        Labels on the same grid (rows, columns), or None.
    y, x
        First row and column of each unit's window within the block (int64).
    inside
        Part of the block that lies on the image, as (first row, last row, first column, last column), ends excluded.
    size
        Edge of the windows in pixels of the image.
    ids
        Label of each unit (int64 or uint64), or None.
    """

    index: int
    units: np.ndarray
    pixels: np.ndarray
    labels: np.ndarray | None
    y: np.ndarray
    x: np.ndarray
    inside: tuple[int, int, int, int]
    size: int
    ids: np.ndarray | None
