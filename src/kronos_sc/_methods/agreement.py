"""How well a partition agrees with labels, by scikit-learn."""

from __future__ import annotations

import numpy as np


def agreement(true: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    """Return adjusted Rand index and normalised mutual information (arithmetic mean) of two partitions.

    The adjusted Rand index is 1 for equal partitions, and 0 is expected by chance.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    ari = adjusted_rand_score(true, clusters)
    nmi = normalized_mutual_info_score(true, clusters)
    return {"ari": float(ari), "nmi": float(nmi)}


def silhouette(x: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean silhouette (−1 to 1) of rows `x` (units × features) with `labels` as the clusters.

    NaN unless 2 to n − 1 labels occur.
    """
    from sklearn.metrics import silhouette_score

    if not 2 <= len(np.unique(labels)) < len(labels):
        return float("nan")
    return float(silhouette_score(x, labels))
