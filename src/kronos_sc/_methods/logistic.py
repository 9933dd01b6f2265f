"""Multinomial logistic regression with an L2 penalty, for many features and many values of C.

Minimises scikit-learn's objective, C · Σ wᵢ · CEᵢ + ½‖W‖² with a free intercept (that of two classes, too), divided by
C · Σ wᵢ. Three things make it fast where the same data are fitted again and again: an iteration touches the data twice
and no more (scores along the search direction are kept, so the line search costs nothing), L-BFGS starts from a
low-rank picture of the curvature that is made once for all values of C, and a fit can start from its neighbour's
solution. With fewer units than features the problem moves to the space that the units span, where it is exactly the
same and smaller.

Shapes: n units, d features, k classes, r rank of the preconditioner.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from kronos_sc._core.arrays import writable

if TYPE_CHECKING:
    from collections.abc import Callable

_RANK = 512  # of the preconditioner
_MEMORY = 12  # pairs of L-BFGS
# smallest curvature that the preconditioner believes in, a share of the largest: below, rounding is blown up to steps
_FLOOR = 1e-4
_THIN = 0.75  # below this share of units per feature, the problem moves to the span of the units
_SMALL = 1e-2  # mean cross-entropy below which only absolute accuracy matters: every unit is on its side
_REFRESH = 25  # iterations after which scores are computed anew, so that rounding does not add up


@dataclass(frozen=True)
class Linear:
    """A fitted classifier.

    Parameters
    ----------
    coef
        Weights (k × d, float32).
    intercept
        One per class (k, float32).
    objective
        Value reached, divided by C · Σ wᵢ.
    iterations
        Steps taken.
    """

    coef: np.ndarray
    intercept: np.ndarray
    objective: float
    iterations: int

    def decision(self, x: np.ndarray) -> np.ndarray:
        """Return scores (n × k, float32) of standardised rows."""
        return x @ self.coef.T + self.intercept

    def proba(self, x: np.ndarray) -> np.ndarray:
        """Return probabilities (n × k, float64) of standardised rows."""
        return softmax(self.decision(x))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return probabilities (n × k, float64) from scores; in float32 all that is nearly certain would be tied."""
    out = np.exp(np.subtract(scores, scores.max(axis=1, keepdims=True), dtype=np.float64))
    out /= out.sum(axis=1, keepdims=True)
    return out


def balanced_weight(y: np.ndarray, n_classes: int) -> np.ndarray:
    """Return weights (n, float64) that give every class the same total.

    They are n / (k · nₖ), as those of scikit-learn's `class_weight="balanced"`.
    """
    counts = np.bincount(y, minlength=n_classes)
    return (len(y) / ((counts > 0).sum() * np.maximum(counts, 1)))[y]


@dataclass
class _State:
    """A point of the minimisation: weights (d × k), intercept (k), scores (n × k), value."""

    w: torch.Tensor
    b: torch.Tensor
    z: torch.Tensor
    value: float


class Problem:
    """One training set, to be fitted for any number of values of C.

    Parameters
    ----------
    x
        Standardised features (n × d, float32). Not copied on the CPU.
    y
        Classes (n, int, 0 to k − 1).
    n_classes
        Number of classes k.
    weight
        Weight of each unit (n); 1 if left out.
    device
        Where to compute.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        n_classes: int,
        *,
        weight: np.ndarray | None = None,
        device: str | torch.device = "cpu",
    ):
        data = torch.from_numpy(writable(x, np.float32)).to(device)
        self._span: torch.Tensor | None = None
        if len(data) < _THIN * data.shape[1]:
            # rows = zᵀ Qᵀ with orthonormal Q (d × n): any weights that matter are Q v, and ‖Q v‖ = ‖v‖
            self._span, triangle = torch.linalg.qr(data.T)
            data = triangle.T.contiguous()
        self._x = data
        self._k = n_classes
        self._y = torch.from_numpy(writable(y, np.int64)).to(device)
        share = np.ones(len(y)) if weight is None else np.asarray(weight, np.float64)
        self._total = float(share.sum())
        self._share = torch.from_numpy(writable(share / self._total, np.float32)).to(device)
        self._truth = torch.zeros(len(y), n_classes, device=device)
        self._truth[torch.arange(len(y), device=device), self._y] = 1
        prior = np.bincount(y, weights=share / self._total)
        # cross-entropy of the best constant prediction
        self._null = float(-(prior[prior > 0] * np.log(prior[prior > 0])).sum())

    @property
    def size(self) -> int:
        """Numbers that an iteration reads twice."""
        return self._x.numel()

    def fit(self, C: float, *, start: Linear | None = None, tol: float = 1e-6, max_iter: int = 500) -> Linear:
        """Return the minimum for one C (a smaller C is a stronger penalty).

        `start` is the solution for another C. The fit ends when a step promises less than `tol` of the objective, or
        after `max_iter` steps.
        """
        # with two classes scikit-learn counts one vector of weights, the difference of ours: ½‖w₁ − w₀‖² = ‖w₁‖² +
        # ‖w₀‖²
        penalty = (2.0 if self._k == 2 else 1.0) / (C * self._total)
        state = self._start(start, penalty)
        pairs: deque[tuple[torch.Tensor, torch.Tensor, float]] = deque(maxlen=_MEMORY)
        gradient, spread = self._gradient(state, penalty)
        iteration = 0
        damping = 0.0
        mark = np.inf
        for iteration in range(1, max_iter + 1):
            apply = self._preconditioner(penalty, spread, damping)
            step = _two_loops(gradient, pairs, apply)
            slope = _dot(gradient, step)
            if slope >= 0:  # rounding has spoiled the memory
                pairs.clear()
                step = -apply(gradient)
                slope = _dot(gradient, step)
            # under a strong penalty the loss hardly falls, yet that little decides the class: accuracy is relative to
            # what was gained
            if -slope <= tol * min(max(state.value, _SMALL), self._null - state.value):
                break
            along = self._scores(step)
            length, value = self._search(state, step, along, penalty, slope)
            if length == 0:
                # the picture of the curvature misleads: forget it, then distrust it, then accept that float32 ends here
                if not pairs:
                    if damping > 1:
                        break
                    damping = 100 * damping + 0.01
                pairs.clear()
                continue
            state = _State(
                state.w + length * step[:-1], state.b + length * step[-1], state.z.add_(along, alpha=length), value
            )
            if iteration % _REFRESH == 0:
                if mark - state.value <= tol * max(state.value, _SMALL):  # rounding hides what is left to gain
                    break
                mark = state.value
                state.z = self._scores(torch.cat([state.w, state.b[None]]))
            before = gradient
            gradient, spread = self._gradient(state, penalty)
            moved = step * length
            turned = gradient - before
            curvature = _dot(moved, turned)
            if curvature > 1e-12 * _dot(turned, turned):
                pairs.append((moved, turned, curvature))
        return self._finish(state, iteration)

    def _start(self, start: Linear | None, penalty: float) -> _State:
        d = self._x.shape[1]
        device = self._x.device
        if start is None:
            w = torch.zeros(d, self._k, device=device)
            b = torch.zeros(self._k, device=device)
        else:
            w = torch.from_numpy(writable(start.coef.T)).to(device)
            w = w if self._span is None else self._span.T @ w
            b = torch.from_numpy(writable(start.intercept.copy())).to(device)
        z = self._scores(torch.cat([w, b[None]]))
        return _State(w, b, z, self._value(z, w, penalty))

    def _finish(self, state: _State, iterations: int) -> Linear:
        w = state.w if self._span is None else self._span @ state.w
        b = state.b - state.b.mean()  # a constant added to all classes changes nothing
        return Linear(w.T.contiguous().cpu().numpy(), b.cpu().numpy(), state.value, iterations)

    def _scores(self, wb: torch.Tensor) -> torch.Tensor:
        """Return scores (n × k) of weights and intercept stacked as (d + 1) × k."""
        return torch.addmm(wb[-1], self._x, wb[:-1])

    def _value(self, z: torch.Tensor, w: torch.Tensor, penalty: float) -> float:
        loss = torch.logsumexp(z, 1) - z.gather(1, self._y[:, None])[:, 0]
        return float(torch.dot(loss.double(), self._share.double())) + 0.5 * penalty * _dot(w, w)

    def _gradient(self, state: _State, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradient ((d + 1) × k) and, per class, the mean variance p (1 − p) of its probabilities.

        That variance scales the curvature.
        """
        p = torch.softmax(state.z, 1)
        spread = (p * (1 - p) * self._share[:, None]).sum(0)
        residual = p.sub_(self._truth).mul_(self._share[:, None])
        by_weights = torch.addmm(state.w, self._x.T, residual, beta=penalty)
        return torch.cat([by_weights, residual.sum(0)[None]]), spread

    def _search(
        self, state: _State, step: torch.Tensor, along: torch.Tensor, penalty: float, slope: float
    ) -> tuple[float, float]:
        """Return a step length and the value there.

        Newton's method in one dimension, on scores that are already known, then Armijo.
        """
        ww = _dot(state.w, state.w)
        wd = _dot(state.w, step[:-1])
        dd = _dot(step[:-1], step[:-1])
        length = 1.0
        for _ in range(4):
            p = torch.softmax(torch.add(state.z, along, alpha=length), 1)
            mean = (p * along).sum(1)
            first = float(torch.dot(mean - along.gather(1, self._y[:, None])[:, 0], self._share)) + penalty * (
                wd + length * dd
            )
            second = float(torch.dot((p * along * along).sum(1) - mean * mean, self._share)) + penalty * dd
            if second <= 0 or abs(first) <= 0.1 * abs(slope):
                break
            length = min(max(length - first / second, 0.1 * length), 10 * length)
        for _ in range(25):
            z = torch.add(state.z, along, alpha=length)
            loss = torch.logsumexp(z, 1) - z.gather(1, self._y[:, None])[:, 0]
            value = float(torch.dot(loss.double(), self._share.double())) + 0.5 * penalty * (
                ww + 2 * length * wd + length**2 * dd
            )
            if value <= state.value + 1e-4 * length * slope:
                return length, value
            length *= 0.3
        return 0.0, state.value

    @cached_property
    def _curvature(self) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Return leading eigenvectors (d × r) and eigenvalues (r) of Xᵀ diag(share) X, and the mean of the rest.

        By randomised subspace iteration.
        """
        x = self._x
        root = self._share.sqrt()[:, None]
        d = x.shape[1]
        rank = min(_RANK, *x.shape)
        rng = torch.Generator(device=x.device).manual_seed(0)
        basis = torch.randn(d, rank, generator=rng, device=x.device)
        for _ in range(2):
            basis = torch.linalg.qr(x.T @ ((x @ basis) * root**2))[0]
        _, values, rotation = torch.linalg.svd((x @ basis) * root, full_matrices=False)
        eigen = values.square()
        total = float(torch.dot(torch.linalg.vector_norm(x, dim=1).square(), self._share))
        rest = max(total - float(eigen.sum()), 0.0) / max(d - rank, 1)
        floor = _FLOOR * float(eigen.max())
        return basis @ rotation.T, eigen.clamp(min=floor), max(rest, floor)

    def _preconditioner(
        self, penalty: float, spread: torch.Tensor, damping: float
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what applies the inverse of (spread · XᵀDX + penalty) per class, and of spread to the intercept.

        `damping` adds that share of the largest curvature to all of it: shorter steps, closer to plain descent.
        """
        vectors, eigen, rest = self._curvature
        spread = spread.clamp(min=1e-6)
        penalty = penalty + damping * float(spread.max() * eigen.max())
        outside = 1 / (spread * rest + penalty)  # k
        inside = 1 / (spread * eigen[:, None] + penalty) - outside  # r × k

        def apply(g: torch.Tensor) -> torch.Tensor:
            w = g[:-1]
            return torch.cat([torch.addmm(w * outside, vectors, (vectors.T @ w) * inside), (g[-1] / spread)[None]])

        return apply


def _dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.dot(a.reshape(-1), b.reshape(-1)))


def _two_loops(gradient: torch.Tensor, pairs: deque, apply: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Return the direction of L-BFGS (Nocedal & Wright, algorithm 7.4).

    `apply` is the first guess of the inverse curvature.
    """
    q = gradient.clone()
    alphas = []
    for moved, turned, curvature in reversed(pairs):
        alpha = _dot(moved, q) / curvature
        q.sub_(turned, alpha=alpha)
        alphas.append(alpha)
    q = apply(q)
    if pairs:
        # one number fits the guess to the curvature that was met last
        _, turned, curvature = pairs[-1]
        q *= min(max(curvature / _dot(turned, apply(turned)), 0.1), 10.0)
    for (moved, turned, curvature), alpha in zip(pairs, reversed(alphas), strict=True):
        q.add_(moved, alpha=alpha - _dot(turned, q) / curvature)
    return q.neg_()
