import numpy as np
import pytest
from scipy import stats

from kronos_sc._methods.enrichment import compare_shares, smallest_p


def test_by_hand():
    a = np.array([[0.1], [0.2], [0.3]])
    b = np.array([[0.4], [0.5], [0.6]])
    row = compare_shares(a, b).iloc[0]
    assert row["statistic"] == 0
    assert row["p_value"] == pytest.approx(0.1)  # 2 of the 20 ways to deal six cases
    assert row["effect"] == -1
    assert (row["mean_a"], row["median_b"]) == (pytest.approx(0.2), 0.5)
    assert smallest_p(3, 3) == pytest.approx(0.1)


def test_effect_is_the_share_of_pairs_won():
    rng = np.random.default_rng(0)
    a = rng.random((7, 4)).round(1)
    b = rng.random((9, 4)).round(1)
    table = compare_shares(a, b)
    for j in range(4):
        won = np.sign(a[:, j][:, None] - b[:, j][None]).mean()
        assert table["effect"][j] == pytest.approx(won)


def test_p_values_are_adjusted_as_benjamini_and_hochberg_say():
    rng = np.random.default_rng(1)
    a = rng.random((8, 6))
    b = rng.random((8, 6)) + np.linspace(0, 0.8, 6)
    table = compare_shares(a, b)
    p = table["p_value"].to_numpy()
    order = np.argsort(p)
    adjusted = np.minimum.accumulate((p[order] * 6 / np.arange(1, 7))[::-1])[::-1].clip(max=1)
    np.testing.assert_allclose(table["p_adjusted"].to_numpy()[order], adjusted)
    assert p[5] == pytest.approx(stats.mannwhitneyu(a[:, 5], b[:, 5]).pvalue)


def test_a_cluster_that_does_not_vary():
    row = compare_shares(np.zeros((3, 1)), np.zeros((4, 1))).iloc[0]
    assert (row["p_value"], row["effect"], row["statistic"]) == (1, 0, 6)
