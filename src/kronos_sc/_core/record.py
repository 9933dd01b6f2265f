"""What `uns` may hold: values that survive a round trip through h5ad and Zarr unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from kronos_sc._core.keys import storable
from kronos_sc._core.lazy import computed, is_lazy

_PANEL = ("channel", "marker", "id", "mean", "std", "how")


def is_embedding(entry: Any) -> bool:
    """Whether an entry of `uns` is the record of an embedding that `tl.embed` made."""
    return isinstance(entry, Mapping) and set(entry) >= {"model", "panel", "params"}


def freeze(value: Any) -> Any:
    """Return a value in a form that survives writing: scalars, arrays and dicts of them.

    Frames become dicts of columns.

    Sequences become arrays; None becomes the empty string, which every reader understands the same way.
    """
    if value is None:
        return ""
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, pd.DataFrame):
        return {str(column): _column(value[column]) for column in value.columns}
    if isinstance(value, Mapping):
        return {name: freeze(item) for name, item in zip(storable(value), value.values(), strict=True)}
    if isinstance(value, np.ndarray | list | tuple | range | pd.Series | pd.Index):
        array = np.asarray(value)
        if array.size and array.dtype.kind in "iufb":
            return array
        if all(isinstance(item, str) for item in array.ravel().tolist()):
            return array.astype(object)
    msg = f"A record cannot hold {type(value).__name__}; use text, numbers, arrays or dicts of them."
    raise TypeError(msg)


def _column(column: pd.Series) -> np.ndarray:
    values = column.to_numpy()
    if values.dtype.kind in "iufb":
        return values
    return np.asarray([str(v) for v in values], dtype=object)


def thaw(value: Any) -> Any:
    """Return a record as plain values: dicts of equally long arrays with a `channel` column become frames again."""
    if isinstance(value, Mapping):
        if "channel" in value and "marker" in value:
            # files sort keys by name; a panel begins with its channels
            first = [key for key in _PANEL if key in value]
            others = [key for key in value if key not in _PANEL]
            return pd.DataFrame({key: _plain(value[key]) for key in (*first, *others)})
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return _plain(value)


def _plain(value: Any) -> Any:
    """Return text arrays with one dtype, whichever file format and reader they came through."""
    if is_lazy(value):  # anndata's lazy reader
        value = computed(value)
    if isinstance(value, np.ndarray) and value.dtype.kind not in "iufb":
        return np.asarray([str(v) for v in value], dtype=object)
    return value
