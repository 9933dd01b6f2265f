"""Training, validation and test units of one fold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VALIDATION = 0.2
MOST_VALIDATION = 20_000  # units; more would only make the search slower


@dataclass(frozen=True)
class Split:
    """Row numbers of one fold.

    Parameters
    ----------
    name
        The fold that is tested.
    train
        By class in a random order, the same order whatever the number per class: the first n of each class are nested.
    validation, test
        Sorted.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def cross_validation(codes: np.ndarray, folds: np.ndarray, names: np.ndarray, order: np.ndarray) -> list[Split]:
    """Return one split per fold.

    The fold is the test set; the others go 80/20, class by class, to training and validation. `codes` are classes (−1
    for units that do not take part), `folds` fold numbers (−1 for none), `order` a random order of all units that
    decides who goes where.
    """
    return [_split(str(name), codes, (folds >= 0) & (folds != i), folds == i, order) for i, name in enumerate(names)]


def _split(name: str, codes: np.ndarray, others: np.ndarray, tested: np.ndarray, order: np.ndarray) -> Split:
    train = []
    validation = []
    pool = np.flatnonzero(others & (codes >= 0))
    pool = pool[np.argsort(order[pool], kind="stable")]
    # every class keeps its share, and one unit at least
    share_kept = min(1.0, MOST_VALIDATION / max(VALIDATION * len(pool), 1))
    for c in np.unique(codes[pool]):
        members = pool[codes[pool] == c]
        n_held = max(1, round(VALIDATION * len(members))) if len(members) > 1 else 0
        # the end of the order is held out, so that the first n of every class train whatever n is
        train.append(members[: len(members) - n_held])
        validation.append(members[len(members) - n_held :][: max(1, round(share_kept * n_held))])
    test = np.flatnonzero(tested & (codes >= 0))
    return Split(name, _joined(train), np.sort(_joined(validation)), test)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.array([], np.int64)


def first_of_each(rows: np.ndarray, codes: np.ndarray, most: int | None) -> np.ndarray:
    """Return the first `most` rows of every class, in the order given; all if None."""
    if most is None:
        return rows
    keep = np.zeros(len(rows), bool)
    for c in np.unique(codes[rows]):
        keep[np.flatnonzero(codes[rows] == c)[:most]] = True
    return rows[keep]
