"""Cases of a table: which units belong to which, and what is true of a whole case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._analysis.groups import usable_in
from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc._core.target import ClassColumn, target
from kronos_sc._core.warn import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from kronos_sc._core.representation import Representation


@dataclass(frozen=True)
class Cases:
    """Cases with a label each.

    Parameters
    ----------
    names
        Of the cases (object).
    codes
        Case of each unit (int64); -1 for units that take no part.
    labels
        Class of each case (int64), never missing.
    classes
        Names of the classes; only those that occur.
    """

    names: np.ndarray
    codes: np.ndarray
    labels: np.ndarray
    classes: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Cases per class (int64)."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def described(self) -> str:
        """Number of cases, by class."""
        parts = ", ".join(f"{n} {name}" for name, n in zip(self.classes, self.counts, strict=True))
        return f"{len(self.names)} cases ({parts})"


def label_of_each(cases: ClassColumn, labels: ClassColumn) -> np.ndarray:
    """Return the label of each case (int64), -1 where no unit has one; a case with two labels is an error."""
    both = (cases.codes >= 0) & (labels.codes >= 0)
    seen = np.zeros((len(cases.classes), len(labels.classes)), bool)
    seen[cases.codes[both], labels.codes[both]] = True
    if (torn := np.flatnonzero(seen.sum(axis=1) > 1)).size:
        first = labels.classes[seen[torn[0]]]
        msg = (
            f"{len(torn)} of {len(cases.classes)} cases have several values of {labels.name!r} "
            f"({listed(cases.classes[torn], most=5)}; {str(cases.classes[torn[0]])!r} has {listed(first, most=5)}). A "
            f"case needs one: name another column, or another case_key (cases of obs[{cases.name!r}] were taken)."
        )
        raise ValueError(msg)
    return np.where(seen.any(axis=1), seen.argmax(axis=1), -1)


def labelled_cases(
    adata: AnnData, case_key: str, label_key: str, *, argument: str, reps: Sequence[Representation] = ()
) -> Cases:
    """Return the cases that have a label and usable units.

    The others are counted in the log, what is lost to NaN in warnings.

    Parameters
    ----------
    adata
        The table.
    case_key, label_key
        Columns of `obs`.
    argument
        Name of the argument that chose `label_key`.
    reps
        Representations in all of which a unit must have values to take part.
    """
    cases = target(adata, case_key, argument="case_key")
    labels = target(adata, label_key, argument=argument)
    label = label_of_each(cases, labels)
    if missing := int((label < 0).sum()):
        info(f"{missing} of {len(label)} cases have no {label_key!r} and are left out")
    # units without numbers in some representation take no part in any, so that all see the same cases
    codes = cases.codes.copy()
    if reps:
        codes[~usable_in(reps, cases.keep(np.append(label, -1)[codes] >= 0))] = -1
    has_units = np.bincount(codes[codes >= 0], minlength=len(label)) > 0
    if (lost := np.flatnonzero((label >= 0) & ~has_units)).size:
        warn(
            f"{len(lost)} of {len(label)} cases have no unit without NaN and are left out "
            f"({listed(cases.classes[lost], most=5)})."
        )
    return _kept(Cases(cases.classes, codes, label, labels.classes), (label >= 0) & has_units)


def _kept(cases: Cases, keep: np.ndarray) -> Cases:
    """Return some of the cases, numbered anew, and only the classes that they have."""
    number = np.append(np.where(keep, np.cumsum(keep) - 1, -1), -1)  # the last entry answers code -1
    present, labels = np.unique(cases.labels[keep], return_inverse=True)
    return Cases(cases.names[keep], number[cases.codes], labels.astype(np.int64), cases.classes[present])
