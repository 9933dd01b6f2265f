"""Columns of classes as they were before a file turned what is missing into text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from kronos_sc._core.checks import listed
from kronos_sc._core.warn import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

MISSING_TEXT = ("nan", "NaN", "None", "<NA>", "NaT")
"""What numpy, pandas and Python write for a missing value, letter for letter; "none" or "NA" may be names."""


def is_missing_text(value: object) -> bool:
    """Whether a value is text that stands for a missing one."""
    return isinstance(value, str) and (value in MISSING_TEXT or value == "")


def class_column(column: pd.Series, *, place: str) -> pd.Series:
    """Return a column of classes or groups in which text that stands for a missing value is missing; a warning says so.

    SpatialData and AnnData write a column that mixes text and missing values as text. Columns of numbers and truth
    values are returned as they are, empty text is missing without a word, and categories that no row has stay.

    Parameters
    ----------
    column
        Of `obs`, or of shapes.
    place
        The column as code, for the line that repairs it: `adata.obs['by_hand']`.
    """
    texts = _texts(column)
    if not texts:
        return column
    if loud := [text for text in texts if text]:
        count = int(column.isin(loud).sum())
        categories = f"{place}.astype('category').cat"
        warn(
            f"{count:,} of {len(column):,} rows of {place} hold the text {listed(loud)}, as files have it where a "
            f"value was missing; they are taken as missing. Repair the column with {place} = "
            f"{categories}.remove_categories({loud!r}). If it is the name of a class, rename it: {place} = "
            f"{categories}.rename_categories({{{loud[0]!r}: 'other'}})."
        )
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.remove_categories(texts)
    return column.where(~column.isin(texts), None)


def _texts(column: pd.Series) -> Sequence[str]:
    """Return the texts in a column that stand for a missing value, each once."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        candidates = [text for text in column.cat.categories if is_missing_text(text)]
    elif pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        candidates = []
    else:
        candidates = [*MISSING_TEXT, ""]
    if not candidates or not column.isin(candidates).any():
        return []
    return [text for text in candidates if column.isin([text]).any()]
