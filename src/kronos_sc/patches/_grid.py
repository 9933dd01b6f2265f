"""Regular grids of boxes."""

from __future__ import annotations

import numpy as np


def grid(shape: tuple[int, int], size: int, stride: int) -> np.ndarray:
    """Return the origins (row, column) of all whole boxes on an image (int64, boxes × 2), row by row.

    Origins are range(0, edge − size + 1, stride) on each axis; the remainder at the right and bottom is dropped.
    """
    rows, columns = (np.arange(0, edge - size + 1, stride, dtype=np.int64) for edge in shape)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
