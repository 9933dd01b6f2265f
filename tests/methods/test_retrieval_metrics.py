"""Scores of answers, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_sc._methods import retrieval_metrics as metrics

RELEVANT = np.array([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)


def test_accuracy_and_precision_by_hand():
    assert metrics.accuracy_at(RELEVANT, 1).tolist() == [0, 1, 0, 1]
    assert metrics.accuracy_at(RELEVANT, 3).tolist() == [1, 1, 0, 1]
    np.testing.assert_allclose(metrics.precision_at(RELEVANT, 5), [0.4, 0.2, 0, 1])


def test_average_precision_by_hand():
    """P(2) = 1/2 and P(4) = 2/4; of three relevant ones at most three can be among five."""
    found = metrics.average_precision_at(RELEVANT, np.array([3, 1, 0, 9]), 5)
    np.testing.assert_allclose(found, [(1 / 2 + 2 / 4) / 3, 1, np.nan, 1])
    np.testing.assert_allclose(metrics.average_precision_at(RELEVANT, np.array([3, 1, 2, 9]), 1), [0, 1, 0, 1])


def test_average_precision_of_a_full_ranking_is_that_of_scikit_learn():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    relevant = rng.random((20, 30)) < 0.3
    expected = [average_precision_score(row, -np.arange(30)) for row in relevant]
    np.testing.assert_allclose(metrics.average_precision_at(relevant, relevant.sum(axis=1), 30), expected)


def test_chance_is_what_random_answers_reach():
    rng = np.random.default_rng(0)
    drawn = np.array([rng.choice(10, 3, replace=False) for _ in range(20_000)])
    assert metrics.chance_at(np.array([2]), 10, 3)[0] == pytest.approx((drawn < 2).any(axis=1).mean(), abs=0.01)
    np.testing.assert_allclose(metrics.chance_at(np.array([2, 0, 10, 9]), 10, 3), [1 - 8 * 7 * 6 / 720, 0, 1, 1])
    np.testing.assert_allclose(metrics.chance_at(np.array([2, 5]), 10, 1), [0.2, 0.5])


def test_composition_error_by_hand():
    query = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    first = np.array([[0.5, 0.4, 0.1], [0.0, 1.0, 0.0]])
    second = query
    error = metrics.composition_error(query, [first, second])
    np.testing.assert_allclose(error, [[np.sqrt(200 / 3), 0], [100 * np.sqrt(2 / 3), 0]])
    np.testing.assert_allclose(metrics.best_at(error, 1), error[:, 0])
    assert metrics.best_at(error, 2).tolist() == [0, 0]
