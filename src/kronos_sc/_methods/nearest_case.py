"""Cases as shares of clusters, and the label of the nearest one."""

from __future__ import annotations

import numpy as np

from kronos_sc._core import rng as chance
from kronos_sc._methods.cases import case_shares
from kronos_sc._methods.scaling import fit_scaler
from kronos_sc._methods.threads import one_thread

_FIT_ROWS = 4096  # rows that settle the centres; more move them by less than another draw of cases does


def cluster_shares(
    units: np.ndarray, codes: np.ndarray, fit: np.ndarray, n_cases: int, *, n_clusters: int, scale: bool, rng: np.random.Generator
) -> np.ndarray:
    """Return shares of clusters per case (cases × clusters, float64); k-means sees the rows of `units` that `fit` (bool) allows.

    `codes` (one per row) are numbers of cases. The centres come from at most 4,096 rows drawn among those; each row then goes to the nearest.
    With fewer rows than clusters there are as many clusters as rows.
    """
    from sklearn.cluster import KMeans

    rows = np.flatnonzero(fit)
    seen = units[np.sort(rng.permutation(rows)[:_FIT_ROWS])]
    if scale:
        scaler = fit_scaler(seen)
        seen, units = scaler.apply(seen), scaler.apply(units)
    count = min(n_clusters, len(seen))
    with one_thread():
        model = KMeans(count, n_init=1, random_state=chance.integer(rng)).fit(seen)
        clusters = model.predict(units).astype(np.int64)
    return case_shares(clusters, codes, n_cases, count)


def nearest_proba(vectors: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, n_classes: int) -> np.ndarray:
    """Return closeness to the nearest training case of each class, summing to 1 (test × classes); the largest is the nearest case's class.

    Closeness is 1 / Euclidean distance. It ranks test cases and is no calibrated probability. Every class needs a training case.
    """
    from scipy.spatial.distance import cdist

    distance = cdist(vectors[test], vectors[train])
    nearest = np.stack([distance[:, labels[train] == c].min(axis=1) for c in range(n_classes)], axis=1)
    # relative to the nearest: no overflow, and identical cases share the whole probability
    smallest = nearest.min(axis=1, keepdims=True)
    tiny = np.finfo(float).tiny
    closeness = np.maximum(smallest, tiny) / np.maximum(nearest, tiny)
    return closeness / closeness.sum(axis=1, keepdims=True)
