"""Principal components of all pairs at once, against those of each pair alone."""

from itertools import combinations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from kronos_sc._methods import pairwise_pca as module
from kronos_sc._methods.pairwise_pca import centred, pairwise_pca

WIDE = 700  # more features than are taken as they are


def structured(width, *, groups=4, rows=90, seed=0, noise=0.5, shift=0.3, offset=0.0):
    """Few factors, noise, groups of unequal size that are shifted."""
    rng = np.random.default_rng(seed)
    loading = rng.standard_normal((12, width))
    scale = np.arange(1, 13) ** -0.7
    parts = []
    for g in range(groups):
        n = rows + 7 * g
        factors = rng.standard_normal((n, 12)) * scale + shift * rng.standard_normal(12)
        parts.append((factors @ loading + noise * rng.standard_normal((n, width)) + offset).astype(np.float32))
    return parts


def noise(width, *, groups=3, rows=80, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((rows, width)).astype(np.float32) for _ in range(groups)]


def own_space(width, *, groups=3, rows=100, seed=2):
    """Each group varies along directions of its own, far from zero."""
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((rows, 5)) @ rng.standard_normal((5, width)) + 50).astype(np.float32)
        for _ in range(groups)
    ]


def run(parts, c=2, **how):
    pairs = np.array(list(combinations(range(len(parts)), 2)))
    return pairs, pairwise_pca(centred(parts), pairs, c, rng=np.random.default_rng(0), **how)


@pytest.mark.parametrize("width", [3, 40, WIDE])
@pytest.mark.parametrize("make", [structured, noise, own_space])
def test_it_agrees_with_exact_components(make, width):
    parts = make(width)
    pairs, found = run(parts)
    assert found.settled.all()
    assert (found.w_dm is None) == (width < WIDE)
    for number, (a, b) in enumerate(pairs):
        pooled = np.concatenate([parts[a], parts[b]]).astype(np.float64)
        exact = PCA(2, svd_solver="full").fit(pooled)
        np.testing.assert_allclose(found.share[number], exact.explained_variance_ratio_, rtol=1e-4)
        np.testing.assert_allclose(found.variance[number], exact.explained_variance_, rtol=1e-4)
        label = np.repeat([0, 1], [len(parts[a]), len(parts[b])])
        here = found.coordinates(number)
        assert here.dtype == np.float32
        assert abs(here.mean(axis=0)).max() < 1e-4 * abs(here).max()
        assert silhouette_score(here, label) == pytest.approx(
            silhouette_score(exact.transform(pooled), label), abs=1e-3
        )


def test_coordinates_by_hand():
    # two groups on a line, 4 apart: the mean of the pair lies between them
    parts = [np.array([[-1, 0], [1, 0]], np.float32), np.array([[3, 0.1], [5, -0.1]], np.float32)]
    _, found = run(parts, c=1)
    x = found.coordinates(0)[:, 0]
    np.testing.assert_allclose(np.sort(np.abs(x)), [1, 1, 3, 3], atol=0.01)
    assert x[0] * x[1] > 0 > x[0] * x[3]


def test_components_of_any_number():
    parts = structured(WIDE)
    _, found = run(parts, c=4)
    exact = PCA(4, svd_solver="full").fit(np.concatenate(parts[:2]))
    np.testing.assert_allclose(found.share[0], exact.explained_variance_ratio_, rtol=1e-3)
    assert found.coordinates(0).shape == (len(parts[0]) + len(parts[1]), 4)


def test_a_pair_does_not_depend_on_the_others():
    parts = structured(WIDE)
    _, every = run(parts)
    _, alone = run([parts[0], parts[2]])
    np.testing.assert_allclose(
        np.abs(every.coordinates(1)), np.abs(alone.coordinates(0)), atol=0.02 * np.abs(alone.coordinates(0)).max()
    )
    np.testing.assert_allclose(every.share[1], alone.share[0], rtol=1e-4)


def test_large_means_do_not_swallow_small_differences():
    near = run(structured(40))[1]
    far = run(structured(40, offset=500.0))[1]
    np.testing.assert_allclose(near.share, far.share, rtol=1e-3)


@pytest.mark.parametrize("width", [4, WIDE])
def test_rows_without_spread_have_no_components(width):
    _, found = run([np.ones((5, width), np.float32), np.ones((6, width), np.float32)])
    assert np.isnan(found.share).all()
    assert not found.coordinates(0).any()


@pytest.mark.parametrize("width", [4, 100, WIDE])
def test_two_points_have_one_component(width):
    """Groups that are constant, and differ: all variance lies between them."""
    _, found = run([np.zeros((5, width), np.float32), np.ones((5, width), np.float32)])
    np.testing.assert_allclose(found.share[0], [1, 0], atol=1e-5)
    np.testing.assert_allclose(np.abs(found.coordinates(0)[:, 0]), np.sqrt(width) / 2, rtol=1e-4)


def test_what_could_not_be_settled_is_said(monkeypatch):
    monkeypatch.setattr(module, "_WIDEST", 150)
    monkeypatch.setattr(module, "_START", 8)
    _, found = run(noise(WIDE), rounds=2)
    assert not found.settled.all()
    exact = PCA(2, svd_solver="full").fit(np.concatenate(noise(WIDE)[:2]))
    assert found.share[0].sum() <= exact.explained_variance_ratio_.sum() + 1e-6
