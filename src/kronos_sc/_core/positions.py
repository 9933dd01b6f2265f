"""Values as positions in a list of categories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence


def positions(values: Sequence[Any] | pd.Series, categories: Sequence[Any]) -> np.ndarray:
    """Return where each value stands in `categories` (int64), -1 for missing values and any other.

    `pd.Categorical(values, categories=…).codes` says the same, but of values outside the categories it will make an
    error (pandas 4).

    Examples
    --------
    >>> positions(["b", "c", None, "a"], ["a", "b"]).tolist()
    [1, -1, -1, 0]
    """
    known = pd.Index(list(categories), dtype=object)
    series = pd.Series(values)
    if not isinstance(series.dtype, pd.CategoricalDtype):
        return known.get_indexer(pd.Index(series, dtype=object)).astype(np.int64)
    # few categories, many values; code -1, a missing value, is the last entry
    places = known.get_indexer(pd.Index(series.cat.categories, dtype=object))
    return np.append(places, -1).astype(np.int64)[series.cat.codes]
