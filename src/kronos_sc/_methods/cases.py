"""From units to cases: means, moments and cluster shares per case, read block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kronos_sc._core.representation import Representation


def case_sizes(codes: np.ndarray, n_cases: int) -> np.ndarray:
    """Return units per case (int64); `codes` (units) are numbers of cases, -1 for units that belong to none."""
    return np.bincount(codes[codes >= 0], minlength=n_cases)


def case_means(rep: Representation, codes: np.ndarray, n_cases: int) -> np.ndarray:
    """Return the mean vector of each case (cases × features, float64), summed in float64; NaN for a case without units.

    `codes` (one per unit) are numbers of cases; units with -1 are never read.
    """
    sums = np.zeros((n_cases, rep.width))
    for part, values in rep.blocks(np.flatnonzero(codes >= 0)):
        _add(sums, values, codes[part])
    return _over(sums, case_sizes(codes, n_cases))


def case_moments(rep: Representation, codes: np.ndarray, n_cases: int, *, order: int = 2) -> list[np.ndarray]:
    """Return moments of each case (cases × features, float64 each), up to an order.

    They are mean, standard deviation and, with a higher `order`, skewness (3) and kurtosis (4). Two passes: deviations
    are taken from the mean, so that nothing is lost where the mean is large and the spread small. The standard
    deviation divides by n; it and the higher moments are 0 where a case has no spread.
    """
    mean = case_means(rep, codes, n_cases)
    powers = np.zeros((order - 1, n_cases, rep.width))
    for part, values in rep.blocks(np.flatnonzero(codes >= 0)):
        cases = codes[part]
        deviation = values - mean[cases]
        power = deviation
        for sums in powers:
            power = power * deviation
            _add(sums, power, cases)
    central = [_over(sums, case_sizes(codes, n_cases)) for sums in powers]
    sd = np.sqrt(central[0])
    # the mean of a constant is exact to rounding only; a spread of that size is none
    sd[sd <= 1e-10 * np.abs(mean)] = 0.0
    flat = sd == 0
    higher = [
        np.where(flat, 0.0, moment / np.where(flat, 1.0, sd) ** (number + 3))
        for number, moment in enumerate(central[1:])
    ]
    return [mean, sd, *higher]


def case_shares(clusters: np.ndarray, codes: np.ndarray, n_cases: int, n_clusters: int) -> np.ndarray:
    """Return the share of each case's units in each cluster (cases × clusters, float64).

    Units without a case or a cluster (-1) count nowhere.
    """
    counted = (codes >= 0) & (clusters >= 0)
    counts = np.bincount(codes[counted] * n_clusters + clusters[counted], minlength=n_cases * n_clusters).reshape(
        n_cases, n_clusters
    )
    return _over(counts.astype(np.float64), counts.sum(axis=1))


def draw_units(codes: np.ndarray, most: int | None, rng: np.random.Generator) -> np.ndarray:
    """Return row numbers of at most `most` units of each case, drawn without replacement, in increasing order.

    All units if `most` is None.
    """
    rows = np.flatnonzero(codes >= 0)
    if most is None:
        return rows
    rows = rng.permutation(rows)
    rows = rows[np.argsort(codes[rows], kind="stable")]
    grouped = codes[rows]
    rank = np.arange(len(rows)) - np.searchsorted(grouped, grouped)
    return np.sort(rows[rank < most])


def random_directions(width: int, most_features: int | None, rng: np.random.Generator) -> np.ndarray | None:
    """Return `most_features` random directions (features × directions, float32); None for vectors not wider than that.

    Gaussian directions keep squared distances within a factor 1 ± √(2 / directions) or so (Johnson & Lindenstrauss).
    They are drawn without a look at the data, so nothing of a test case can reach a training case through them.
    """
    if most_features is None or width <= most_features:
        return None
    return rng.standard_normal((width, most_features), dtype=np.float32) / np.float32(np.sqrt(most_features))


def projected_blocks(
    rep: Representation, rows: np.ndarray, directions: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (row numbers, rows as float32) until all of `rows` were read.

    Rows are projected onto `directions` if there are any.
    """
    for part, values in rep.blocks(rows):
        yield part, values if directions is None else values @ directions


def projected(rep: Representation, rows: np.ndarray, directions: np.ndarray | None) -> np.ndarray:
    """Return rows (n × features, float32), projected onto `directions` if there are any."""
    if directions is None:
        return rep.rows(rows)
    values_of_rows = np.empty((len(rows), directions.shape[1]), np.float32)
    start = 0
    for part, values in projected_blocks(rep, rows, directions):
        values_of_rows[start : start + len(part)] = values
        start += len(part)
    return values_of_rows


def by_case(codes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each case that occurs in `codes` and the positions of its units."""
    order = np.argsort(codes, kind="stable")
    start = 0
    for end in np.flatnonzero(np.diff(codes[order], append=-1)) + 1:
        yield int(codes[order[start]]), order[start:end]
        start = end


def _add(sums: np.ndarray, values: np.ndarray, codes: np.ndarray) -> None:
    """Add rows to the sums of their cases, in float64."""
    for case, rows in by_case(codes):
        sums[case] += values[rows].sum(axis=0, dtype=np.float64)


def _over(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Divide sums (cases × features) by the sizes of the cases; NaN for a case without units."""
    with np.errstate(invalid="ignore"):
        return sums / sizes[:, None]
