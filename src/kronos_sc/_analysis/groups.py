"""What functions that work image by image check first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc._core.target import ClassColumn, classes_of, column
from kronos_sc._core.warn import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from kronos_sc._core.representation import Representation


def groups_of(adata: AnnData, groupby: str | None) -> ClassColumn:
    """Return the image of each unit; one called "all" without a column."""
    if groupby is None:
        return ClassColumn("", np.zeros(adata.n_obs, np.int64), np.array(["all"], object))
    groups = classes_of(column(adata, groupby, argument="groupby"), name=groupby)
    if lost := int((~groups.labelled).sum()):
        info(f"{lost:,} of {adata.n_obs:,} units have no {groupby!r} and are left out")
    return groups


def usable_in(reps: Sequence[Representation], labels: ClassColumn) -> np.ndarray:
    """Return which units have numbers in every representation (bool).

    Those with a class that have not are counted in a warning.
    """
    usable = np.logical_and.reduce([rep.finite for rep in reps])
    if lost := int((labels.labelled & ~usable).sum()):
        warn(f"{lost:,} units have no finite features in {listed(rep.name for rep in reps)} and are left out.")
    return usable
