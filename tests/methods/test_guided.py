"""Small logistic regressions solved together, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_sc._methods import guided


def _units(
    m: int = 400, d: int = 300, k: int = 4, *, seed: int = 0, apart: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Classes in a correlated space, standardised."""
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=m)
    hidden = apart * rng.normal(size=(k, 12))[y] + rng.normal(size=(m, 12))
    x = np.tanh(hidden @ rng.normal(size=(12, d)) / 3) + 0.3 * rng.normal(size=(m, d))
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32), y


def _sklearn(x: np.ndarray, y: np.ndarray, C: float = 1.0):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, tol=1e-9, max_iter=10_000).fit(x.astype(float), y)


@pytest.mark.parametrize(
    ("d", "k", "shots", "C"),
    [(300, 4, 20, 1.0), (300, 4, 1, 1.0), (12, 4, 20, 1.0), (300, 2, 10, 1.0), (300, 4, 10, 1e-3), (40, 7, 10, 100.0)],
)
def test_scores_and_predictions_of_scikit_learn(d: int, k: int, shots: int, C: float) -> None:
    x, y = _units(d=d, k=k)
    rows = guided.draw(y, shots, 5, np.random.default_rng(1)).reshape(5, -1)
    fits = guided.solve(np.stack([x[r] @ x[r].T for r in rows]), y[rows], n_classes=k, C=C)
    same = []
    for r, alpha, intercept in zip(rows, fits.alpha, fits.intercept, strict=True):
        ours = x @ (alpha @ x[r]).T + intercept
        model = _sklearn(x[r], y[r], C)
        theirs = model.decision_function(x.astype(float)).reshape(len(x), -1)
        compare = ours[:, [1]] - ours[:, [0]] if k == 2 else ours - ours.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(compare, theirs, atol=0.02 * theirs.std())
        same.append(ours.argmax(axis=1) == model.predict(x))
    assert np.mean(same) >= 0.999


def test_the_gradient_vanishes() -> None:
    """At the minimum the weights of a unit are C times what its probabilities lack, and every class has its share."""
    x, y = _units(d=500, k=3)
    rows = guided.draw(y, 15, 2, np.random.default_rng(0)).reshape(2, -1)
    gram = np.stack([x[r] @ x[r].T for r in rows])
    fits = guided.solve(gram, y[rows], n_classes=3, C=0.5, tolerance=1e-5)
    scores = fits.alpha @ gram + fits.intercept[:, :, None]
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    lack = 0.5 * ((y[rows][:, None, :] == np.arange(3)[:, None]) - p)
    np.testing.assert_allclose(fits.alpha, lack, atol=2e-4 * np.abs(lack).max())
    np.testing.assert_allclose(lack.sum(axis=-1), 0, atol=1e-4)


def test_two_units_by_hand() -> None:
    """Units at +1 and −1: w of scikit-learn's binary model solves w = 2 / (1 + exp(w)), which is 0.6856…"""
    fits = guided.solve(np.array([[[1.0, -1.0], [-1.0, 1.0]]]), np.array([[1, 0]]), n_classes=2, tolerance=1e-6)
    w = fits.alpha[0] @ np.array([1.0, -1.0])
    assert w[1] - w[0] == pytest.approx(_root(), abs=1e-3)
    assert fits.intercept[0] == pytest.approx([0, 0], abs=1e-3)


def _root() -> float:
    from scipy.optimize import brentq

    return brentq(lambda w: w - 2 / (1 + np.exp(w)), 0, 2)


def test_hardly_any_penalty() -> None:
    """Separable classes without a penalty have no minimum.

    What comes back is finite and right about the units it was trained on.
    """
    x, y = _units(d=40, k=4)
    rows = guided.draw(y, 10, 3, np.random.default_rng(1)).reshape(3, -1)
    gram = np.stack([x[r] @ x[r].T for r in rows])
    fits = guided.solve(gram, y[rows], n_classes=4, C=1e8)
    assert np.isfinite(fits.alpha).all()
    np.testing.assert_array_equal((fits.alpha @ gram + fits.intercept[:, :, None]).argmax(axis=1), y[rows])


def test_problems_do_not_know_of_each_other() -> None:
    x, y = _units()
    rows = guided.draw(y, 5, 40, np.random.default_rng(1)).reshape(40, -1)  # more than are solved at a time
    gram = np.stack([x[r] @ x[r].T for r in rows])
    together = guided.solve(gram, y[rows], n_classes=4)
    alone = guided.solve(gram[33:34], y[rows][33:34], n_classes=4)
    np.testing.assert_allclose(together.alpha[33], alone.alpha[0], atol=1e-3 * np.abs(alone.alpha).max())


def test_repeated_and_empty_features_do_no_harm() -> None:
    """A singular matrix of inner products, and one of zeros.

    Then only the intercept is left, and it is 0 for equal classes.
    """
    same = guided.solve(np.ones((1, 6, 6), np.float32), np.array([[0, 0, 1, 1, 2, 2]]), n_classes=3)
    none = guided.solve(np.zeros((1, 6, 6), np.float32), np.array([[0, 0, 1, 1, 2, 2]]), n_classes=3)
    for fits in (same, none):
        assert np.isfinite(fits.alpha).all()
        np.testing.assert_allclose(fits.intercept, 0, atol=1e-5)


def test_draws_are_nested_and_never_of_units_without_class() -> None:
    codes = np.array([0, 1, -1] * 30)
    drawn = guided.draw(codes, 20, 50, np.random.default_rng(0))
    assert drawn.shape == (50, 20, 2)
    for c in range(2):
        assert (codes[drawn[:, :, c]] == c).all()
        assert all(len(set(one)) == 20 for one in drawn[:, :, c])
        counts = np.bincount(drawn[:, :5, c].ravel(), minlength=90)[codes == c]
        assert 1 <= counts.min() < counts.max() <= 20  # 250 draws of 30 units


def _loop(x: np.ndarray, codes: np.ndarray, shots: list[int], repeats: int, rng: np.random.Generator) -> np.ndarray:
    """The protocol, one model at a time."""
    from sklearn.metrics import recall_score

    drawn = guided.draw(codes, max(shots), repeats, rng)
    out = np.empty((repeats, len(shots)))
    for r in range(repeats):
        test = np.setdiff1d(np.flatnonzero(codes >= 0), drawn[r])
        for i, shot in enumerate(shots):
            rows = drawn[r, :shot].ravel()
            out[r, i] = recall_score(
                codes[test], _sklearn(x[rows], codes[rows]).predict(x[test].astype(float)), average="macro"
            )
    return out


@pytest.mark.parametrize("whole", [True, False])
def test_benchmark_is_the_loop_over_models(monkeypatch, whole: bool) -> None:
    x, y = _units(m=300, d=100, k=3, apart=0.4)
    codes = np.where(np.arange(300) % 10 == 0, -1, y)
    if not whole:
        monkeypatch.setattr(guided, "_KEPT", 0)
    found = guided.benchmark(x, codes, shots=[1, 4], repeats=6, rng=np.random.default_rng(5))
    np.testing.assert_allclose(found, _loop(x, codes, [1, 4], 6, np.random.default_rng(5)), atol=0.01)
    assert (np.diff(found.mean(axis=0)) > 0).all()


def test_shuffled_labels_give_chance() -> None:
    x, y = _units(m=600, d=200, k=4)
    found = guided.benchmark(
        x, np.random.default_rng(3).permutation(y), shots=[5, 20], repeats=40, rng=np.random.default_rng(0)
    )
    assert found.mean() == pytest.approx(1 / 4, abs=0.02)
