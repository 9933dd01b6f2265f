"""Principal components of every pair of groups at once.

The covariance of a pair is the sum of two covariances and a term of rank one, so all pairs share their work: one
subspace for all of them, in which each pair is a small eigenproblem, and which grows by what the pairs still lack until
each has its components.

Shapes: g groups, n rows of a group, d features, p pairs, c components, m dimensions of the subspace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TOLERANCE = 1e-3  # angle (radian) allowed between the computed plane and the exact one
_DIRECT = 512  # up to so many features, the subspace is all of them
_START = 96  # random directions to start from, and the least number to grow by
_WIDEST = 1024
_NEAR = 0.05  # eigenvalues that differ by less than this share count as so far apart: their plane is arbitrary anyway
_FLOOR = 3e-6  # float32 tells no smaller residual from rounding, relative to the largest eigenvalue
_DENSE = 64  # eigenproblems up to this size are solved at once


@dataclass(frozen=True)
class Groups:
    """Rows of each group around the mean of the group.

    Parameters
    ----------
    z_nd
        One array (rows × features, float32) per group, with mean 0.
    mean_gd
        Means of the groups (float32), relative to the mean of all means.
    """

    z_nd: list[np.ndarray]
    mean_gd: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Rows per group (int64)."""
        return np.array([len(z) for z in self.z_nd], dtype=np.int64)

    @property
    def width(self) -> int:
        """Number of features."""
        return self.mean_gd.shape[1]

    def projected(self, w_dm: np.ndarray) -> Groups:
        """Return the groups in the coordinates of a subspace."""
        return Groups([z @ w_dm for z in self.z_nd], self.mean_gd @ w_dm)


def centred(parts: Iterable[np.ndarray]) -> Groups:
    """Return groups from their rows (float32), read one at a time.

    Sums around the own mean keep float32 exact enough.
    """
    rows = []
    means = []
    for part in parts:
        mean = part.mean(axis=0, dtype=np.float64)
        rows.append(np.subtract(part, mean.astype(np.float32)))
        means.append(mean)
    mean_gd = np.array(means)
    return Groups(rows, (mean_gd - mean_gd.mean(axis=0)).astype(np.float32))


@dataclass(frozen=True)
class PairComponents:
    """Principal components of each pair.

    Parameters
    ----------
    pairs
        Numbers of the two groups (p × 2).
    inner
        The groups in the subspace.
    w_dm
        Basis of the subspace, or None where it is all features.
    u_pmc
        Components in the coordinates of the subspace (float32), the largest first.
    variance
        Variance along each component (p × c, float64; divided by n − 1).
    share
        The same as a share of the total; NaN for a pair without spread.
    settled
        Whether the components are exact within the tolerance (bool per pair).
    """

    pairs: np.ndarray
    inner: Groups
    w_dm: np.ndarray | None
    u_pmc: np.ndarray
    variance: np.ndarray
    share: np.ndarray
    settled: np.ndarray

    def coordinates(self, number: int) -> np.ndarray:
        """Return coordinates of the rows of one pair (first group, then second; float32), around its mean."""
        a, b = self.pairs[number]
        counts = self.inner.counts
        u = self.u_pmc[number]
        apart = (self.inner.mean_gd[a] - self.inner.mean_gd[b]) / (counts[a] + counts[b])
        first = self.inner.z_nd[a] @ u + (counts[b] * apart) @ u
        second = self.inner.z_nd[b] @ u - (counts[a] * apart) @ u
        return np.concatenate([first, second]).astype(np.float32)


def pairwise_pca(
    groups: Groups,
    pairs: np.ndarray,
    n_components: int,
    *,
    rng: np.random.Generator,
    tolerance: float = TOLERANCE,
    rounds: int = 40,
) -> PairComponents:
    """Return the leading principal components (centred, not scaled) of the pooled rows of each pair.

    Exact up to `tolerance`; up to 512 features all are taken as they are. Eigenvalues closer than 5 % to the next one
    are asked for less: their plane depends on single rows.
    """
    state = _Subspace(groups, pairs, n_components)
    if groups.width <= _DIRECT:
        state.take_all()
        state.solve(np.arange(len(pairs)))
        return state.result()
    state.grow(_first_directions(groups, rng))
    for _ in range(rounds):
        unsettled = np.flatnonzero(~state.settled)
        state.solve(unsettled)
        residual_pcd = state.check(unsettled, tolerance)
        unsettled = np.flatnonzero(~state.settled)
        n_free = _WIDEST - state.inner.width
        # by half at a time: few rounds where many directions vary alike and no number would be enough
        most = min(max(_START, state.inner.width // 2), n_free)
        if not len(unsettled) or n_free <= 0 or not state.grow(_common(residual_pcd, most=most)):
            break
    return state.result()


def _first_directions(groups: Groups, rng: np.random.Generator) -> np.ndarray:
    """Return directions (d × m) to start from.

    The means, and what two products with the covariance make of random directions.
    """
    sample = rng.standard_normal((groups.width, _START), dtype=np.float32)
    once = _orthonormal(_times_covariance(groups, sample))
    twice = _times_covariance(groups, once)
    return np.concatenate([groups.mean_gd.T, once, twice], axis=1)


def _times_covariance(groups: Groups, x_dm: np.ndarray) -> np.ndarray:
    return np.sum([z.T @ (z @ x_dm) for z in groups.z_nd], axis=0, dtype=np.float32)


def _orthonormal(x_dm: np.ndarray, against: np.ndarray | None = None) -> np.ndarray:
    """Return an orthonormal basis (float32) of what columns add to an orthonormal basis.

    Nothing if they add nothing.
    """
    length = np.linalg.norm(x_dm, axis=0)
    rest = np.divide(x_dm, length, where=length > 0, out=np.zeros_like(x_dm))
    for _ in range(2):  # twice is enough (Kahan)
        if against is not None:
            rest = rest - against @ (against.T @ rest)
        # eigenvectors of the products of columns: directions that are rounding only can be told and left out
        value, vector = np.linalg.eigh(rest.T @ rest)
        keep = value > 1e-5 * max(value[-1], 1e-3)
        rest = rest @ (vector[:, keep] / np.sqrt(value[keep]))
        if not keep.any():
            break
    return rest.astype(np.float32)


def _common(residual_pcd: np.ndarray, *, most: int) -> np.ndarray:
    """Return the directions (d × up to `most`) that say most of the residuals."""
    r_qd = residual_pcd.reshape(-1, residual_pcd.shape[-1])
    value, vector = np.linalg.eigh(r_qd @ r_qd.T)
    return r_qd.T @ vector[:, ::-1][:, : min(most, int((value > 0).sum()))]


class _Subspace:
    """The shared subspace, the groups in it, and the state of each pair."""

    def __init__(self, groups: Groups, pairs: np.ndarray, n_components: int) -> None:
        self.groups = groups
        self.pairs = np.asarray(pairs)
        self.c = n_components
        self.w_dm: np.ndarray | None = np.empty((groups.width, 0), np.float32)
        self.inner = Groups([z[:, :0] for z in groups.z_nd], groups.mean_gd[:, :0])
        self.gram_gmm = np.empty((len(groups.z_nd), 0, 0), np.float32)
        self.u: list[np.ndarray] = [np.empty((0, n_components), np.float32)] * len(pairs)
        self.value = np.zeros((len(pairs), n_components + 1))
        self.settled = np.zeros(len(pairs), bool)
        # weight of the outer product of the difference of means in the scatter of a pair
        n_a, n_b = groups.counts[self.pairs].T
        self.weight = n_a * n_b / (n_a + n_b)
        squares = np.array([np.einsum("nd,nd->", z, z, dtype=np.float64) for z in groups.z_nd])
        apart = self._apart(groups.mean_gd)
        self.total = squares[self.pairs].sum(axis=1) + self.weight * np.einsum(
            "pd,pd->p", apart, apart, dtype=np.float64
        )

    def _apart(self, mean_gd: np.ndarray) -> np.ndarray:
        return mean_gd[self.pairs[:, 0]] - mean_gd[self.pairs[:, 1]]

    def take_all(self) -> None:
        """Take all features as the subspace."""
        self.w_dm = None
        self.inner = self.groups
        self.gram_gmm = np.stack([z.T @ z for z in self.groups.z_nd])

    def grow(self, x_dm: np.ndarray) -> bool:
        """Add directions to the subspace; False if it holds them already."""
        new_dk = _orthonormal(x_dm, self.w_dm)
        if not new_dk.shape[1]:
            return False
        added = self.groups.projected(new_dk)
        self.w_dm = np.concatenate([self.w_dm, new_dk], axis=1)
        gram = []
        for y, extra, old in zip(self.inner.z_nd, added.z_nd, self.gram_gmm, strict=True):
            mixed = y.T @ extra
            gram.append(np.block([[old, mixed], [mixed.T, extra.T @ extra]]))
        self.gram_gmm = np.stack(gram)
        joined = [np.concatenate(both, axis=1) for both in zip(self.inner.z_nd, added.z_nd, strict=True)]
        self.inner = Groups(joined, np.concatenate([self.inner.mean_gd, added.mean_gd], axis=1))
        return True

    def solve(self, numbers: np.ndarray) -> None:
        """Find the components of some pairs within the subspace."""
        apart = self._apart(self.inner.mean_gd)
        for p in numbers:
            a, b = self.pairs[p]
            scatter = self.gram_gmm[a] + self.gram_gmm[b] + np.float32(self.weight[p]) * np.outer(apart[p], apart[p])
            self.value[p], self.u[p] = _leading(scatter, self.c, start=self.u[p])

    def check(self, numbers: np.ndarray, tolerance: float) -> np.ndarray:
        """Settle the pairs that are exact enough.

        Return what the others lack (p × c × d), weighted by how much they lack.
        """
        v_pcd = np.stack([(self.w_dm[:, : len(self.u[p])] @ self.u[p]).T for p in numbers])

        # covariance · v − λ v, group by group: what it lacks of being an eigenvector on all features
        out_pcd = np.zeros_like(v_pcd)
        for z, y, positions in self._members(numbers):
            u_mq = np.concatenate([self.u[numbers[i]] for i in positions], axis=1)
            out_pcd[positions] += ((y @ u_mq).T @ z).reshape(len(positions), self.c, -1)
        apart = self._apart(self.groups.mean_gd)[numbers]
        along = np.einsum("pcd,pd->pc", v_pcd, apart) * self.weight[numbers, None].astype(np.float32)
        out_pcd += along[..., None] * apart[:, None]
        out_pcd -= v_pcd * self.value[numbers, : self.c, None].astype(np.float32)

        # an angle of the plane is a residual over the gap to the next eigenvalue
        lacking = np.linalg.norm(out_pcd.astype(np.float64), axis=(1, 2))
        first = self.value[numbers, 0]
        last = self.value[numbers, self.c - 1]
        following = self.value[numbers, self.c]
        allowed = tolerance * np.maximum(last - following, _NEAR * last) + _FLOOR * first
        self.settled[numbers] = lacking <= allowed
        unsettled = ~self.settled[numbers]
        weight = np.where(allowed > 0, allowed, 1.0)[unsettled].astype(np.float32)
        return out_pcd[unsettled] / weight[:, None, None]

    def _members(self, numbers: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield rows, rows in the subspace and positions in `numbers` of its pairs, for each group that has any."""
        for g, (z, y) in enumerate(zip(self.groups.z_nd, self.inner.z_nd, strict=True)):
            positions = np.flatnonzero((self.pairs[numbers] == g).any(axis=1))
            if len(positions):
                yield z, y, positions

    def result(self) -> PairComponents:
        """Return what was found."""
        u_pmc = np.zeros((len(self.pairs), self.inner.width, self.c), np.float32)
        for p, u in enumerate(self.u):
            u_pmc[p, : len(u)] = u  # a pair that settled early lives in the first dimensions
        variances = np.maximum(self.value[:, : self.c], 0)
        total = self.total[:, None]
        share = np.divide(variances, total, where=total > 0, out=np.full_like(variances, np.nan))
        variance = variances / (self.groups.counts[self.pairs].sum(axis=1) - 1)[:, None]
        settled = self.settled | (self.w_dm is None)
        return PairComponents(self.pairs, self.inner, self.w_dm, u_pmc, variance, share, settled)


def _leading(scatter: np.ndarray, c: int, *, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the c + 1 largest eigenvalues, in falling order, and the vectors of the first c."""
    from scipy.linalg import eigh
    from scipy.sparse.linalg import ArpackError, eigsh

    m = len(scatter)
    if not scatter.any():
        return np.zeros(c + 1), np.eye(m, c, dtype=np.float32)
    if m > max(_DENSE, 4 * c):
        guess = np.full(m, 1e-3, np.float32)  # never quite orthogonal to what is sought
        guess[: len(start)] += start.sum(axis=1)
        try:
            value, vector = eigsh(scatter, k=c + 1, v0=guess, tol=1e-5)
            order = np.argsort(value)[::-1]
            return value[order].astype(np.float64), vector[:, order[:c]]
        except ArpackError:  # many equal eigenvalues
            pass
    value, vector = eigh(scatter, subset_by_index=[max(m - c - 1, 0), m - 1], check_finite=False)
    value = value[::-1]
    vector = vector[:, ::-1][:, :c]
    # a subspace narrower than c + 1: what is missing has no variance
    return np.pad(value, (0, max(c + 1 - m, 0))).astype(np.float64), np.pad(vector, ((0, 0), (0, max(c - m, 0))))
