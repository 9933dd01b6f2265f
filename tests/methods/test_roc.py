import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from kronos_sc._methods.roc import GRID, curve, mean_curve, on_grid, split_curve


@pytest.mark.parametrize("ties", [False, True])
def test_the_curve_is_that_of_scikit_learn(ties):
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, 50)
    score = rng.random(50) + true * 0.4
    score = score.round(1) if ties else score
    false, rate = curve(true == 1, score)
    wanted = roc_curve(true, score, drop_intermediate=False)
    np.testing.assert_allclose(false, wanted[0])
    np.testing.assert_allclose(rate, wanted[1])
    assert np.trapezoid(rate, false) == pytest.approx(roc_auc_score(true, score))


def test_on_the_grid_by_hand():
    rates = on_grid(*curve(np.array([True, False, True, False]), np.array([4.0, 3, 2, 1])))
    assert rates[0] == 0.5  # at no false positive the first positive is found
    assert rates[GRID.searchsorted(0.49)] == 0.5
    assert rates[GRID.searchsorted(0.5)] == 1.0
    tied = on_grid(*curve(np.array([True, False]), np.array([1.0, 1.0])))
    np.testing.assert_allclose(tied, GRID)


def test_splits_with_one_class_have_no_curve():
    assert split_curve(np.array([1, 1]), np.array([[0.2, 0.8], [0.5, 0.5]])) is None


def test_more_classes_are_averaged():
    true = np.array([0, 1, 2, 0, 1, 2])
    perfect = np.eye(3)[true]
    np.testing.assert_allclose(split_curve(true, perfect), 1)


def test_mean_and_interval():
    table = mean_curve([np.zeros(101), np.ones(101)])
    assert (table["true_positive_rate"] == 0.5).all()
    assert (table["low"] == 0).all()  # 0.5 − 0.98, cut at 0
    assert (mean_curve([np.ones(101)])["low"] == 1).all()
