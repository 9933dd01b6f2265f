"""Dealing groups of units to folds; arrays in, arrays out."""

from __future__ import annotations

import warnings

import numpy as np


def deal(counts: np.ndarray, n_folds: int, rng: np.random.Generator, *, largest_first: bool) -> np.ndarray:
    """Deal groups of `counts` units, each to the fold that holds the fewest units so far.

    Return a fold per group (int64).

    With `largest_first` the folds come out as even as this can make them, and chance decides between equals only;
    otherwise the order is random, and folds differ by at most the largest group.
    """
    order = rng.permutation(len(counts))
    if largest_first:
        order = order[np.argsort(-counts[order], kind="stable")]
    fold = np.empty(len(counts), np.int64)
    n_units = np.zeros(n_folds, np.int64)
    for group in order:
        fold[group] = n_units.argmin()
        n_units[fold[group]] += counts[group]
    return fold


def deal_by_value(counts: np.ndarray, values: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal groups that have one value each (`values`, int): folds differ by at most one in their groups of any value.

    Groups of a value go out largest first, in rounds that give each fold one; within a round the largest goes to the
    fold with the fewest units. A last round that is not full goes to the folds with the fewest groups, then the fewest
    units.
    """
    fold = np.empty(len(counts), np.int64)
    n_units = np.zeros(n_folds, np.int64)
    n_groups = np.zeros(n_folds, np.int64)
    for value in np.unique(values):
        members = rng.permutation(np.flatnonzero(values == value))
        members = members[np.argsort(-counts[members], kind="stable")]
        for start in range(0, len(members), n_folds):
            # one group for each fold; the last round, if not full, for those with the fewest groups, then units
            in_round = members[start : start + n_folds]
            receivers = np.lexsort((n_units, n_groups))[: len(in_round)]
            receivers = receivers[np.argsort(n_units[receivers], kind="stable")]
            fold[in_round] = receivers
            n_units[receivers] += counts[in_round]
            n_groups[receivers] += 1
    return fold


def deal_mixed(groups: np.ndarray, values: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Deal groups whose units differ in value, by scikit-learn's `StratifiedGroupKFold`.

    Return a fold per group (int64).

    `groups` and `values` (units, int) number the group and the value of each unit.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    split = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    fold = np.empty(int(groups.max()) + 1, np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what a fold lacks is said by the caller, once folds are known
        for number, (_, held_out) in enumerate(split.split(values, values, groups)):
            fold[np.unique(groups[held_out])] = number
    return fold
