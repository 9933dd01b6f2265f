"""Standardisation: mean 0 and standard deviation 1 per feature, fitted on some units and applied to others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of features, as fitted.

    Parameters
    ----------
    mean, scale
        One value per feature (float32). Features without spread have scale 1 and become 0.
    """

    mean: np.ndarray
    scale: np.ndarray

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Return standardised rows (float32), a new array."""
        standardised = np.subtract(x, self.mean, dtype=np.float32)
        standardised /= self.scale
        return standardised


def fit_scaler(x: np.ndarray) -> Scaler:
    """Fit on rows `x` (units × features), in float64 where it matters.

    The squared deviations are summed around the mean.
    """
    mean = x.mean(axis=0, dtype=np.float64)
    # one slab of rows at a time: no second copy of a large training set
    squares = np.zeros(x.shape[1])
    for start in range(0, len(x), 1024):
        deviation = x[start : start + 1024] - mean
        squares += np.einsum("ij,ij->j", deviation, deviation)
    return scaler_of_squares(mean, squares, len(x))


def scaler_of_blocks(blocks: Iterable[np.ndarray]) -> Scaler:
    """Return the scaler of all rows of all blocks (n × d each), as if they had come together; in float64.

    Sums of squared deviations of two sets add up, plus what their means are apart (Chan, Golub & LeVeque 1983).
    """
    count = 0
    mean = np.zeros(1)
    squares = np.zeros(1)
    for block in blocks:
        if not len(block):
            continue
        block_mean = block.mean(axis=0, dtype=np.float64)
        apart = block_mean - mean
        total = count + len(block)
        deviation = block - block_mean
        squares = squares + np.einsum("ij,ij->j", deviation, deviation) + apart**2 * count * len(block) / total
        mean = mean + apart * len(block) / total
        count = total
    return scaler_of_squares(mean, squares, count)


def scaler_of_squares(mean: np.ndarray, squares: np.ndarray, count: int) -> Scaler:
    """Return a scaler from means and sums of squared deviations (float64) of `count` rows."""
    scale = np.sqrt(squares / max(count, 1))
    scale[scale <= 1e-6 * np.maximum(np.abs(mean), 1e-30)] = 1.0
    return Scaler(mean.astype(np.float32), scale.astype(np.float32))
