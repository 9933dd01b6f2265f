"""Scores of a few cases, many times over: those of `metrics`, without what scikit-learn checks at each call."""

from __future__ import annotations

import numpy as np


def case_scores(true: np.ndarray, proba: np.ndarray) -> dict[str, float]:
    """Return AUROC (one-vs-rest), balanced accuracy and macro F1.

    Averages run over the classes that the test set holds.

    `true` (n, int) are classes, `proba` (n × classes) probabilities. AUROC is NaN where the test set holds a single
    class. A hundred times faster than scikit-learn on a handful of cases, where checking takes all the time.
    """
    predicted = proba.argmax(axis=1)
    n_classes = proba.shape[1]
    counts = np.bincount(true * n_classes + predicted, minlength=n_classes * n_classes).reshape(n_classes, n_classes)
    present = np.flatnonzero(counts.sum(axis=1))
    hit = counts.diagonal()[present]
    in_class = counts.sum(axis=1)[present]
    called = counts.sum(axis=0)[present]
    rest = [auroc(true == c, proba[:, c]) for c in present] if len(present) > 1 else [np.nan]
    return {
        "auroc": float(np.mean(rest)),
        "balanced_accuracy": float(np.mean(hit / in_class)),
        "macro_f1": float(np.mean(2 * hit / (in_class + called))),
    }


def auroc(positive: np.ndarray, score: np.ndarray) -> float:
    """Return the share of pairs (positive, negative) in which the positive scores higher; ties count one half."""
    won = score[positive][:, None] - score[~positive][None]
    return float(((won > 0) + 0.5 * (won == 0)).mean())
