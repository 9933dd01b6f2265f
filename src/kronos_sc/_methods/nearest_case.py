"""Cases as shares of clusters, and the label of the nearest one."""

from __future__ import annotations

import numpy as np

from kronos_sc._core.rng import integer
from kronos_sc._methods.cases import case_shares
from kronos_sc._methods.scaling import fit_scaler
from kronos_sc._methods.threads import one_thread

_HAIR = 1e-9  # enough to decide a tie, too little to show in a probability


def cluster_shares(
    units: np.ndarray,
    codes: np.ndarray,
    fit: np.ndarray,
    n_cases: int,
    *,
    n_clusters: int,
    scale: bool,
    max_fit: int | None,
    n_init: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return shares of clusters per case (cases × clusters, float64).

    K-means sees the rows of `units` that `fit` (bool) allows. `codes` (one per row) are numbers of cases. The centres
    come from at most `max_fit` rows drawn among those, and are the best of `n_init` starts; each row then goes to the
    nearest. With fewer rows than clusters there are as many clusters as rows.
    """
    from sklearn.cluster import KMeans

    rows = np.flatnonzero(fit)
    seen = units[np.sort(rng.permutation(rows)[:max_fit])]
    if scale:
        scaler = fit_scaler(seen)
        seen = scaler.apply(seen)
        units = scaler.apply(units)
    count = min(n_clusters, len(seen))
    with one_thread():
        model = KMeans(count, n_init=n_init, random_state=integer(rng)).fit(seen)
        clusters = model.predict(units).astype(np.int64)
    return case_shares(clusters, codes, n_cases, count)


def nearest_proba(
    vectors: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, n_classes: int
) -> np.ndarray:
    """Return closeness to the nearest training case of each class, summing to 1 (test × classes).

    The largest is the nearest case's class. Closeness is 1 / Euclidean distance. It ranks test cases and is no
    calibrated probability. Where two classes have a case at the same distance, the one whose next nearest case is
    nearer gets the larger part by a hair, and so on down the line; classes that are as near all the way share alike.
    Every class needs a training case.
    """
    from scipy.spatial.distance import cdist

    distance = cdist(vectors[test], vectors[train])
    ordered = [np.sort(distance[:, labels[train] == c], axis=1) for c in range(n_classes)]
    nearest = np.stack([own[:, 0] for own in ordered], axis=1)
    # relative to the nearest: no overflow, and identical cases share the whole probability
    smallest = nearest.min(axis=1, keepdims=True)
    tiny = np.finfo(float).tiny
    closeness = np.maximum(smallest, tiny) / np.maximum(nearest, tiny)
    closeness *= 1 - _HAIR * _places(ordered)
    return closeness / closeness.sum(axis=1, keepdims=True)


def _places(ordered: list[np.ndarray]) -> np.ndarray:
    """Return how many classes come before each (test × classes): compared by nearest distance, then by the next.

    `ordered` holds the distances of each class (test × its training cases), increasing; as many are compared as each
    class has.
    """
    depth = min(own.shape[1] for own in ordered)
    stacked = np.stack([own[:, :depth] for own in ordered], axis=1)
    places = np.zeros(stacked.shape[:2])
    for c in range(stacked.shape[1]):
        apart = stacked - stacked[:, c : c + 1]
        apart[np.abs(apart) <= 1e-12] = 0.0  # equal but for rounding
        first = (apart != 0).argmax(axis=2)[..., None]
        places[:, c] = (np.take_along_axis(apart, first, axis=2)[..., 0] < 0).sum(axis=1)
    return places
