"""Receiver operating characteristic, averaged over repeated splits."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kronos_sc._core.results import half_width

GRID = np.linspace(0, 1, 101)


def curve(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positive rates, from (0, 0) to (1, 1); cases with equal scores make one step."""
    order = np.argsort(-score, kind="stable")
    hit = positive[order].astype(bool)
    sorted_scores = score[order]
    last = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True))
    true = np.cumsum(hit)[last] / hit.sum()
    false = np.cumsum(~hit)[last] / (~hit).sum()
    return np.append(0.0, false), np.append(0.0, true)


def on_grid(false: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return true positive rates on `GRID`: at a false positive rate where the curve rises, its upper end."""
    upper = np.searchsorted(false, GRID, side="right") - 1
    after = np.minimum(upper + 1, len(false) - 1)
    gap = false[after] - false[upper]
    share = np.where(gap > 0, (GRID - false[upper]) / np.where(gap > 0, gap, 1), 0.0)
    return true[upper] + share * (true[after] - true[upper])


def split_curve(true: np.ndarray, proba: np.ndarray) -> np.ndarray | None:
    """Return true positive rates on `GRID` for one test set.

    They are those of the second of two classes, or the mean over classes, each against the rest. None where the test
    set holds a single class. `true` (n, int), `proba` (n × classes).
    """
    present = np.unique(true)
    if len(present) < 2:
        return None
    classes = present if proba.shape[1] > 2 else [1]
    return np.mean([on_grid(*curve(true == c, proba[:, c])) for c in classes], axis=0)


def mean_curve(curves: list[np.ndarray]) -> pd.DataFrame:
    """Return the mean of curves on `GRID` and the 95 % interval of the mean.

    Columns: `false_positive_rate`, `true_positive_rate`, `low`, `high`.
    """
    stack = np.stack(curves)
    mean = stack.mean(axis=0)
    half = np.zeros_like(mean)
    if len(stack) > 1:
        half = half_width(stack.std(axis=0, ddof=1), len(stack))
    bounds = {"low": np.clip(mean - half, 0, 1), "high": np.clip(mean + half, 0, 1)}
    return pd.DataFrame({"false_positive_rate": GRID, "true_positive_rate": mean, **bounds})
