import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from kronos_sc._methods import clustering
from kronos_sc._methods.clustering import by_size, kmeans, minibatch
from kronos_sc._methods.scaling import fit_scaler


@pytest.fixture(scope="module")
def blobs():
    """Five groups of unequal size, in order, so that no run of rows holds more than two."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(5), [200, 500, 300, 700, 300])
    return (rng.normal(size=(5, 12))[truth] * 4 + rng.normal(size=(2000, 12))).astype(np.float32), truth


def reader(x):
    """What a table on disk does, with a note of what was asked for."""

    def read(index):
        read.asked.append(index)
        return np.ascontiguousarray(x[index])

    read.asked = []
    return read


def test_labels_are_named_by_size():
    np.testing.assert_array_equal(by_size(np.array([7, 3, 3, 9, 9, 9])), [2, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(by_size(np.array([1, 1, 0, 0])), [1, 1, 0, 0])  # equal ones keep their order


def test_kmeans_is_that_of_scikit_learn(blobs):
    x, truth = blobs
    made = kmeans(x, 5, n_init=3, rng=np.random.default_rng(4))
    theirs = KMeans(5, n_init=3, random_state=0).fit(x)
    assert adjusted_rand_score(made.labels, theirs.labels_) == 1
    assert made.inertia == pytest.approx(theirs.inertia_, rel=1e-4)
    assert adjusted_rand_score(made.labels, truth) > 0.98
    assert list(made.sizes) == sorted(made.sizes, reverse=True)


def test_minibatches_come_close_to_all_rows_at_once(blobs):
    x, truth = blobs
    made = minibatch(reader(x), np.arange(len(x)), 5, n_init=3, rng=np.random.default_rng(0))
    assert adjusted_rand_score(made.labels, truth) > 0.98
    assert made.inertia < 1.02 * kmeans(x, 5, n_init=3, rng=np.random.default_rng(0)).inertia
    by_hand = sum(((x[made.labels == c] - x[made.labels == c].mean(0)) ** 2).sum() for c in range(5))
    assert made.inertia == pytest.approx(by_hand, rel=0.02)


def test_nothing_is_loaded_whole(blobs, monkeypatch):
    x, truth = blobs
    monkeypatch.setattr(clustering, "VALUES_HELD", 12 * 256)
    monkeypatch.setattr(clustering, "_START_ROWS", 512)
    read = reader(x)
    made = minibatch(read, np.arange(len(x)), 5, n_init=3, rng=np.random.default_rng(0))
    assert adjusted_rand_score(made.labels, truth) > 0.98
    sizes = [index.stop - index.start if isinstance(index, slice) else len(index) for index in read.asked]
    assert max(sizes) <= 256
    assert all(isinstance(index, slice) for index in read.asked)  # runs of rows are contiguous reads


def test_some_rows_only(blobs):
    x, truth = blobs
    rows = np.flatnonzero(np.arange(len(x)) % 3 > 0)
    x = x.copy()
    x[np.arange(len(x)) % 3 == 0] = np.nan
    made = minibatch(reader(x), rows, 5, n_init=3, rng=np.random.default_rng(0))
    assert made.labels.shape == rows.shape
    assert adjusted_rand_score(made.labels, truth[rows]) > 0.98


def test_scaling_is_that_of_scaled_rows(blobs):
    x, _ = blobs
    scaler = fit_scaler(x)
    streamed = minibatch(reader(x), np.arange(len(x)), 5, n_init=2, rng=np.random.default_rng(1), scaler=scaler)
    scaled = minibatch(reader(scaler.apply(x)), np.arange(len(x)), 5, n_init=2, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(streamed.labels, scaled.labels)


def test_the_same_seed_gives_the_same_clusters(blobs):
    x, _ = blobs
    one, two = (minibatch(reader(x), np.arange(len(x)), 6, n_init=1, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.labels, two.labels)


def test_every_row_is_drawn_once():
    rows = np.arange(5, 1003)
    groups = list(clustering._draws(rows, run=16, rows_held=100, rng=np.random.default_rng(0)))
    drawn = np.concatenate([run for group in groups for run in group])
    np.testing.assert_array_equal(np.sort(drawn), rows)
    assert max(sum(map(len, group)) for group in groups) <= 100
