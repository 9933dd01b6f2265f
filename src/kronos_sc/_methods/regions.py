"""Scores of regions: a region's probability is the mean over its tokens; intervals by drawing groups of regions again."""

# Shapes: r regions, k classes, g groups, d draws.
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._methods import metrics

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 2000
"""Bootstrap draws of an interval."""


def region_means(proba: np.ndarray, region: np.ndarray, n_regions: int) -> np.ndarray:
    """Return the mean probability of each region (r × k, float64) from those of its tokens; NaN for regions without a token."""
    counts = np.bincount(region, minlength=n_regions)
    sums = np.stack([np.bincount(region, weights=column, minlength=n_regions) for column in proba.T], axis=1)
    with np.errstate(invalid="ignore"):
        return sums / counts[:, None]


def auroc_draws(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve under each row of weights (d × r); NaN where positives or negatives weigh nothing.

    The area is the weighted share of pairs of a positive and a negative that the score puts in order, ties counting half.
    """
    pos, neg = score[positive], score[~positive]
    ordered = (pos[:, None] > neg) + 0.5 * (pos[:, None] == neg)
    w_pos, w_neg = weights[:, positive].astype(float), weights[:, ~positive].astype(float)
    pairs = w_pos.sum(axis=1) * w_neg.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(pairs > 0, ((w_pos @ ordered) * w_neg).sum(axis=1) / pairs, np.nan)


def group_weights(groups: np.ndarray, rng: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Return how often each region is in each draw (d × r, int64): whole groups are drawn with replacement, as many as there are."""
    _, member = np.unique(groups, return_inverse=True)
    size = int(member.max()) + 1
    return rng.multinomial(size, np.full(size, 1 / size), size=draws)[:, member]


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of draws; NaN where no draw has a value."""
    there = values[np.isfinite(values)]
    return tuple(np.percentile(there, [2.5, 97.5]).tolist()) if len(there) else (np.nan, np.nan)


def scores(true: np.ndarray, proba: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> tuple[dict[str, float], pd.DataFrame]:
    """Return the scores of regions, and one row per class that occurs.

    `true` (r) are classes, `proba` (r × k) mean probabilities, `groups` (r) what is drawn together. AUROC is the mean over the classes
    that occur, each against the rest (for two classes, the usual one); its 95 % interval is a percentile bootstrap over groups. Draws
    that lack a class say nothing about it and do not count for it; a single group has no interval.
    """
    row = metrics.scores(true, proba)
    table = metrics.per_class(true, proba).rename(columns={"n_test": "n_regions"})
    weights = group_weights(groups, rng)
    area, draws = [], []
    for c in table["class"]:
        positive = true == c
        if positive.all():
            area.append(np.nan)
            draws.append(np.full(len(weights), np.nan))
            continue
        area.append(float(auroc_draws(positive, proba[:, c], np.ones((1, len(true))))[0]))
        draws.append(auroc_draws(positive, proba[:, c], weights))
    if len(np.unique(groups)) < 2:
        draws = [np.full(1, np.nan) for _ in draws]
    bounds = [interval(values) for values in draws]
    table = table.assign(auroc=area, auroc_low=[low for low, _ in bounds], auroc_high=[high for _, high in bounds])
    low, high = interval(np.mean(draws, axis=0))
    kept = {name: row[name] for name in ("balanced_accuracy", "macro_f1", "macro_ap")}
    return kept | {"auroc": float(np.mean(area)), "auroc_low": low, "auroc_high": high}, table
