"""Positions in a list of categories are the codes of pandas, without its warning of what it will refuse."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from kronos_sc._core.positions import positions
from kronos_sc._core.target import classes_of

VALUES = {
    "text": ["b", "c", None, "a", "b"],
    "categories": pd.Categorical(["b", "c", None, "a", "b"]),
    "numbers": [2, 1, 5, 2],
    "floats": [2.0, np.nan, 1.0],
    "truths": [True, False, True],
    "nothing": [],
}
CATEGORIES = {"numbers": [1, 2], "floats": [1.0, 2.0], "truths": [False, True]}


@pytest.mark.parametrize("kind", VALUES)
def test_they_are_the_codes_of_pandas(kind):
    values, categories = VALUES[kind], CATEGORIES.get(kind, ["a", "b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = positions(pd.Series(values), categories)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codes = pd.Categorical(values, categories=categories).codes
    assert found.dtype == np.int64
    assert found.tolist() == codes.tolist()


@pytest.mark.parametrize(
    "values", [["b", "", None, "a"], pd.Categorical(["b", "", None, "a"], categories=["b", "", "a"])]
)
def test_empty_text_is_no_class(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = classes_of(values)
    assert [None if code < 0 else found.classes[code] for code in found.codes] == ["b", None, None, "a"]
