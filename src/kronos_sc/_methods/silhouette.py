"""Silhouette of two groups in a few dimensions, exactly: all distances, never stored.

Each row costs one pass over all rows; passes are compiled and run in threads.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROWS = 1024  # rows of one piece of work


@compiled("void(float32[:,::1], int64, int64, int64, float64[:,::1])", fastmath={"reassoc", "contract", "nsz"})
def _distance_sums(x_cn, split, start, stop, out):
    """Sum the distances of rows start to stop to the rows before and from `split` on, into `out` (rows × 2)."""
    dims, n = x_cn.shape
    buffer = np.empty(256, np.float32)
    for i in range(start, stop):
        for side in range(2):
            low, high = (0, split) if side == 0 else (split, n)
            total = 0.0
            for first in range(low, high, 256):
                size = min(256, high - first)
                for j in range(size):
                    buffer[j] = 0
                for c in range(dims):
                    x_ci = x_cn[c, i]
                    for j in range(size):
                        gap = x_cn[c, first + j] - x_ci
                        buffer[j] += gap * gap
                # 256 distances of one size add up in float32; the blocks in float64
                part = np.float32(0)
                for j in range(size):
                    part += np.sqrt(buffer[j])
                total += part
            out[i - start, side] = total


def silhouettes(tasks: Iterable[tuple[np.ndarray, int]]) -> list[float]:
    """Return the mean silhouette of each task.

    A task is rows (n × few features, float32), and how many of them, the first `split`, are one group. The definition
    of scikit-learn (Rousseeuw 1987), Euclidean: (b − a) / max(a, b) with a the mean distance to the other rows of the
    own group and b that to the rows of the other; 0 for the only row of a group and where all distances are 0.
    """
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        pending = []
        for rows, split in tasks:
            x_cn = np.ascontiguousarray(rows.T, dtype=np.float32)
            starts = range(0, len(rows), _ROWS)
            pending.append([pool.submit(_piece, x_cn, split, start) for start in starts])
        return [float(np.concatenate([piece.result() for piece in pieces]).mean()) for pieces in pending]


def _piece(x_cn: np.ndarray, split: int, start: int) -> np.ndarray:
    """Return the silhouettes (float64) of `_ROWS` rows from `start` on."""
    n = x_cn.shape[1]
    stop = min(start + _ROWS, n)
    sums = np.empty((stop - start, 2))
    _distance_sums(x_cn, split, start, stop, sums)
    first = np.arange(start, stop) < split
    own = np.where(first, sums[:, 0], sums[:, 1])
    other = np.where(first, sums[:, 1], sums[:, 0])
    n_own = np.where(first, split, n - split)
    n_other = np.where(first, n - split, split)
    a = own / np.maximum(n_own - 1, 1)
    b = other / n_other
    widest = np.maximum(a, b)
    return np.divide(b - a, widest, where=(widest > 0) & (n_own > 1), out=np.zeros(len(a)))
