"""Scaling and PCA of units, fitted on those of some cases, from sums that are kept per case.

Sums over units are taken once. A fit on the training cases of a split adds those of its cases, so that its cost depends
neither on the number of units nor on the width of the representation, and nothing of another case takes part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._methods.cases import by_case
from kronos_sc._methods.scaling import Scaler, scaler_of_squares

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class CaseSums:
    """What PCA has to know of the units of each case.

    Parameters
    ----------
    sizes
        Units (cases, int64).
    means
        Their mean (cases × features, float64).
    scatters
        Products of deviations from that mean, summed over units (cases × features × features, float32).
    """

    sizes: np.ndarray
    means: np.ndarray
    scatters: np.ndarray


@dataclass(frozen=True)
class Reduction:
    """Standardisation and PCA, as fitted.

    Parameters
    ----------
    scaler
        Of the features.
    components
        Principal directions (components × features, float32), the largest entry of each positive.
    scale
        One number by which all components are divided.
    """

    scaler: Scaler
    components: np.ndarray
    scale: float

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Return reduced rows (n × components, float32)."""
        return (self.scaler.apply(x) @ self.components.T) / np.float32(self.scale)


def case_sums(blocks: Iterable[tuple[np.ndarray, np.ndarray]], codes: np.ndarray, near: np.ndarray) -> CaseSums:
    """Return the sums of units that come in blocks of (row numbers, values); `codes` are the cases of all rows.

    `near` (cases × features) lies close to the mean of each case, such as the mean over more of its units: deviations
    are taken from there, so that nothing is lost where the mean is large and the spread small.
    """
    near = np.asarray(near, np.float32)
    n_cases, width = near.shape
    sizes = np.zeros(n_cases, np.int64)
    sums = np.zeros((n_cases, width))
    scatters = np.zeros((n_cases, width, width), np.float32)
    for rows, values in blocks:
        for case, members in by_case(codes[rows]):
            deviation = values[members] - near[case]
            sizes[case] += len(members)
            sums[case] += deviation.sum(axis=0, dtype=np.float64)
            scatters[case] += deviation.T @ deviation
    shift = sums / np.maximum(sizes, 1)[:, None]
    for case, n in enumerate(sizes):
        scatters[case] -= n * np.outer(shift[case], shift[case])
    return CaseSums(sizes, near + shift, scatters)


def fit_reduction(sums: CaseSums, train: np.ndarray, n_components: int) -> Reduction:
    """Fit on the units of the cases `train`: at most as many components as they have units − 1.

    The components are brought to a mean variance of 1 by one number for all. Each to its own variance would be a
    mistake: it blows small components, which are mostly noise, up to the size of large ones, and with few rows puts all
    of them at the same distance.
    """
    from scipy.linalg import eigh

    # scatter of all units = between cases, around the mean of all, + within each case
    sizes = sums.sizes[train]
    means = sums.means[train]
    n = int(sizes.sum())
    mean = sizes @ means / n
    between = (np.sqrt(sizes)[:, None] * (means - mean)).astype(np.float32)
    scatter = between.T @ between
    for case in train:
        scatter += sums.scatters[case]

    # PCA of standardised features is that of their correlations
    scaler = scaler_of_squares(mean, np.maximum(scatter.diagonal(), 0).astype(np.float64), n)
    width = len(mean)
    count = max(1, min(n_components, n - 1, width))
    correlation = scatter / np.outer(scaler.scale, scaler.scale * n)
    variance, vectors = eigh(correlation, subset_by_index=[width - count, width - 1], check_finite=False)
    components = vectors.T[::-1]

    # an eigenvector has no sign of its own; the largest entry positive makes the answer one
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    components = np.ascontiguousarray(np.where(largest < 0, -components, components), np.float32)
    return Reduction(scaler, components, _spread(variance.mean()))


def reduced_means(means: np.ndarray, sums: CaseSums, train: np.ndarray, n_components: int) -> np.ndarray:
    """Return the means of all cases on the components of the training cases' units (cases × components, float32).

    `means` is cases × features. The mean of projected units is the projected mean. As a mean varies less than units do,
    one more number brings the training cases to a mean variance of 1.
    """
    reduced = fit_reduction(sums, train, n_components).apply(means)
    return reduced / np.float32(_spread(reduced[train].var(axis=0, dtype=np.float64).mean()))


def _spread(variance: float) -> float:
    """Return a standard deviation to divide by; 1 where nothing varies."""
    return float(np.sqrt(variance)) if variance > 1e-12 else 1.0
