"""What is to be predicted or compared: a column of `obs` as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core.checks import known, listed
from kronos_sc._core.log import info
from kronos_sc._core.missing import class_column
from kronos_sc._core.positions import positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


@dataclass(frozen=True)
class ClassColumn:
    """A column of `obs` as classes.

    Parameters
    ----------
    name
        The column.
    codes
        Class of each unit (int64); -1 where the value is missing.
    classes
        Names of the classes, in the order of the categories; only those that occur.
    """

    name: str
    codes: np.ndarray
    classes: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """Which units have a value (bool)."""
        return self.codes >= 0

    @property
    def counts(self) -> np.ndarray:
        """Units per class (int64)."""
        return np.bincount(self.codes[self.labelled], minlength=len(self.classes))

    def keep(self, mask: np.ndarray) -> ClassColumn:
        """Return the target with units outside `mask` missing; the classes stay."""
        return ClassColumn(self.name, np.where(mask, self.codes, -1), self.classes)


def require_anndata(adata: Any) -> None:
    """Raise a TypeError unless `adata` is an AnnData."""
    if not (hasattr(adata, "obs") and hasattr(adata, "obsm")):
        hint = ""
        if hasattr(adata, "tables"):
            first = next(iter(adata.tables), "table")
            hint = f" It has the tables {listed(adata.tables)}; pass one, as in sdata['{first}']."
        msg = f"Expected an AnnData, got {type(adata).__name__}.{hint}"
        raise TypeError(msg)


def column(adata: AnnData, name: str, *, argument: str) -> pd.Series:
    """Return a column of `obs`, missing where a file made text of it.

    The error names the argument that chooses another.
    """
    known(name, list(adata.obs.columns), what="column in obs", fix=f"Name another column with {argument}=.")
    return class_column(adata.obs[name], place=f"adata.obs[{name!r}]")


def target(adata: AnnData, name: str, *, argument: str = "target", least: int = 2) -> ClassColumn:
    """Return a column as a target.

    Units without a value are missing and counted, and fewer than `least` classes are an error.
    """
    classes = classes_of(column(adata, name, argument=argument), name=name)
    if missing := int((~classes.labelled).sum()):
        info(f"{missing:,} of {adata.n_obs:,} units have no {name!r} and are left out")
    if len(classes.classes) < least:
        msg = (
            f"obs[{name!r}] has {len(classes.classes)} classes ({listed(classes.classes)}); "
            f"at least {least} are needed. Name another column with {argument}=."
        )
        raise ValueError(msg)
    return classes


def classes_of(values: pd.Series | Sequence[Any], *, name: str = "") -> ClassColumn:
    """Return values as a target: categories keep their order, anything else is sorted.

    Missing values and empty text are -1.
    """
    series = pd.Series(values)
    if isinstance(series.dtype, pd.CategoricalDtype):
        kept = series.cat.remove_unused_categories().cat.categories
    else:
        kept = pd.Index(sorted(series.dropna().unique(), key=lambda value: (str(type(value)), value)))
    kept = [value for value in kept if str(value) != ""]
    return ClassColumn(name, positions(series, kept), np.array([str(value) for value in kept], dtype=object))
