"""Principal components of rows that are read block by block, several times over.

Nothing of the size of the rows is held, nor, for wide rows, the covariance of all features: its products with a few
dozen directions are summed over one pass, and what these products span is the next set of directions (block Krylov,
Musco & Musco 2015). All sets together are one subspace, in which the components are a small eigenproblem; passes go on
until the components are exact enough.

Shapes: n rows of a block, d features, b directions of a pass, m of the subspace, k components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._methods.scaling import Scaler, scaler_of_squares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Blocks = Callable[[], Iterable[np.ndarray]]

TOLERANCE = 1e-2  # of the residual of a component, relative to its variance
_DIRECT = 1024  # up to so many features, the covariance is summed as a whole
_SPARE = 14  # directions beyond the components: the last ones settle sooner
_FLOOR = 1e-6  # float32 tells no smaller residual from rounding, relative to the largest variance
_MOST_PASSES = 10


@dataclass(frozen=True)
class Components:
    """Principal components, as fitted.

    Parameters
    ----------
    scaler
        Mean and scale of the features; scale 1 where they were not standardised.
    vectors
        Principal directions (d × k, float32), orthonormal, the largest entry of each positive.
    variance
        Along each of them (k, float64; divided by n − 1).
    share
        The same as a share of the total; NaN where nothing varies.
    settled
        Whether all are exact within the tolerance.
    passes
        How often the rows were read.
    """

    scaler: Scaler
    vectors: np.ndarray
    variance: np.ndarray
    share: np.ndarray
    settled: bool
    passes: int

    def apply(self, x_nd: np.ndarray) -> np.ndarray:
        """Return coordinates of rows (n × k, float32)."""
        return self.scaler.apply(x_nd) @ self.vectors


def principal(
    blocks: Blocks,
    width: int,
    n_components: int,
    *,
    scale: bool,
    rng: np.random.Generator,
    tolerance: float = TOLERANCE,
) -> Components:
    """Return the leading principal components (centred; standardised if `scale`) of all rows.

    Parameters
    ----------
    blocks
        Reads all rows once per call, in blocks (n × d, float32), always the same ones.
    width
        Number of features.
    n_components
        At most the number of features and of rows − 1.
    rng
        Of the directions to start from, where there are more than 1,024 features.
    tolerance
        Largest residual ‖C v − λ v‖ / λ of a component v with variance λ.
    """
    if width <= _DIRECT:
        return _direct(blocks, width, n_components, scale=scale)
    n_directions = min(n_components + max(_SPARE, n_components // 4), width)
    first = rng.standard_normal((width, n_directions), dtype=np.float32)
    sums = _first_pass(blocks, first)
    scaler = sums.scaler(scale=scale)
    inverse = 1 / scaler.scale[:, None].astype(np.float64)
    basis = np.empty((width, 0))
    image = np.empty((width, 0))
    # as many directions as asked for, even where the rows have fewer
    new = np.linalg.qr(inverse * sums.product(first))[0]
    passes = 1
    settled = False
    while not settled and passes < _MOST_PASSES:
        product = inverse * _product(blocks, scaler.mean, (inverse * new).astype(np.float32)) / (sums.count - 1)
        basis = np.hstack([basis, new])
        image = np.hstack([image, product])
        passes = passes + 1

        # components within all directions so far; what the last product adds are the next
        variance, vectors, residual = _ritz(basis, image, n_components)
        new = _orthonormal(product, basis)
        exact = residual <= np.maximum(tolerance * variance, _FLOOR * variance[0])
        settled = not new.shape[1] or bool(exact.all())
    return _components(scaler, vectors, variance, sums.total(scaler, scale=scale), settled=settled, passes=passes)


@dataclass
class _Sums:
    """Sums over rows around a shift that lies near their mean (d, float64).

    `products` (d × b) are those with what was asked for.
    """

    count: int
    shift: np.ndarray
    deviation: np.ndarray
    squares: np.ndarray
    products: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Of the deviations."""
        return self.deviation / self.count

    def product(self, x_db: np.ndarray) -> np.ndarray:
        """Return the covariance times the directions that the products were summed for."""
        return (self.products - np.outer(self.deviation, self.mean @ x_db)) / (self.count - 1)

    @property
    def scatter(self) -> np.ndarray:
        """Squared deviations from the mean, summed (d)."""
        return np.maximum(self.squares - self.count * self.mean**2, 0)

    def scaler(self, *, scale: bool) -> Scaler:
        """Return mean and standard deviation, or mean and 1."""
        fitted = scaler_of_squares(self.shift + self.mean, self.scatter, self.count)
        return fitted if scale else Scaler(fitted.mean, np.ones_like(fitted.scale))

    def total(self, scaler: Scaler, *, scale: bool) -> float:
        """Return the variance of all features together, as scaled."""
        spread = self.scatter / scaler.scale.astype(np.float64) ** 2 if scale else self.scatter
        return float(spread.sum() / (self.count - 1))


def _first_pass(blocks: Blocks, x_db: np.ndarray | None) -> _Sums:
    """Return sums over all rows; products with `x_db`, or with all features if there is none."""
    sums = None
    for block in blocks():
        if sums is None:
            shift = block.mean(axis=0, dtype=np.float64).astype(np.float32)
            width = block.shape[1]
            sums = _Sums(0, shift.astype(np.float64), np.zeros(width), np.zeros(width), np.zeros(1))
        z_nd = block - shift
        sums.count += len(z_nd)
        sums.deviation += z_nd.sum(axis=0, dtype=np.float64)
        sums.squares += np.einsum("ij,ij->j", z_nd, z_nd, dtype=np.float64)
        sums.products = sums.products + (z_nd.T @ (z_nd if x_db is None else z_nd @ x_db)).astype(np.float64)
    if sums is None:
        msg = "There are no rows to find components of."
        raise ValueError(msg)
    return sums


def _product(blocks: Blocks, mean: np.ndarray, x_db: np.ndarray) -> np.ndarray:
    """Return the scatter around the mean times `x_db` (d × b, float64)."""
    out = np.zeros(x_db.shape)
    for block in blocks():
        z_nd = block - mean
        out += z_nd.T @ (z_nd @ x_db)
    return out


def _direct(blocks: Blocks, width: int, n_components: int, *, scale: bool) -> Components:
    from scipy.linalg import eigh

    sums = _first_pass(blocks, None)
    scaler = sums.scaler(scale=scale)
    covariance = sums.product(np.eye(width)) / np.outer(scaler.scale, scaler.scale)
    variance, vectors = eigh(covariance, subset_by_index=[width - n_components, width - 1], check_finite=False)
    return _components(
        scaler, vectors[:, ::-1], variance[::-1], sums.total(scaler, scale=scale), settled=True, passes=1
    )


def _ritz(basis: np.ndarray, image: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the `k` largest eigenvalues within a subspace, their vectors (d × k) and their residuals.

    A residual is by how much the covariance moves a vector off its line.
    """
    inner = basis.T @ image
    values, u_mm = np.linalg.eigh((inner + inner.T) / 2)
    values = np.maximum(values[::-1][:k], 0)
    u_mk = u_mm[:, ::-1][:, :k]
    vectors = basis @ u_mk
    return values, vectors, np.linalg.norm(image @ u_mk - vectors * values, axis=0)


def _orthonormal(x_db: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of what `x_db` adds to `basis`.

    Directions that add nothing but rounding are left out.
    """
    for _ in range(2):  # once is not enough in floating point
        x_db = x_db - basis @ (basis.T @ x_db)
    n_free = basis.shape[0] - basis.shape[1]
    directions, size, _ = np.linalg.svd(x_db, full_matrices=False)
    return directions[:, (size > 1e-7 * max(size[0], 1e-300)) & (np.arange(len(size)) < n_free)]


def _components(
    scaler: Scaler, vectors: np.ndarray, variance: np.ndarray, total: float, *, settled: bool, passes: int
) -> Components:
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    vectors = np.ascontiguousarray(np.where(largest < 0, -vectors, vectors), np.float32)
    variance = np.maximum(variance, 0)
    share = np.full(len(variance), np.nan)
    if total > 0:
        share = variance / total
    return Components(scaler, vectors, variance, share, settled, passes)
