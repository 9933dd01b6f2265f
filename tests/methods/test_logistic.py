"""The classifier against scikit-learn, and its own promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from kronos_sc._methods.logistic import Linear, Problem, balanced_weight, softmax
from kronos_sc._methods.scaling import fit_scaler


def objective(linear, x, y, weight, C) -> float:
    """The definition, in float64, divided by C · Σ w.

    For two classes the penalty is on the difference of their weights.
    """
    x = x.astype(np.float64)
    coef = np.asarray(linear.coef, np.float64)
    z = x @ coef.T + linear.intercept
    loss = (weight * (logsumexp(z, axis=1) - z[np.arange(len(y)), y])).sum() / weight.sum()
    size = ((coef[1] - coef[0]) ** 2).sum() if len(coef) == 2 else (coef**2).sum()
    return loss + 0.5 / (C * weight.sum()) * size


def draw(n: int, d: int, k: int, *, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes of unequal size with correlated features of very different spread."""
    rng = np.random.default_rng(seed)
    y = rng.choice(k, n, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
    hidden = rng.normal(size=(k, 8))[y] * apart + rng.normal(size=(n, 8))
    x = hidden @ rng.normal(size=(8, d)) * np.geomspace(1, 1e-2, d) + 0.05 * rng.normal(size=(n, d))
    return fit_scaler(x).apply(x), y


@pytest.fixture(
    params=[(600, 40, 4), (150, 400, 3), (500, 30, 2)], ids=["tall", "more features than units", "two classes"]
)
def data(request):
    return *draw(*request.param, apart=0.6), request.param[2]


@pytest.mark.parametrize("C", [1e-5, 1e-3, 1e-1, 1.0])
@pytest.mark.parametrize("balanced", [False, True])
def test_agrees_with_scikit_learn(data, C: float, balanced: bool) -> None:
    x, y, k = data
    weight = balanced_weight(y, k) if balanced else np.ones(len(y))
    ours = Problem(x, y, k, weight=weight).fit(C)
    theirs = LogisticRegression(C=C, class_weight="balanced" if balanced else None, tol=1e-8, max_iter=20_000).fit(
        x.astype(np.float64), y
    )
    assert objective(ours, x, y, weight, C) == pytest.approx(objective(_linear(theirs), x, y, weight, C), rel=1e-4)
    np.testing.assert_allclose(ours.proba(x), theirs.predict_proba(x), atol=2e-3)
    best = np.sort(theirs.predict_proba(x), axis=1)
    clear = (
        best[:, -1] - best[:, -2] > 1e-5
    )  # under the strongest penalty, classes differ by less than float32 tells apart
    assert clear.mean() > 0.9
    assert (ours.decision(x).argmax(1) == theirs.predict(x))[clear].mean() >= 0.999


def _linear(theirs: LogisticRegression) -> Linear:
    """Weights of scikit-learn; of its one vector for two classes, half goes to each."""
    coef = theirs.coef_
    intercept = theirs.intercept_
    if len(coef) == 1:
        coef = np.concatenate([-coef, coef]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    return Linear(coef, intercept, 0.0, 0)


def test_the_value_reported_is_the_value_reached(data) -> None:
    x, y, k = data
    fitted = Problem(x, y, k).fit(0.1)
    assert fitted.objective == pytest.approx(objective(fitted, x, y, np.ones(len(y)), 0.1), rel=1e-4)


@pytest.mark.parametrize("C", [1.0, 1e3, 1e5])
def test_fewer_units_than_features_can_always_be_told_apart(C: float) -> None:
    """Standardised rows sum to zero: one direction of their span is rounding only, and must not mislead the descent."""
    x, y = draw(380, 3000, 5, apart=0.7, seed=1)
    fitted = Problem(x, y, 5, weight=balanced_weight(y, 5)).fit(C)
    assert fitted.objective < 0.03 / C**0.5
    assert (fitted.decision(x).argmax(1) == y).all()


def test_where_it_started_does_not_matter(data) -> None:
    x, y, k = data
    problem = Problem(x, y, k)
    cold = problem.fit(0.01)
    warm = problem.fit(0.01, start=problem.fit(100.0))
    assert cold.objective == pytest.approx(warm.objective, rel=1e-5)
    np.testing.assert_allclose(cold.proba(x), warm.proba(x), atol=5e-3)


def test_a_large_c_on_separable_classes_ends(data) -> None:
    x, y = draw(200, 60, 3, apart=6.0)
    fitted = Problem(x, y, 3).fit(1e5)
    assert np.isfinite(fitted.coef).all()
    assert fitted.objective < 1e-3
    assert (fitted.decision(x).argmax(1) == y).all()


def test_a_tiny_c_predicts_the_shares_of_the_classes() -> None:
    x, y = draw(300, 20, 3, apart=1.0)
    proba = Problem(x, y, 3).fit(1e-10).proba(x)
    np.testing.assert_allclose(proba, np.tile(np.bincount(y) / len(y), (len(y), 1)), atol=1e-3)


def test_order_of_units_does_not_matter() -> None:
    x, y = draw(300, 50, 4, apart=0.5)
    turn = np.random.default_rng(1).permutation(len(y))
    np.testing.assert_allclose(Problem(x, y, 4).fit(1.0).coef, Problem(x[turn], y[turn], 4).fit(1.0).coef, atol=5e-3)


def test_constant_and_repeated_features_do_no_harm() -> None:
    x, y = draw(200, 20, 3, apart=0.5)
    padded = np.hstack([x, x, np.zeros((len(x), 5), np.float32)])
    fitted = Problem(padded, y, 3).fit(0.5)
    alone = Problem(x, y, 3).fit(1.0)  # two copies of a feature share its weight, which halves the penalty
    np.testing.assert_allclose(fitted.proba(padded), alone.proba(x), atol=2e-3)
    assert np.abs(fitted.coef[:, 40:]).max() == 0


def test_balanced_weight_is_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_sample_weight

    y = np.array([0, 0, 0, 1, 2, 2])
    np.testing.assert_allclose(balanced_weight(y, 3), compute_sample_weight("balanced", y))


def test_softmax_of_large_scores() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0], [0.0, -np.inf]])), [[0.5, 0.5], [1.0, 0.0]])


def test_the_scaler_is_scikit_learns() -> None:
    from sklearn.preprocessing import StandardScaler

    x = np.random.default_rng(0).normal(1e4, 3.0, (3000, 7)).astype(np.float32)
    x[:, 3] = 12_345.0
    ours = fit_scaler(x)
    np.testing.assert_allclose(ours.apply(x), StandardScaler().fit_transform(x.astype(np.float64)), atol=2e-3)
    assert ours.scale[3] == 1
    assert not ours.apply(x)[:, 3].any()
