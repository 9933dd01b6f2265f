"""Silhouettes of two groups, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from kronos_sc._methods.silhouette import silhouettes


def test_by_hand():
    # on a line: a = {0, 1}, b = {4, 5}; for 0: own 1, other 4.5; for 1: own 1, other 3.5
    x = np.array([[0], [1], [4], [5]], np.float32)
    assert silhouettes([(x, 2)]) == [pytest.approx((2 * (1 - 1 / 4.5) + 2 * (1 - 1 / 3.5)) / 4)]


@pytest.mark.parametrize(("n_a", "n_b", "dims"), [(2, 2, 2), (300, 17, 2), (900, 1300, 2), (260, 256, 1), (100, 90, 5)])
def test_it_agrees_with_scikit_learn(n_a, n_b, dims):
    rng = np.random.default_rng(n_a)
    x = rng.standard_normal((n_a + n_b, dims)).astype(np.float32)
    x[:n_a] += 0.7
    assert silhouettes([(x, n_a)])[0] == pytest.approx(silhouette_score(x, np.arange(len(x)) < n_a), abs=1e-6)


def test_far_from_the_origin_and_of_any_size():
    x = np.random.default_rng(0).standard_normal((60, 2))
    x[:30] += 1
    one, large = silhouettes([(x.astype(np.float32), 30), ((x * 1e6).astype(np.float32), 30)])
    assert one == pytest.approx(large, abs=1e-6)


def test_a_single_row_counts_nothing_and_so_do_equal_rows():
    x = np.array([[0, 0], [3, 0], [3, 1]], np.float32)
    assert silhouettes([(x, 1)])[0] == pytest.approx(silhouette_score(x, [0, 1, 1]))
    assert silhouettes([(np.zeros((6, 2), np.float32), 3)]) == [0.0]


def test_many_tasks_keep_their_order():
    rng = np.random.default_rng(0)
    tasks = [
        (rng.standard_normal((40 + i, 2)).astype(np.float32) + (np.arange(40 + i) < 9 + i)[:, None] * i, 9 + i)
        for i in range(12)
    ]
    every = silhouettes(iter(tasks))
    assert every == [silhouettes([task])[0] for task in tasks]
    assert every[0] < every[2] < every[4]
