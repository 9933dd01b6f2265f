import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from kronos_sc._methods.nearest_case import cluster_shares, nearest_proba

FIT = {"max_fit": None, "n_init": 1}


def test_the_nearest_case_wins_by_hand():
    vectors = np.array([[0.0, 1.0], [1.0, 0.0], [0.25, 0.75], [0.0, 1.0]])
    proba = nearest_proba(vectors, np.array([0, 1, 0, 0]), np.array([0, 1]), np.array([2, 3]), 2)
    np.testing.assert_allclose(proba[0], [0.75, 0.25])  # distances 1 : 3
    np.testing.assert_allclose(proba[1], [1, 0], atol=1e-12)  # identical to a training case


def test_labels_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    vectors = rng.dirichlet(np.ones(8), size=60)
    labels = np.arange(60) % 3
    train = np.arange(15)
    test = np.arange(15, 60)
    expected = KNeighborsClassifier(1).fit(vectors[train], labels[train]).predict(vectors[test])
    proba = nearest_proba(vectors, labels, train, test, 3)
    assert np.array_equal(proba.argmax(axis=1), expected)
    np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_a_tie_goes_to_the_class_whose_next_case_is_nearer():
    vectors = np.array([[0.0, 1.0], [0.0, -1.0], [0.0, 3.0], [0.0, -2.0], [0.0, 0.0]])  # at 1, 1, 3, 2 from the last
    for labels in ([0, 1, 0, 1, 0], [1, 0, 1, 0, 0]):
        proba = nearest_proba(vectors, np.array(labels), np.arange(4), np.array([4]), 2)
        assert proba.argmax() == labels[1]
        np.testing.assert_allclose(proba, 0.5, atol=1e-8)


def test_a_tie_that_nothing_breaks_is_shared():
    vectors = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 0.0]])
    proba = nearest_proba(vectors, np.array([0, 1, 0, 1, 0]), np.arange(4), np.array([4]), 2)
    assert proba[0, 0] == proba[0, 1] == 0.5


def test_the_order_of_classes_is_that_of_distances_whatever_comes_next():
    rng = np.random.default_rng(0)
    vectors = rng.integers(0, 4, size=(90, 3)).astype(float)
    labels = np.arange(90) % 3  # ties abound
    train = np.arange(21)
    test = np.arange(21, 90)
    proba = nearest_proba(vectors, labels, train, test, 3)
    distance = np.linalg.norm(vectors[test][:, None] - vectors[train], axis=2)
    for row, found in zip(distance, proba, strict=True):
        lines = [sorted(row[labels[train] == c].round(9)) for c in range(3)]
        best = [c for c in range(3) if lines[c] == min(lines)]
        assert set(np.flatnonzero(found == found.max())) == set(best)


def test_identical_cases_of_both_classes_share():
    proba = nearest_proba(np.zeros((3, 2)), np.array([0, 1, 0]), np.array([0, 1]), np.array([2]), 2)
    np.testing.assert_allclose(proba, 0.5)


@pytest.fixture
def units():
    """Three kinds of units in known shares; the third feature is loud and says nothing."""
    rng = np.random.default_rng(0)
    kind = np.concatenate([np.repeat([0, 1, 2], n) for n in ([80, 10, 10], [10, 80, 10], [40, 40, 20])])
    x = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]])[kind] + rng.normal(size=(300, 3)) * [0.05, 0.05, 100]
    return x.astype(np.float32), np.repeat([0, 1, 2], 100), kind


def test_shares_of_known_kinds(units):
    x, codes, _ = units
    shares = cluster_shares(
        x[:, :2], codes, codes < 2, 3, n_clusters=3, scale=True, **FIT, rng=np.random.default_rng(1)
    )
    order = np.argsort(-shares[0] + shares[1] * 1e-3)
    np.testing.assert_allclose(np.sort(shares, axis=1), [[0.1, 0.1, 0.8], [0.1, 0.1, 0.8], [0.2, 0.4, 0.4]], atol=0.02)
    assert shares[0].argmax() == order[0] != shares[1].argmax()


def test_scaling_silences_what_is_only_loud(units):
    x, codes, _ = units
    loud, quiet = (
        cluster_shares(x, codes, codes < 3, 3, n_clusters=3, scale=s, **FIT, rng=np.random.default_rng(1))
        for s in (False, True)
    )
    assert np.ptp(loud, axis=0).max() < np.ptp(quiet, axis=0).max()


def test_cases_that_are_not_fitted_change_no_cluster(units):
    x, codes, _ = units
    noise = x.copy()
    noise[codes == 2] = np.random.default_rng(3).normal(size=(100, 3)) * 1000
    one, other = (
        cluster_shares(v, codes, codes < 2, 3, n_clusters=3, scale=True, **FIT, rng=np.random.default_rng(1))
        for v in (x, noise)
    )
    np.testing.assert_array_equal(one[:2], other[:2])


def test_more_clusters_than_units():
    x = np.arange(6, dtype=np.float32)[:, None]
    shares = cluster_shares(
        x, np.arange(6) // 3, np.arange(6) < 3, 2, n_clusters=16, scale=False, **FIT, rng=np.random.default_rng(0)
    )
    assert shares.shape == (2, 3)


def test_centres_come_from_at_most_so_many_units_and_the_best_of_all_starts(units, monkeypatch):
    import sklearn.cluster

    x, codes, _ = units
    seen = []

    class Spy(sklearn.cluster.KMeans):
        def fit(self, x):
            seen.append((len(x), self.n_init))
            return super().fit(x)

    monkeypatch.setattr(sklearn.cluster, "KMeans", Spy)
    for max_fit, n_init in ((50, 3), (None, 1), (1000, 1)):
        rng = np.random.default_rng(1)
        cluster_shares(x, codes, codes < 2, 3, n_clusters=3, scale=True, max_fit=max_fit, n_init=n_init, rng=rng)
    assert seen == [(50, 3), (200, 1), (200, 1)]
