"""Many small logistic regressions on draws from one set of units, solved together.

A model fitted to n units with d ≫ n features lies in their span, W = A X (representer theorem): it needs the inner
products of the units and nothing else. Scores of the drawn units are A G, scores of all others A (X Xᵀ), so that one
product of features serves every draw.

Shapes: r problems, k classes, n training units, m units, d features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kronos_sc._core.arrays import writable
from kronos_sc._methods.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

_MEMORY = 12  # corrections that L-BFGS remembers
_MOST = 300  # iterations
_TRIALS = 30  # of a length, along one line
# iterations at which the preconditioner is made anew: curvature falls a hundredfold in the first steps
_REFRESH = (0, 1, 4)
_GROUP = 32  # problems solved together: their inner products stay in the cache
_KEPT = 2**29  # bytes of inner products between all units worth keeping


def draw(codes: np.ndarray, n_per_class: int, repeats: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `n_per_class` units of every class without replacement, `repeats` times.

    `codes` (m, int) are classes 0 … k − 1, or −1 for units that are never drawn. Returns row numbers (r × n_per_class ×
    k, int64): the first s of the second axis are a draw of s units per class, so that draws of all sizes are nested.
    """
    by_class = [np.flatnonzero(codes == c) for c in range(int(codes.max()) + 1)]
    return np.stack(
        [np.stack([rng.choice(rows, n_per_class, replace=False) for rows in by_class], axis=1) for _ in range(repeats)]
    )


def benchmark(
    x: np.ndarray, codes: np.ndarray, *, shots: Sequence[int], repeats: int, C: float = 1.0, rng: np.random.Generator
) -> np.ndarray:
    """Return balanced accuracy (repeats × shots, float64) of models trained on a few units per class.

    They are tested on all other units. `x` (m × d, float32) holds the units of one image, standardised; `codes` (m)
    their classes 0 … k − 1, −1 for units that are neither drawn nor tested. Each repeat draws the largest number of
    shots per class; smaller ones are its subsets, and units of the draw are never tested, so that every number of shots
    meets the same test units.
    """
    n_classes = int(codes.max()) + 1
    n_most = max(shots)
    rows_drawn = draw(codes, n_most, repeats, rng).reshape(repeats, n_most * n_classes)
    # all inner products once, or weights of features for every model: whichever takes fewer multiplications
    whole = len(x) <= 2 * repeats * len(shots) * n_classes and 4 * len(x) ** 2 <= _KEPT
    units = _Whole(x) if whole else _Parts(x)
    member = (codes[:, None] == np.arange(n_classes)).astype(np.float32)
    tested = member.sum(axis=0) - n_most
    accuracy = np.empty((repeats, len(shots)))
    # small matrices by the hundred: waking threads for each takes longer than the work; large products keep theirs
    with one_thread():
        for start in range(0, repeats, _GROUP):
            part = rows_drawn[start : start + _GROUP]
            gram = np.stack([units.gram(rows) for rows in part])
            alpha = np.zeros((len(part), len(shots), n_classes, n_most * n_classes), np.float32)
            intercept = np.empty((len(part), len(shots), n_classes), np.float32)
            for i, shot in enumerate(shots):
                n = shot * n_classes
                fits = solve(gram[:, :n, :n], codes[part[:, :n]], n_classes=n_classes, C=C)
                alpha[:, i, :, :n] = fits.alpha
                intercept[:, i] = fits.intercept

            # every model of a draw at once: one product of features gives the scores of all of them
            for r, rows in enumerate(part):
                scores = units.scores(alpha[r].reshape(-1, len(rows)), rows).reshape(len(shots), n_classes, -1)
                scores += intercept[r][:, :, None]
                correct = scores.argmax(axis=1) == codes
                correct[:, rows] = False
                accuracy[start + r] = (correct.astype(np.float32) @ member / tested).mean(axis=1)
    return accuracy


class _Whole:
    """Inner products of all units with all, computed once."""

    def __init__(self, x: np.ndarray) -> None:
        self.products = x @ x.T

    def gram(self, rows: np.ndarray) -> np.ndarray:
        return self.products[np.ix_(rows, rows)]

    def scores(self, alpha: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return alpha @ self.products[rows]


class _Parts:
    """Inner products as they are asked for; scores by way of the features."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def gram(self, rows: np.ndarray) -> np.ndarray:
        part = self.x[rows]
        return part @ part.T

    def scores(self, alpha: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return (alpha @ self.x[rows]) @ self.x.T


@dataclass(frozen=True)
class Fits:
    """Solutions of r problems.

    Parameters
    ----------
    alpha
        Weights of the training units (r × k × n, float32); those of the features are `alpha @ x`.
    intercept
        r × k, float32.
    """

    alpha: np.ndarray
    intercept: np.ndarray


def solve(gram: np.ndarray, y: np.ndarray, *, n_classes: int, C: float = 1.0, tolerance: float = 3e-4) -> Fits:
    """Minimise C · Σ cross-entropy + ½ ‖W‖² for r problems, the intercept free: the objective of scikit-learn.

    `gram` (r × n × n) holds inner products of the training units, `y` (r × n) their classes. Two classes are one
    logistic function, as in scikit-learn. A problem is solved once the gradient, measured by the curvature, is below
    `tolerance` times the larger of 1 and ‖W‖.
    """
    # softmax splits the weights of a logistic function between two classes, which halves its penalty
    strength = C if n_classes > 2 else C / 2
    alpha = []
    intercept = []
    for start in range(0, len(gram), _GROUP):
        problem = _Problem(gram[start : start + _GROUP], y[start : start + _GROUP], n_classes, strength)
        point = _lbfgs(problem, tolerance)
        alpha.append(problem.alpha(point).numpy())
        intercept.append(point[..., -1].numpy())
    return Fits(np.concatenate(alpha), np.concatenate(intercept))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return inner products by problem (r × 1 × 1)."""
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1))[:, None, None]


class _Problem:
    """Loss of r problems in the span of their training units, turned to its principal axes.

    With G = Q Λ Qᵀ, rows of Z = Q √Λ are the units in that span: inner products, hence penalty and scores, stay the
    same. Weights there belong to W = A X with A = weights · Λ^-½ Qᵀ.
    """

    def __init__(self, gram: np.ndarray, y: np.ndarray, n_classes: int, strength: float) -> None:
        values, axes = torch.linalg.eigh(torch.from_numpy(writable(gram, np.float32)))
        # axes that rounding alone has made
        values = torch.where(values > 1e-6 * values[:, -1:], values, 0)
        self.values = values[:, None, :]
        self.axes = axes
        self.strength = strength
        self.z = axes * values.sqrt()[:, None, :]
        labels = torch.from_numpy(writable(y, np.int64))
        self.onehot = torch.nn.functional.one_hot(labels, n_classes).to(torch.float32).transpose(1, 2).contiguous()

    def scores(self, point: Tensor) -> Tensor:
        """Return the scores (r × k × n) of a point (r × k × n + 1): weights along the axes, and the intercept."""
        return point[..., :-1] @ self.z.transpose(1, 2) + point[..., -1:]

    def slope(self, scores: Tensor) -> Tensor:
        """Return the derivative of C · Σ cross-entropy by the scores (r × k × n)."""
        return torch.softmax(scores, dim=1).sub_(self.onehot).mul_(self.strength)

    def gradient(self, point: Tensor, slope: Tensor) -> Tensor:
        """Return the derivative by the point; the intercept has no penalty."""
        return torch.cat([point[..., :-1] + slope @ self.z, slope.sum(dim=-1, keepdim=True)], dim=-1)

    def alpha(self, point: Tensor) -> Tensor:
        """Return the weights of the training units (r × k × n)."""
        return (point[..., :-1] * torch.where(self.values > 0, self.values.rsqrt(), 0)) @ self.axes.transpose(1, 2)


class _Preconditioner:
    """Inverse of the Hessian that has one curvature s for all scores, the mean at a slope; the same for all classes.

    It is (1 + s Λ, s u; s uᵀ, s n) with u = Zᵀ 1, diagonal but for the intercept.
    """

    def __init__(self, f: _Problem, slope: Tensor) -> None:
        p = slope / f.strength + f.onehot
        s = (f.strength / 2 * (p * (1 - p)).sum(dim=1).mean(dim=-1)).clamp(min=1e-8)[:, None, None]
        self.inverse = 1 / (1 + s * f.values)
        # of the vector of ones along each axis; s n − s² uᵀ (1 + s Λ)⁻¹ u without cancellation
        share = f.axes.sum(dim=1, keepdim=True)
        self.rest = s * (share * share * self.inverse).sum(dim=-1, keepdim=True)
        self.u = s * share * f.values.sqrt() * self.inverse

    def apply(self, gradient: Tensor) -> Tensor:
        g = gradient[..., :-1]
        h = gradient[..., -1:]
        b = (h - (self.u * g).sum(dim=-1, keepdim=True)) / self.rest
        return torch.cat([self.inverse * g - b * self.u, b], dim=-1)


def _lbfgs(f: _Problem, tolerance: float) -> Tensor:
    """Return the minima (r × k × n + 1) by L-BFGS, preconditioned: features of one tissue are far from independent."""
    r, k, n = f.onehot.shape
    point = torch.zeros((r, k, n + 1))
    scores = torch.zeros((r, k, n))
    slope = f.slope(scores)
    gradient = f.gradient(point, slope)
    history: list[tuple[Tensor, Tensor, Tensor]] = []
    for iteration in range(_MOST):
        if iteration in _REFRESH:
            inverse = _Preconditioner(f, slope)
        size = _dot(point[..., :-1], point[..., :-1])
        unsolved = _dot(gradient, inverse.apply(gradient)) > tolerance**2 * size.clamp(min=1)
        if not unsolved.any():
            break

        # problems that are solved stand still while the others go on
        step = torch.where(unsolved, -_two_loop(history, gradient, inverse), 0)
        along = f.scores(step)
        length, slope = _line(f, point, scores, step, along)
        step = length * step
        point = point + step
        scores = scores + length * along
        last = gradient
        gradient = f.gradient(point, slope)
        change = gradient - last
        curvature = _dot(step, change)
        history = [*history, (step, change, torch.where(curvature > 0, 1 / curvature, 0))][-_MEMORY:]
    return point


def _two_loop(history: list[tuple[Tensor, Tensor, Tensor]], gradient: Tensor, inverse: _Preconditioner) -> Tensor:
    """Return the inverse Hessian, as remembered, times the gradient (Nocedal & Wright, algorithm 7.4)."""
    q = gradient.clone()
    shares = []
    for step, change, rho in reversed(history):
        share = rho * _dot(step, q)
        q -= share * change
        shares.append(share)
    q = inverse.apply(q)
    for (step, change, rho), share in zip(history, reversed(shares), strict=True):
        q += (share - rho * _dot(change, q)) * step
    return q


def _line(f: _Problem, point: Tensor, scores: Tensor, step: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
    """Return the length of the step (r × 1 × 1) and the slope at its end.

    Scores are linear along a line and the loss is convex: the best length is the root of an increasing function,
    bracketed and cut until half of the derivative is gone. That takes no product of matrices.
    """
    inner = _dot(point[..., :-1], step[..., :-1])
    outer = _dot(step[..., :-1], step[..., :-1])

    def derivative(slope: Tensor, length: Tensor) -> Tensor:
        return _dot(slope, along) + inner + length * outer

    low = torch.zeros_like(inner)
    high = torch.full_like(inner, torch.inf)
    at_low = at_high = start = derivative(f.slope(scores), low)
    length = torch.ones_like(inner)
    for _ in range(_TRIALS):
        slope = f.slope(scores + length * along)
        value = derivative(slope, length)
        good = value.abs() <= 0.5 * start.abs()
        if good.all():
            break
        below = value < 0
        low = torch.where(below, length, low)
        at_low = torch.where(below, value, at_low)
        high = torch.where(below, high, length)
        at_high = torch.where(below, at_high, value)

        # the secant, kept away from both ends, because it may creep along one of them
        secant = low - at_low * (high - low) / (at_high - at_low)
        cut = torch.minimum(torch.maximum(secant, low + 0.1 * (high - low)), high - 0.1 * (high - low))
        length = torch.where(good, length, torch.where(torch.isinf(high), 4 * length, cut))
    return length, slope
