"""How well a partition agrees with labels, by scikit-learn."""

from __future__ import annotations

import numpy as np


def agreement(true: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Return adjusted Rand index (0 expected by chance, 1 identical) and normalised mutual information (arithmetic mean) of two partitions."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return {"ari": float(adjusted_rand_score(true, found)), "nmi": float(normalized_mutual_info_score(true, found))}


def silhouette(x: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean silhouette (−1 to 1) of rows `x` (units × features) with `labels` as the clusters.

    NaN unless 2 to n − 1 labels occur.
    """
    from sklearn.metrics import silhouette_score

    if not 2 <= len(np.unique(labels)) < len(labels):
        return float("nan")
    return float(silhouette_score(x, labels))
