"""Scores of regions, with intervals from drawing groups of regions again.

A region's probability is the mean over its tokens.
"""

# Shapes: r regions, k classes, g groups, d draws.
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._methods import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

DRAWS = 2000
"""Bootstrap draws of an interval."""
FEWEST = 5
"""Groups below which there is no interval."""
_AT_ONCE = 2**20  # weights held together


def region_means(proba: np.ndarray, region: np.ndarray, n_regions: int) -> np.ndarray:
    """Return the mean probability of each region (r × k, float64) from those of its tokens.

    NaN for regions without a token.
    """
    counts = np.bincount(region, minlength=n_regions)
    sums = np.stack([np.bincount(region, weights=column, minlength=n_regions) for column in proba.T], axis=1)
    with np.errstate(invalid="ignore"):
        return sums / counts[:, None]


class Ranked:
    """Regions in the order of their scores: sorted once, the area under any weights costs a pass over the regions.

    Parameters
    ----------
    positive
        Which regions are of the class (r, bool).
    score
        Higher for what is rather of the class (r).
    """

    def __init__(self, positive: np.ndarray, score: np.ndarray) -> None:
        negatives = np.flatnonzero(~positive)
        self._neg = negatives[np.argsort(score[negatives], kind="stable")]
        self._pos = np.flatnonzero(positive)
        along = score[self._neg]
        self._below, self._not_above = (
            np.searchsorted(along, score[self._pos], side=side) for side in ("left", "right")
        )

    def area(self, weights: np.ndarray) -> np.ndarray:
        """Return the area under the ROC curve under each row of weights (d × r).

        It is the weighted share of pairs of a positive and a negative that the score puts in order, ties counting half;
        NaN where positives or negatives weigh nothing.
        """
        w_pos = weights[:, self._pos].astype(float)
        below = np.zeros((len(weights), len(self._neg) + 1))  # weight of the first negatives, by their number
        np.cumsum(weights[:, self._neg], axis=1, out=below[:, 1:])
        pairs = w_pos.sum(axis=1) * below[:, -1]
        ordered = (w_pos * below[:, self._below]).sum(axis=1) + (w_pos * below[:, self._not_above]).sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.where(pairs > 0, 0.5 * ordered / pairs, np.nan)


def drawn_weights(groups: np.ndarray, rng: np.random.Generator, draws: int = DRAWS) -> Iterator[np.ndarray]:
    """Yield how often each region is in each draw (d × r, int64).

    Some draws at a time, so that they fit into `_AT_ONCE` numbers. Whole groups are drawn with replacement, as many as
    there are.
    """
    _, member = np.unique(groups, return_inverse=True)
    size = int(member.max()) + 1
    share = np.full(size, 1 / size)
    step = max(1, _AT_ONCE // len(member))
    for start in range(0, draws, step):
        yield rng.multinomial(size, share, size=min(step, draws - start))[:, member]


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of draws; NaN where no draw has a value."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.nan, np.nan
    low, high = np.percentile(finite, [2.5, 97.5]).tolist()
    return low, high


def further_scores(true: np.ndarray, proba: np.ndarray, positive: int | None) -> dict[str, float]:
    """Return AUROC one-vs-one, and F1 and average precision of the positive class.

    NaN without one, or without a region of it.
    """
    return {"auroc_ovo": metrics.scores(true, proba)["auroc_ovo"]} | _of_class(metrics.per_class(true, proba), positive)


def _of_class(table: pd.DataFrame, positive: int | None) -> dict[str, float]:
    """Return F1 and average precision of a class from the scores of each; NaN where it is not among them."""
    row = table[table["class"] == positive]
    return {name: float(row[name].iloc[0]) if len(row) else np.nan for name in ("f1", "average_precision")}


def scores(
    true: np.ndarray, proba: np.ndarray, groups: np.ndarray, rng: np.random.Generator, *, positive: int | None = None
) -> tuple[dict[str, float], pd.DataFrame]:
    """Return the scores of regions, and one row per class that occurs.

    `true` (r) are classes, `proba` (r × k) mean probabilities, `groups` (r) what is drawn together. AUROC is the mean
    over the classes that occur, each against the rest (for two classes, the usual one); its 95 % interval is a
    percentile bootstrap over groups. Draws that lack a class say nothing about it and do not count for it, which makes
    the interval of a class in few groups rather too narrow. Fewer than `FEWEST` groups have no interval: a handful of
    draws repeat themselves, and the interval would be false, not wide. `positive` is the class whose own F1 and average
    precision stand beside the means over classes.
    """
    row = metrics.scores(true, proba)
    table = metrics.per_class(true, proba).rename(columns={"n_test": "n_regions"})
    n_groups = len(np.unique(groups))
    ranked = [Ranked(true == c, proba[:, c]) for c in table["class"]]
    area = [float(ranking.area(np.ones((1, len(true))))[0]) for ranking in ranked]
    draws = np.full((len(ranked), 1), np.nan)
    if n_groups >= FEWEST:
        draws = np.concatenate(
            [[ranking.area(weights) for ranking in ranked] for weights in drawn_weights(groups, rng)], axis=1
        )
    bounds = [interval(values) for values in draws]
    table = table.assign(auroc=area, auroc_low=[low for low, _ in bounds], auroc_high=[high for _, high in bounds])
    low, high = interval(np.mean(draws, axis=0))
    means = {name: row[name] for name in ("balanced_accuracy", "macro_f1", "macro_ap")}
    further = {"auroc_ovo": row["auroc_ovo"]} | _of_class(table, positive)
    curve = {"auroc": float(np.mean(area)), "auroc_low": low, "auroc_high": high}
    return {"n_groups": n_groups} | means | curve | further, table
