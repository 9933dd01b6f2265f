"""Logistic regression on reduced case vectors, fitted on training cases."""

from __future__ import annotations

import numpy as np


def logistic_proba(
    reduced: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, *, c: float
) -> np.ndarray:
    """Return probabilities of the test cases (test × classes) from a regression on the training cases.

    `reduced` (cases × components) holds the vectors of all cases.
    """
    from sklearn.linear_model import LogisticRegression

    reduced = reduced.astype(np.float64)
    model = LogisticRegression(C=c, class_weight="balanced", max_iter=1000)
    return model.fit(reduced[train], labels[train]).predict_proba(reduced[test])
