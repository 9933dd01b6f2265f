"""Reduction by PCA and logistic regression on case vectors; whatever is fitted sees training rows only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kronos_sc._core import rng as chance
from kronos_sc._methods.scaling import Scaler, fit_scaler


@dataclass(frozen=True)
class Reduction:
    """Standardisation and PCA, as fitted.

    Parameters
    ----------
    scaler
        Of the features.
    components
        Principal directions (components × features, float32).
    scale
        One number by which all components are divided.
    """

    scaler: Scaler
    components: np.ndarray
    scale: float

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Return reduced rows (n × components, float32)."""
        return (self.scaler.apply(x) @ self.components.T) / np.float32(self.scale)


def fit_reduction(x: np.ndarray, n_components: int, rng: np.random.Generator) -> Reduction:
    """Fit on training rows (n × features): at most n − 1 components.

    The components are brought to a mean variance of 1 by one number for all. Each to its own variance would be a mistake here: with fewer
    rows than features it puts all rows at the same distance from each other, and nothing is left to learn from.
    """
    from sklearn.decomposition import PCA

    scaler = fit_scaler(x)
    count = max(1, min(n_components, len(x) - 1, x.shape[1]))
    with np.errstate(invalid="ignore"):  # rows that are all alike have no shares of variance
        pca = PCA(count, random_state=chance.integer(rng)).fit(scaler.apply(x))
    scale = float(np.sqrt(pca.explained_variance_.mean())) if len(x) > 1 else 1.0
    return Reduction(scaler, pca.components_.astype(np.float32), scale if np.isfinite(scale) and scale > 0 else 1.0)


def logistic_proba(
    vectors: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, *, n_components: int, c: float, rng: np.random.Generator
) -> np.ndarray:
    """Return probabilities of the test cases (test × classes) from a regression on the training cases; `vectors` (cases × features)."""
    from sklearn.linear_model import LogisticRegression

    reduction = fit_reduction(vectors[train], n_components, rng)
    model = LogisticRegression(C=c, class_weight="balanced", max_iter=1000)
    model.fit(reduction.apply(vectors[train]).astype(np.float64), labels[train])
    return model.predict_proba(reduction.apply(vectors[test]).astype(np.float64))
