import numpy as np
import pytest
from scipy import stats

from kronos_sc._core.representation import Representation
from kronos_sc._methods.cases import (
    case_means,
    case_moments,
    case_shares,
    case_sizes,
    draw_units,
    projected,
    random_directions,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def some(rng):
    """Values far from zero with a small spread, seven cases out of order, some units without one."""
    x = (1000 + rng.gamma(2.0, size=(300, 5))).astype(np.float32)
    codes = rng.integers(-1, 7, 300)
    return x, codes


def rep(values):
    return Representation("X_any", values)


def test_means_by_hand():
    x = np.array([[1, 10], [3, 20], [5, 60], [100, 100]], np.float32)
    means = case_means(rep(x), np.array([0, 0, 1, -1]), 2)
    np.testing.assert_array_equal(means, [[2, 15], [5, 60]])
    assert means.dtype == np.float64


def test_moments_are_those_of_scipy(some):
    x, codes = some
    moments = case_moments(rep(x), codes, 7, order=4)
    for case in range(7):
        own = x[codes == case].astype(np.float64)
        expected = [own.mean(0), own.std(0), stats.skew(own), stats.kurtosis(own, fisher=False)]
        for found, wanted in zip(moments, expected, strict=True):
            np.testing.assert_allclose(found[case], wanted, rtol=1e-6)


def test_blocks_change_nothing(some, monkeypatch):
    from kronos_sc import settings

    x, codes = some
    whole = case_moments(rep(x), codes, 7, order=4)
    monkeypatch.setattr(settings, "block_memory", 4 * 5 * 11)  # eleven rows at a time
    for one, other in zip(case_moments(rep(x), codes, 7, order=4), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_the_order_of_units_changes_nothing(some, rng):
    x, codes = some
    order = rng.permutation(len(x))
    np.testing.assert_allclose(case_means(rep(x[order]), codes[order], 7), case_means(rep(x), codes, 7), rtol=1e-12)


def test_a_case_without_units_or_spread():
    x = np.full((3, 2), 7.3, np.float32)
    mean, sd, skew = case_moments(rep(x), np.array([0, 0, 0]), 2, order=3)
    assert (sd[0] == 0).all()
    assert (skew[0] == 0).all()
    assert np.isnan(mean[1]).all()


def test_shares_by_hand():
    shares = case_shares(np.array([0, 0, 1, 2, -1, 1]), np.array([0, 0, 0, 1, 1, -1]), 3, 3)
    np.testing.assert_allclose(shares[:2], [[2 / 3, 1 / 3, 0], [0, 0, 1]])
    assert np.isnan(shares[2]).all()
    assert case_sizes(np.array([0, 0, 2, -1]), 3).tolist() == [2, 0, 1]


def test_draws_are_at_most_so_many_of_each_case(some, rng):
    _, codes = some
    rows = draw_units(codes, 10, rng)
    assert (np.diff(rows) > 0).all()
    assert np.bincount(codes[rows]).tolist() == [10] * 7
    assert np.array_equal(draw_units(codes, None, rng), np.flatnonzero(codes >= 0))
    assert np.array_equal(draw_units(codes, 1000, rng), np.flatnonzero(codes >= 0))


def test_draws_leave_no_unit_out(rng):
    codes = np.zeros(40, np.int64)
    counts = np.bincount(np.concatenate([draw_units(codes, 10, rng) for _ in range(800)]), minlength=40)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_projections_keep_distances(rng):
    from scipy.spatial.distance import pdist

    x = rng.normal(size=(40, 3000)).astype(np.float32)
    out = projected(rep(x), np.arange(40), random_directions(3000, 512, np.random.default_rng(1)))
    assert out.shape == (40, 512)
    ratio = pdist(out) / pdist(x)
    assert abs(ratio.mean() - 1) < 0.03
    assert ratio.std() < 0.06


def test_narrow_representations_are_taken_as_they_are(some):
    x, _ = some
    assert random_directions(5, 5, np.random.default_rng(0)) is None
    assert random_directions(5, None, np.random.default_rng(0)) is None
    np.testing.assert_array_equal(projected(rep(x), np.array([4, 2]), None), x[[4, 2]])


def test_lazy_values(some):
    da = pytest.importorskip("dask.array")
    x, codes = some
    lazy = rep(da.from_array(x, chunks=(50, 5)))
    np.testing.assert_allclose(case_means(lazy, codes, 7), case_means(rep(x), codes, 7), rtol=1e-12)
    directions = random_directions(5, 3, np.random.default_rng(1))
    np.testing.assert_allclose(
        projected(lazy, np.arange(9), directions), projected(rep(x), np.arange(9), directions), rtol=1e-5
    )
