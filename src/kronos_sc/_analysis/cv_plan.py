"""What every cross-validated probe checks first: target, folds, representations, and who trains and who is tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.groups import usable_in
from kronos_sc._core.checks import listed
from kronos_sc._core.representation import Representation, representations
from kronos_sc._core.target import ClassColumn, classes_of, column, target
from kronos_sc._core.warn import warn
from kronos_sc._methods.splits import Split, cross_validation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


@dataclass(frozen=True)
class CVPlan:
    """A checked cross-validation.

    Parameters
    ----------
    target
        Classes of the units that take part; -1 for all others.
    folds
        Fold of each unit (int64), -1 for none.
    splits
        Training, validation and test rows per fold.
    reps
        Representations to compare.
    usable
        Units whose features are numbers in every representation (bool).
    """

    target: ClassColumn
    folds: np.ndarray
    splits: list[Split]
    reps: list[Representation]
    usable: np.ndarray

    @property
    def tested(self) -> np.ndarray:
        """Rows that some fold tests, fold by fold."""
        return np.concatenate([split.test for split in self.splits])


def plan(
    adata: AnnData,
    name: str,
    use_rep: str | Sequence[str] | None,
    fold_key: str,
    rng: np.random.Generator,
    order_key: str | None = None,
) -> CVPlan:
    """Check target, folds and representations; draw who trains and who validates."""
    labels = target(adata, name)
    folds = folds_of(adata, fold_key)
    reps = representations(adata, use_rep)
    usable = usable_in(reps, labels)
    kept = labels.keep(usable & (folds.codes >= 0))
    order = _order(adata, order_key, kept) if order_key else rng.permutation(adata.n_obs)
    splits = cross_validation(kept.codes, folds.codes, folds.classes, order)
    _check_classes(kept, splits, fold_key)
    return CVPlan(kept, folds.codes, splits, reps, usable)


def folds_of(adata: AnnData, fold_key: str) -> ClassColumn:
    """Return the folds of a column of `obs`; at least two."""
    if fold_key not in adata.obs:
        msg = (
            f"There is no column {fold_key!r} in obs; there are: {listed(adata.obs.columns)}. "
            "Make folds with pp.spatial_folds(adata), or name a column with fold_key=."
        )
        raise KeyError(msg)
    folds = classes_of(column(adata, fold_key, argument="fold_key"), name=fold_key)
    if len(folds.classes) < 2:
        msg = (
            f"obs[{fold_key!r}] has {len(folds.classes)} folds ({listed(folds.classes)}); at least 2 are needed. Make "
            "them with pp.spatial_folds(adata)."
        )
        raise ValueError(msg)
    return folds


def _order(adata: AnnData, key: str, labels: ClassColumn) -> np.ndarray:
    """Return the rank of each unit, of a column of numbers from 0 up; units without a class need none."""
    values = column(adata, key, argument="order_key")
    fix = (
        f"Make an order with pp.nested_subsets(adata, {labels.name!r}), and pass order_key={labels.name + '_order'!r}."
    )
    if not pd.api.types.is_numeric_dtype(values):
        msg = f"obs[{key!r}] holds text, not ranks. {fix}"
        raise ValueError(msg)
    order = values.to_numpy(float, na_value=np.nan)
    if lacking := int((labels.labelled & ~(order >= 0)).sum()):
        msg = f"{lacking:,} units with a {labels.name!r} have no rank in obs[{key!r}]. {fix}"
        raise ValueError(msg)
    return order


def _check_classes(labels: ClassColumn, splits: list[Split], fold_key: str) -> None:
    """Raise an error for classes that some fold cannot be trained on; warn where a fold does not test one."""
    if not len(labels.classes) or not labels.labelled.any():
        msg = f"No unit has {labels.name!r}, a fold and features. Look at obs[[{labels.name!r}, {fold_key!r}]]."
        raise ValueError(msg)
    for split in splits:
        tested = np.unique(labels.codes[split.test])
        trained = np.bincount(labels.codes[split.train], minlength=len(labels.classes))
        validated = np.bincount(labels.codes[split.validation], minlength=len(labels.classes))
        if weak := [str(labels.classes[c]) for c in tested if trained[c] == 0 or validated[c] == 0]:
            counts = dict(zip(labels.classes, labels.counts, strict=True))
            sizes = ", ".join(f"{name!r}: {counts[name]}" for name in weak[:10])
            msg = (
                f"Fold {split.name!r} tests classes that have fewer than 2 units in the other folds ({sizes} units in "
                "all), so they cannot be learnt. "
                f"Merge them, set obs[{labels.name!r}] to missing there, or share classes out: "
                f"pp.spatial_folds(adata, block_size=..., stratify={labels.name!r})."
            )
            raise ValueError(msg)
        if not len(split.test):
            msg = (
                f"Fold {split.name!r} of {fold_key!r} has no unit with {labels.name!r}. "
                "Leave the fold out (set it to missing), or make other folds with pp.spatial_folds(adata)."
            )
            raise ValueError(msg)
    some = [
        s.name for s in splits if len(np.unique(labels.codes[s.test])) < len(np.unique(labels.codes[labels.labelled]))
    ]
    if some:
        warn(
            f"Folds {listed(some)} of {fold_key!r} hold not every class of {labels.name!r}; their scores are means "
            "over the classes they hold."
        )


def described(what: str, plan: CVPlan, target_name: str) -> str:
    """Return what is about to be computed, as a line of log says it."""
    names = ", ".join(f"{rep.label} ({rep.width:,} features)" for rep in plan.reps)
    return (
        f"{what} of {target_name!r}: {plan.target.labelled.sum():,} units, {len(plan.target.classes)} classes, "
        f"{len(plan.splits)} folds; {names}"
    )
