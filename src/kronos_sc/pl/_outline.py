"""Outlines of masks along pixel edges."""

from __future__ import annotations

import numpy as np


def outline(mask: np.ndarray) -> np.ndarray:
    """Return the edges between the pixels inside and outside a mask (y, x; bool), as segments (n, 2, 2: start and end, x and y).

    Pixel `i` covers [i, i + 1); edges on the border of the array are left out, where the mask is cut and does not end.
    """
    across = mask[:, 1:] != mask[:, :-1]
    down = mask[1:] != mask[:-1]
    y, x = np.nonzero(across)
    upright = np.stack([np.stack([x + 1, y], -1), np.stack([x + 1, y + 1], -1)], 1)
    y, x = np.nonzero(down)
    level = np.stack([np.stack([x, y + 1], -1), np.stack([x + 1, y + 1], -1)], 1)
    return np.concatenate([upright, level]).astype(float)
