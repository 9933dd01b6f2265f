"""Scores of a classifier, by scikit-learn; one place decides what happens to classes that a test set lacks."""

from __future__ import annotations

import numpy as np
import pandas as pd

SCORES = ("balanced_accuracy", "macro_f1", "macro_ap", "auroc_ovo", "auroc_ovr")


def scores(true: np.ndarray, proba: np.ndarray) -> dict[str, float]:
    """Return balanced accuracy, macro F1, macro average precision and macro AUROC one-vs-one and one-vs-rest.

    `true` (n, int) are classes, `proba` (n × classes) the probabilities; the prediction is the largest. Averages run
    over the classes that the test set holds; a score that needs two of them is NaN where there is one. One-vs-one is
    the mean over pairs of classes of their two AUROC (Hand & Till 2001).
    """
    from sklearn.metrics import roc_auc_score

    predicted = proba.argmax(axis=1)
    present = np.unique(true)
    table = per_class(true, proba)
    values = {
        "balanced_accuracy": float(table["recall"].mean()),
        "macro_f1": macro_f1(true, predicted),
        "macro_ap": float(table["average_precision"].mean()),
    }
    if len(present) < 2:
        return values | {"auroc_ovo": np.nan, "auroc_ovr": np.nan}
    pairs = [_pair_auroc(true, proba, a, b) for i, a in enumerate(present) for b in present[i + 1 :]]
    one_vs_rest = [roc_auc_score(true == c, proba[:, c]) for c in present]
    return values | {"auroc_ovo": float(np.mean(pairs)), "auroc_ovr": float(np.mean(one_vs_rest))}


def _pair_auroc(true: np.ndarray, proba: np.ndarray, a: int, b: int) -> float:
    from sklearn.metrics import roc_auc_score

    in_pair = (true == a) | (true == b)
    is_a = true[in_pair] == a
    return (roc_auc_score(is_a, proba[in_pair, a]) + roc_auc_score(~is_a, proba[in_pair, b])) / 2


def macro_f1(true: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean F1 over the classes that the test set holds."""
    from sklearn.metrics import f1_score

    return float(f1_score(true, predicted, labels=np.unique(true), average="macro", zero_division=0))


def per_class(true: np.ndarray, proba: np.ndarray) -> pd.DataFrame:
    """Return one row per class that the test set holds.

    Columns: `class` (number), `n_test`, `precision`, `recall`, `f1`, `average_precision`.
    """
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support

    present = np.unique(true)
    predicted = proba.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(true, predicted, labels=present, zero_division=0)
    ap = [average_precision_score(true == c, proba[:, c]) for c in present]
    return pd.DataFrame(
        {
            "class": present,
            "n_test": support,
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "average_precision": ap,
        }
    )


def confusion(true: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Return counts (true × predicted, int64)."""
    return np.bincount(true * n_classes + predicted, minlength=n_classes * n_classes).reshape(n_classes, n_classes)
