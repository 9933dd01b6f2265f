"""Who trains, who validates, who is tested."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_sc._methods import splits as splits_module
from kronos_sc._methods.splits import cross_validation, first_of_each


@pytest.fixture(scope="module")
def splits():
    rng = np.random.default_rng(0)
    codes = rng.integers(-1, 3, 600)
    folds = rng.integers(-1, 4, 600)
    return codes, folds, cross_validation(codes, folds, np.array(list("abcd")), rng.permutation(600))


def test_sets_do_not_meet(splits) -> None:
    codes, folds, every = splits
    for number, split in enumerate(every):
        parts = [set(split.train), set(split.validation), set(split.test)]
        assert sum(map(len, parts)) == len(set.union(*parts))
        assert parts[2] == set(np.flatnonzero((folds == number) & (codes >= 0)))
        assert parts[0] | parts[1] == set(np.flatnonzero((folds >= 0) & (folds != number) & (codes >= 0)))


def test_validation_is_a_fifth_of_each_class(splits) -> None:
    codes, _, every = splits
    for split in every:
        held = np.bincount(codes[split.validation])
        trained = np.bincount(codes[split.train])
        np.testing.assert_allclose(held / (held + trained), 0.2, atol=0.01)


def test_guard_band_and_missing_classes_take_no_part(splits) -> None:
    codes, folds, every = splits
    used = np.concatenate([np.concatenate([s.train, s.validation, s.test]) for s in every])
    assert (folds[used] >= 0).all()
    assert (codes[used] >= 0).all()


def test_smaller_training_sets_are_nested(splits) -> None:
    codes, _, every = splits
    few, more = (set(first_of_each(every[0].train, codes, n)) for n in (5, 12))
    assert few < more
    assert np.bincount(codes[list(few)]).tolist() == [5, 5, 5]


def test_a_hand_made_fold() -> None:
    codes = np.array([0, 0, 0, 0, 0, 1, 1, 0])
    folds = np.array([0, 0, 0, 0, 0, 0, 0, 1])
    split = cross_validation(codes, folds, np.array(["x", "y"]), np.arange(8))[1]
    assert split.train.tolist() == [0, 1, 2, 3, 5]
    assert split.validation.tolist() == [4, 6]
    assert split.test.tolist() == [7]


@pytest.mark.parametrize("rank_within_class", [False, True])
def test_a_large_validation_set_is_cut_class_by_class(monkeypatch, rank_within_class: bool) -> None:
    """Whatever the order says: every class keeps its share of the cut, and one unit at least."""
    monkeypatch.setattr(splits_module, "MOST_VALIDATION", 100)
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], [3000, 990, 10])
    folds = np.tile([0, 1], 2000)
    order = (
        np.concatenate([rng.permutation(n) for n in (3000, 990, 10)]) if rank_within_class else rng.permutation(4000)
    )
    split = cross_validation(codes, folds, np.array(["a", "b"]), order)[0]
    assert np.bincount(codes[split.validation]).tolist() == [75, 25, 1]
    assert np.bincount(codes[split.train]).tolist() == [1200, 396, 4]
