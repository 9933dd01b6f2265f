"""k-means of all pairs at once, against one run per pair."""

from itertools import combinations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from kronos_sc._methods.pairwise_kmeans import adjusted_rand, pairwise_kmeans
from kronos_sc._methods.pairwise_pca import centred, pairwise_pca


def blobs(width, *, rows=90, shift=0.3, seed=0, groups=3):
    """Three kinds of rows in every group."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.standard_normal((3, width))
    return [
        (
            centres[rng.integers(0, 3, rows + g)]
            + rng.standard_normal((rows + g, width))
            + shift * rng.standard_normal(width)
        ).astype(np.float32)
        for g in range(groups)
    ]


def run(parts, k=2, n_init=5, seed=0):
    pairs = np.array(list(combinations(range(len(parts)), 2)))
    groups = centred(parts)
    components = pairwise_pca(groups, pairs, 2, rng=np.random.default_rng(0))
    return pairs, pairwise_kmeans(groups, components, k, n_init=n_init, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("width", [6, 700])
@pytest.mark.parametrize("k", [2, 3])
def test_it_finds_what_scikit_learn_finds(width, k):
    parts = blobs(width)
    pairs, found = run(parts, k)
    for number, (a, b) in enumerate(pairs):
        pooled = np.concatenate([parts[a], parts[b]])
        label = np.repeat([0, 1], [len(parts[a]), len(parts[b])])
        one = KMeans(k, n_init=10, random_state=0).fit(pooled)
        assert found.inertia[number] <= 1.001 * one.inertia_
        assert found.counts[number].sum(axis=1).tolist() == [len(parts[a]), len(parts[b])]
        assert adjusted_rand(found.counts[number]) == pytest.approx(adjusted_rand_score(label, one.labels_), abs=0.01)


def test_two_conditions_far_apart_are_the_clusters():
    parts = [np.random.default_rng(g).standard_normal((50, 5)).astype(np.float32) + 20 * g for g in range(2)]
    _, found = run(parts)
    assert sorted(found.counts[0].ravel().tolist()) == [0, 0, 50, 50]
    assert adjusted_rand(found.counts[0]) == 1


def test_seeds_decide_and_nothing_else():
    parts = [np.random.default_rng(g).standard_normal((40, 8)).astype(np.float32) for g in range(3)]
    np.testing.assert_array_equal(run(parts)[1].counts, run(parts)[1].counts)


def test_equal_rows_are_one_cluster():
    _, found = run([np.ones((5, 3), np.float32), np.ones((4, 3), np.float32)])
    assert found.inertia[0] == pytest.approx(0, abs=1e-6)
    assert adjusted_rand(found.counts[0]) == 0


def test_one_start_is_enough_to_run():
    _, found = run(blobs(6), n_init=1)
    assert (found.inertia > 0).all()


@pytest.mark.parametrize("shape", [(2, 2), (2, 5), (3, 4)])
def test_adjusted_rand_agrees_with_scikit_learn(shape):
    counts = np.random.default_rng(1).integers(0, 9, shape)
    rows, columns = np.indices(shape)
    classes = np.repeat(rows.ravel(), counts.ravel())
    clusters = np.repeat(columns.ravel(), counts.ravel())
    assert adjusted_rand(counts) == pytest.approx(adjusted_rand_score(classes, clusters))
    both = adjusted_rand(np.stack([counts, counts.sum() * np.eye(*shape, dtype=int)]))
    np.testing.assert_allclose(both, [adjusted_rand_score(classes, clusters), 1])
