"""k-means of every pair of groups at once: products with the centres of all pairs instead of one run per pair.

Shapes: g groups, n rows of a group, d features, p pairs, s starts, k clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kronos_sc._methods.pairwise_pca import Groups, PairComponents

_TOLERANCE = 1e-4  # squared movement of the centres at which a run ends, as a share of the mean variance of a feature
_ROUNDS = 100


@dataclass(frozen=True)
class PairClusters:
    """Clusters of each pair.

    Parameters
    ----------
    counts
        Rows by group and cluster (p × 2 × k, int64).
    inertia
        Sum of squared distances to the own centre (p, float64).
    """

    counts: np.ndarray
    inertia: np.ndarray


def pairwise_kmeans(
    groups: Groups, components: PairComponents, n_clusters: int, *, n_init: int, rng: np.random.Generator
) -> PairClusters:
    """Cluster the pooled rows of each pair on all features.

    Each pair has `n_init` starts: equal slices along its first principal component, and k-means++ drawn from a
    generator of the pair. They run in the subspace of the principal components, where they are cheap, and the best of
    them is brought to its end on all features.
    """
    pairs = components.pairs
    inner = components.inner
    starts = [_starts(components, i, n_clusters, n_init, child) for i, child in enumerate(rng.spawn(len(pairs)))]
    centres_pskd, clusters = _lloyd(inner, pairs, np.stack(starts))

    # the best start of each pair goes on, on all features if the subspace is narrower
    best = clusters.inertia.argmin(axis=1)
    every_pair = np.arange(len(pairs))
    if components.w_dm is None:
        return PairClusters(clusters.counts[every_pair, best], clusters.inertia[every_pair, best])
    chosen_pskd = (centres_pskd[every_pair, best] @ components.w_dm.T)[:, None]
    _, clusters = _lloyd(groups, pairs, chosen_pskd)
    return PairClusters(clusters.counts[:, 0], clusters.inertia[:, 0])


def _starts(components: PairComponents, number: int, k: int, n_init: int, rng: np.random.Generator) -> np.ndarray:
    """Return first centres (s × k × d) of one pair."""
    groups = components.inner
    a, b = components.pairs[number]
    rows = np.concatenate([groups.z_nd[a] + groups.mean_gd[a], groups.z_nd[b] + groups.mean_gd[b]])
    along = np.argsort(components.coordinates(number)[:, 0], kind="stable")
    slices = np.stack([rows[part].mean(axis=0) for part in np.array_split(along, k)])
    return np.concatenate([slices[None], rows[_plus_plus(rows, k, n_init - 1, rng)]])


def _plus_plus(rows: np.ndarray, k: int, n_init: int, rng: np.random.Generator) -> np.ndarray:
    """Return numbers of rows (s × k), each drawn in proportion to its squared distance from those before.

    k-means++ (Arthur & Vassilvitskii 2007).
    """
    square = np.einsum("nd,nd->n", rows, rows)
    draws = rng.random((k, n_init))
    nearest_sn = np.full((n_init, len(rows)), np.inf)
    chosen = np.empty((n_init, k), np.int64)
    for i in range(k):
        total_sn = np.cumsum(nearest_sn if i else np.ones_like(nearest_sn), axis=1)
        for s in range(n_init):
            chosen[s, i] = np.searchsorted(total_sn[s], draws[i, s] * total_sn[s, -1], side="right").clip(
                max=len(rows) - 1
            )
        last_sd = rows[chosen[:, i]]
        distance_sn = square - 2 * (last_sd @ rows.T) + np.einsum("sd,sd->s", last_sd, last_sd)[:, None]
        nearest_sn = np.minimum(nearest_sn, np.maximum(distance_sn, 0))
    return chosen


def _lloyd(groups: Groups, pairs: np.ndarray, centres_pskd: np.ndarray) -> tuple[np.ndarray, PairClusters]:
    """Return centres, and counts (p × s × 2 × k) and inertia (p × s), of runs of Lloyd's algorithm."""
    p, s, k, d = centres_pskd.shape
    # runs: one line per pair and start
    centres_rkd = centres_pskd.reshape(p * s, k, d).copy()
    pair_r2 = np.repeat(pairs, s, axis=0)
    counts_r2k = np.zeros((p * s, 2, k), np.int64)
    inertia_r = np.zeros(p * s)
    squares = np.array([np.einsum("nd,nd->", z, z, dtype=np.float64) for z in groups.z_nd])
    enough_r = _TOLERANCE * squares[pair_r2].sum(axis=1) / (groups.counts[pair_r2].sum(axis=1) * d)
    running = np.arange(p * s)
    for _ in range(_ROUNDS):
        sums_rkd, counts_r2k[running], inertia_r[running] = _assign(groups, pair_r2[running], centres_rkd[running])
        size_rk = counts_r2k[running].sum(axis=1)
        # a cluster that lost all rows stays where it is
        moved = np.where(
            size_rk[..., None] > 0, sums_rkd / np.maximum(size_rk, 1)[..., None], centres_rkd[running]
        ).astype(np.float32)
        shift_r = np.square(moved - centres_rkd[running], dtype=np.float64).sum(axis=(1, 2))
        centres_rkd[running] = moved
        running = running[shift_r > enough_r[running]]
        if not len(running):
            break
    return centres_rkd.reshape(p, s, k, d), PairClusters(counts_r2k.reshape(p, s, 2, k), inertia_r.reshape(p, s))


def _assign(groups: Groups, pair_r2: np.ndarray, centres_rkd: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give each row to its nearest centre in every run.

    Return sums of rows (r × k × d), counts (r × 2 × k) and inertia (r).
    """
    r, k, d = centres_rkd.shape
    sums_rkd = np.zeros((r, k, d), np.float32)
    counts_r2k = np.zeros((r, 2, k), np.int64)
    inertia_r = np.zeros(r)
    length_rk = np.einsum("rkd,rkd->rk", centres_rkd, centres_rkd)
    for g, (z_nd, mean_d) in enumerate(zip(groups.z_nd, groups.mean_gd, strict=True)):
        run, side = np.nonzero(pair_r2 == g)
        if not len(run):
            continue
        flat_md = centres_rkd[run].swapaxes(0, 1).reshape(-1, d)
        # |x − c|² without |x|², which is the same for all centres
        offset = (length_rk[run].T.ravel() - 2 * (flat_md @ mean_d)).astype(np.float32)
        far_nkq = (offset - 2 * (z_nd @ flat_md.T)).reshape(len(z_nd), k, len(run))
        least_nq = far_nkq.min(axis=1)
        one_nkq = np.zeros_like(far_nkq)
        taken_nq = np.zeros(least_nq.shape, bool)
        for j in range(k):  # equal distances go to the first
            one_nkq[:, j] = (far_nkq[:, j] == least_nq) & ~taken_nq
            taken_nq |= one_nkq[:, j] > 0
        size_qk = one_nkq.sum(axis=0).T
        square = np.einsum("nd,nd->", z_nd, z_nd, dtype=np.float64) + len(z_nd) * np.einsum(
            "d,d->", mean_d, mean_d, dtype=np.float64
        )
        inertia_r[run] += least_nq.sum(axis=0, dtype=np.float64) + square
        within_qkd = (one_nkq.reshape(len(z_nd), -1).T @ z_nd).reshape(k, len(run), d).swapaxes(0, 1)
        sums_rkd[run] += within_qkd + size_qk[..., None] * mean_d
        counts_r2k[run, side] = np.rint(size_qk).astype(np.int64)
    return sums_rkd, counts_r2k, inertia_r


def adjusted_rand(counts: np.ndarray) -> np.ndarray:
    """Return the adjusted Rand index (Hubert & Arabie 1985) of tables of counts (… × classes × clusters).

    1 where both are one group.
    """
    pairs = lambda n: n * (n - 1) / 2.0  # noqa: E731
    counts = counts.astype(np.float64)
    together = pairs(counts).sum(axis=(-2, -1))
    rows = pairs(counts.sum(axis=-1)).sum(axis=-1)
    columns = pairs(counts.sum(axis=-2)).sum(axis=-1)
    expected = rows * columns / pairs(counts.sum(axis=(-2, -1)))
    span = (rows + columns) / 2 - expected
    return np.divide(together - expected, span, where=span != 0, out=np.ones_like(expected))
