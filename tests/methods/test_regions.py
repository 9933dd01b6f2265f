"""Scores of regions and their intervals."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import roc_auc_score

from kronos_sc._methods import regions


def test_a_region_is_the_mean_of_its_tokens() -> None:
    proba = np.array([[0.2, 0.8], [0.4, 0.6], [1.0, 0.0]])
    found = regions.region_means(proba, np.array([2, 2, 0]), 3)
    assert_allclose(found[[0, 2]], [[1.0, 0.0], [0.3, 0.7]])
    assert np.isnan(found[1]).all()


def test_auroc_under_weights_is_that_of_the_regions_repeated() -> None:
    """Against scikit-learn on copies; scores with ties."""
    rng = np.random.default_rng(0)
    positive = rng.random(30) < 0.4
    score = rng.integers(0, 8, 30) / 8
    weights = rng.integers(0, 4, (5, 30))
    want = [roc_auc_score(np.repeat(positive, w), np.repeat(score, w)) for w in weights]
    assert_allclose(regions.Ranked(positive, score).area(weights), want)


def test_a_draw_without_one_class_has_no_area() -> None:
    positive = np.array([True, False])
    assert np.isnan(regions.Ranked(positive, np.array([0.1, 0.2])).area(np.array([[1, 0], [0, 1]]))).all()


def test_the_area_is_the_count_of_ordered_pairs() -> None:
    """Every pair in turn, ties a half: to the last bit, because these are sums of whole numbers and halves."""
    rng = np.random.default_rng(3)
    positive = rng.random(200) < 0.3
    score = rng.integers(0, 40, 200) / 7
    weights = rng.integers(0, 5, (20, 200))
    pos = score[positive, None]
    neg = score[~positive]
    pairs = (pos > neg) + 0.5 * (pos == neg)
    w_pos = weights[:, positive].astype(float)
    w_neg = weights[:, ~positive].astype(float)
    want = ((w_pos @ pairs) * w_neg).sum(axis=1) / (w_pos.sum(axis=1) * w_neg.sum(axis=1))
    assert_array_equal(regions.Ranked(positive, score).area(weights), want)


def test_draws_made_in_parts_are_the_same(monkeypatch) -> None:
    rng = np.random.default_rng(2)
    true = rng.integers(0, 3, 60)
    groups = rng.integers(0, 12, 60)
    proba = rng.dirichlet(np.ones(3), 60)
    row, table = regions.scores(true, proba, groups, np.random.default_rng(0))
    monkeypatch.setattr(regions, "_AT_ONCE", 60 * 7)
    again, parts = regions.scores(true, proba, groups, np.random.default_rng(0))
    assert row == again
    assert table.equals(parts)
    assert next(regions.drawn_weights(groups, rng)).shape == (7, 60)


def test_groups_are_drawn_whole() -> None:
    groups = np.array([7, 7, 3, 9, 3])
    weights = np.concatenate(list(regions.drawn_weights(groups, np.random.default_rng(0), draws=50)))
    assert_array_equal(weights[:, 0], weights[:, 1])
    assert_array_equal(weights[:, 2], weights[:, 4])
    assert_array_equal(weights[:, [0, 2, 3]].sum(axis=1), 3)
    assert len(np.unique(weights[:, 0])) > 1


def test_the_interval_holds_the_area_and_narrows_with_more_groups() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for n in (40, 640):
        true = np.arange(n) % 2
        p = np.clip(0.5 + 0.2 * (2 * true - 1) + 0.3 * rng.normal(size=n), 0, 1)
        row, table = regions.scores(true, np.stack([1 - p, p], axis=1), np.arange(n), np.random.default_rng(0))
        assert_allclose(row["auroc"], roc_auc_score(true, p))
        assert row["auroc_low"] < row["auroc"] < row["auroc_high"]
        assert_allclose(table["auroc"], row["auroc"])
        widths.append(row["auroc_high"] - row["auroc_low"])
    assert widths[1] < widths[0] / 2


def test_few_groups_have_no_interval_and_one_class_no_area() -> None:
    rng = np.random.default_rng(0)
    true = np.arange(60) % 2
    p = rng.random(60)
    for count, there in ((1, False), (4, False), (5, True)):
        row, table = regions.scores(true, np.stack([1 - p, p], axis=1), np.arange(60) // 2 % count, rng)
        assert row["n_groups"] == count
        assert_allclose(row["auroc"], roc_auc_score(true, p))
        assert np.isfinite([row["auroc_low"], row["auroc_high"]]).all() == there
        assert np.isfinite(table[["auroc_low", "auroc_high"]]).all(axis=None) == there
    proba = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    row, table = regions.scores(np.array([0, 0, 0]), proba, np.arange(3), np.random.default_rng(0))
    assert np.isnan(row["auroc"])
    assert_allclose(row["balanced_accuracy"], 2 / 3)
    assert table["n_regions"].tolist() == [3]
