"""What a colour key means: a column of `obs`, a variable, or one feature of an embedding."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core.checks import listed, near
from kronos_sc._core.features import feature_frame
from kronos_sc._core.missing import class_column
from kronos_sc._core.representation import Representation

if TYPE_CHECKING:
    from anndata import AnnData

_FEATURE = re.compile(r"(?P<slot>.+)\[(?P<column>.+)\]")


def values(table: AnnData, key: str) -> pd.Series:
    """Return the values of one colour key, categorical or float64, one per row.

    Looked for in this order: column of `obs`, name of a variable (values of `X`), `"X_kronos[12]"` for column 12 of
    `obsm["X_kronos"]`; `"X_mean_marker_plus[CD3_mean]"` names it as `get.feature_names` does.
    """
    if key in table.obs:
        return _clean(class_column(table.obs[key], place=f"adata.obs[{key!r}]"))
    if key in table.var_names:
        column = _dense(table[:, key].X)
        return pd.Series(column.ravel().astype(float), index=table.obs_names)
    match = _FEATURE.fullmatch(key)
    if match and match["slot"] in table.obsm:
        return pd.Series(_feature(table, match["slot"], match["column"]), index=table.obs_names)
    options = [*table.obs.columns, *table.var_names]
    close = near(key, options)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    msg = (
        f"There is no column {key!r} in obs and no variable of that name; obs has: "
        f"{listed(table.obs.columns, most=30)}.{hint} A feature of an embedding is written 'X_kronos[0]'; obsm has: "
        f"{listed(table.obsm)}."
    )
    raise KeyError(msg)


def _clean(column: pd.Series) -> pd.Series:
    """Return a column as categorical or as floats; truth values and text are categories."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return column.astype("category")
    return column.astype(float)


def _feature(table: AnnData, name: str, column: str) -> np.ndarray:
    """Return one column of an embedding, by its name or number."""
    slot = table.obsm[name]
    if isinstance(slot, pd.DataFrame) and column in slot.columns:
        return slot[column].to_numpy(float)
    # a number, or a name that the embedding's own record gives to a column
    width = slot.shape[1]
    if not (column.lstrip("-").isdigit() and -width <= int(column) < width):
        names = list(feature_frame(table, Representation(name, slot)).index)
        if column not in names:
            close = near(column, names)
            hint = f" Did you mean {name + f'[{close[0]}]'!r}?" if close else ""
            msg = (
                f"obsm[{name!r}] has {width} features, so {column!r} is none of them. "
                f"Write {name + '[0]'!r} to {name + f'[{width - 1}]'!r}, or a name: {listed(names, most=3)}.{hint}"
            )
            raise KeyError(msg)
        column = str(names.index(column))
    if isinstance(slot, pd.DataFrame):
        slot = slot.to_numpy()
    return np.asarray(_dense(slot[:, int(column)]), float).ravel()


def _dense(matrix: Any) -> np.ndarray:
    """Return a sparse matrix as an array, and an array as it is."""
    return matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
