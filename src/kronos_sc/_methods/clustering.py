"""k-means, in memory or by mini-batches drawn from wherever the rows lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.progress import track
from kronos_sc._core.rng import integer

if TYPE_CHECKING:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    from kronos_sc._methods.scaling import Scaler

VALUES_HELD = 2**24
"""Numbers to hold at a time (64 MiB as float32); fixed, because a sum over blocks depends on where they end."""

Read = Callable[[np.ndarray | slice], np.ndarray]

_RUNS = 16  # places from which the rows of one draw come
_START_ROWS = 8_192  # rows whose k-means the centres start from
_BATCH = 4_096
_WORTH_THREADS = 2**23  # numbers (rows × features) from which a second thread pays
_EPOCHS = 3


@dataclass(frozen=True)
class Clusters:
    """A partition of rows.

    Parameters
    ----------
    labels
        Cluster of each row (int64), 0 the largest.
    inertia
        Sum of squared distances to the centre of the own cluster; NaN where a method knows no centres.
    """

    labels: np.ndarray
    inertia: float

    @property
    def sizes(self) -> np.ndarray:
        """Rows per cluster (int64)."""
        return np.bincount(self.labels)


def by_size(labels: np.ndarray) -> np.ndarray:
    """Return labels renamed so that 0 is the largest cluster; empty ones vanish, equal ones keep their order."""
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return rank[codes]


def kmeans(x: np.ndarray, n_clusters: int, *, n_init: int, rng: np.random.Generator) -> Clusters:
    """Cluster rows `x` (units × features) with scikit-learn's k-means: the best of `n_init` starts."""
    fitted = _fit(x, n_clusters, n_init, rng)
    return Clusters(by_size(fitted.labels_), float(fitted.inertia_))


def _fit(x: np.ndarray, n_clusters: int, n_init: int, rng: np.random.Generator) -> KMeans:
    """Return scikit-learn's k-means, fitted.

    Small problems on one thread, where waiting for each other costs more than a second one brings.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1 if x.size < _WORTH_THREADS else None):
        return KMeans(n_clusters, n_init=n_init, random_state=integer(rng)).fit(x)


def minibatch(
    read: Read,
    rows: np.ndarray,
    n_clusters: int,
    *,
    n_init: int,
    rng: np.random.Generator,
    scaler: Scaler | None = None,
) -> Clusters:
    """Cluster rows that need not fit into memory.

    The centres start as those of k-means on a sample, are refined by scikit-learn's mini-batch updates over three
    passes, and each row then goes to the nearest. A mini-batch mixes rows from sixteen random places, so that tables
    sorted by image do no harm; within a place, rows are read as one slice. What is read when depends on the shape of
    the data and on `rng` alone.

    Parameters
    ----------
    read
        Gives rows (float32, n × features) for row numbers or a slice.
    rows
        Row numbers to cluster, increasing.
    n_clusters, n_init
        Number of clusters; starts of the k-means on the sample.
    scaler
        Applied to whatever is read.
    """
    from sklearn.cluster import MiniBatchKMeans

    def fetch(part: np.ndarray) -> np.ndarray:
        values = read_rows(read, part)
        return values if scaler is None else scaler.apply(values)

    width = fetch(rows[:1]).shape[1]
    rows_held = max(VALUES_HELD // width, _RUNS, 2 * n_clusters)
    n_sample = min(len(rows), max(min(rows_held, _START_ROWS), 20 * n_clusters))
    sample = _sample(fetch, rows, n_sample, rows_held=rows_held, rng=rng)
    start = _fit(sample, n_clusters, n_init, rng)

    # many small updates settle faster than few large ones, but each must see every cluster
    batch_size = max(_BATCH, 20 * n_clusters)
    # no centre is moved because a batch happens to miss its rows: the start is a good one
    model = MiniBatchKMeans(
        n_clusters,
        init=start.cluster_centers_,
        n_init=1,
        reassignment_ratio=0,
        batch_size=batch_size,
        random_state=integer(rng),
    )
    # gives the centres weight: the first batch, which may lack whole images, moves them a little only
    model.partial_fit(sample)

    run = max(rows_held // _RUNS, 1)
    draws = [draw for _ in range(_EPOCHS) for draw in _draws(rows, run=run, rows_held=rows_held, rng=rng)]
    for draw in track(draws, description="mini-batch k-means", unit="block"):
        block = _gather(fetch, draw)
        order = rng.permutation(len(block))
        for part in np.array_split(order, max(1, len(order) // batch_size)):
            model.partial_fit(block[part])
    return _assign(model, fetch, rows, rows_held)


def _assign(
    model: MiniBatchKMeans, fetch: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, rows_held: int
) -> Clusters:
    """Return the nearest centre of every row."""
    labels = np.empty(len(rows), np.int64)
    inertia = 0.0
    for start in range(0, len(rows), rows_held):
        block = fetch(rows[start : start + rows_held])
        nearest = model.predict(block)
        labels[start : start + rows_held] = nearest
        offset = block - model.cluster_centers_[nearest]
        inertia += float(np.einsum("ij,ij->i", offset, offset).sum(dtype=np.float64))
    return Clusters(by_size(labels), inertia)


def _sample(
    fetch: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, n: int, *, rows_held: int, rng: np.random.Generator
) -> np.ndarray:
    """Return `n` random rows, from one pass in order: rows picked one by one would open a chunk on disk each."""
    chosen = np.sort(rng.choice(len(rows), n, replace=False))
    parts = []
    for start in range(0, len(rows), rows_held):
        positions = chosen[(chosen >= start) & (chosen < start + rows_held)] - start
        if len(positions):
            parts.append(fetch(rows[start : start + rows_held])[positions])
    return np.concatenate(parts)


def _draws(rows: np.ndarray, *, run: int, rows_held: int, rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
    """Yield groups of runs of consecutive entries of `rows`, in random order, about `rows_held` rows a group.

    All groups together hold each row once.
    """
    starts = rng.permutation(np.arange(0, len(rows), run))
    per_group = max(1, rows_held // run)
    for first in range(0, len(starts), per_group):
        yield [rows[s : s + run] for s in starts[first : first + per_group]]


def _gather(fetch: Callable[[np.ndarray], np.ndarray], runs: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([fetch(run) for run in runs])


def read_rows(read: Read, rows: np.ndarray) -> np.ndarray:
    """Return increasing rows, read as a slice where they are consecutive: one read wherever the array lies."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return read(slice(int(rows[0]), int(rows[-1]) + 1))
    return read(rows)
