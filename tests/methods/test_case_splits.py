import numpy as np
import pytest

from kronos_sc._methods.case_splits import draw_split, training_counts

LABELS = np.repeat([0, 1, 2], [10, 6, 2])


def test_counts_per_class():
    assert training_counts([17, 18], 5).tolist() == [5, 5]
    assert training_counts([17, 18], 0.8).tolist() == [14, 14]
    assert training_counts([2, 40], 0.95).tolist() == [1, 38]  # one case is left for the test
    assert training_counts([2, 40], 0.1).tolist() == [1, 4]  # and one to learn from


@pytest.mark.parametrize("size", [1, 0.8])
def test_every_case_is_on_one_side(size):
    train, test = draw_split(LABELS, training_counts(np.bincount(LABELS), size), np.random.default_rng(0))
    assert sorted([*train, *test]) == list(range(18))
    assert set(LABELS[train]) == set(LABELS[test]) == {0, 1, 2}
    assert np.bincount(LABELS[train]).tolist() == training_counts(np.bincount(LABELS), size).tolist()


def test_all_cases_are_drawn_alike():
    rng = np.random.default_rng(0)
    seen = np.zeros(18)
    for _ in range(2000):
        seen[draw_split(LABELS, np.array([2, 2, 1]), rng)[0]] += 1
    np.testing.assert_allclose(seen / 2000, np.repeat([0.2, 1 / 3, 0.5], [10, 6, 2]), atol=0.04)
