"""Columns as classes."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from kronos_sc._core.target import classes_of, require_anndata, target


@pytest.mark.parametrize(
    ("values", "codes", "classes"),
    [
        (pd.Categorical(["b", "a", None], categories=["c", "b", "a"]), [0, 1, -1], ["b", "a"]),
        (["b", "a", None, ""], [1, 0, -1, -1], ["a", "b"]),
        ([3, 1, 3], [1, 0, 1], ["1", "3"]),
        ([10.0, np.nan, 9.0], [1, -1, 0], ["9.0", "10.0"]),
        ([True, False], [1, 0], ["False", "True"]),
        ([None, np.nan], [-1, -1], []),
    ],
)
def test_codes(values, codes, classes) -> None:
    found = classes_of(pd.Series(values))
    assert found.codes.tolist() == codes
    assert found.classes.tolist() == classes
    assert found.counts.sum() == found.labelled.sum()


def test_missing_units_are_counted(caplog) -> None:
    adata = anndata.AnnData(obs=pd.DataFrame({"kind": ["a", None, "b"]}, index=list("xyz")))
    with caplog.at_level("INFO", logger="kronos_sc"):
        assert target(adata, "kind").labelled.tolist() == [True, False, True]
    assert "1 of 3 units have no 'kind'" in caplog.text


def test_errors() -> None:
    adata = anndata.AnnData(obs=pd.DataFrame({"kind": ["a", "a"]}, index=list("xy")))
    with pytest.raises(ValueError, match="has 1 classes"):
        target(adata, "kind")
    with pytest.raises(KeyError, match="groupby="):
        target(adata, "kid", argument="groupby")
    with pytest.raises(TypeError, match="Expected an AnnData, got list"):
        require_anndata([])
