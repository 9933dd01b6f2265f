"""Text that a file wrote for missing values."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from kronos_sc._core.colors import stored_colors
from kronos_sc._core.missing import class_column

PLACE = "adata.obs['by_hand']"


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA, pd.NaT, float("nan")])
@pytest.mark.parametrize("kind", ["object", "category", "string"])
def test_what_str_makes_of_a_missing_value_is_missing(missing, kind) -> None:
    column = pd.Series(["T", str(missing), "B"]).astype(kind)
    with pytest.warns(
        UserWarning, match=rf"1 of 3 rows of {PLACE.replace('[', chr(92) + '[')}.* hold the text {str(missing)!r}"
    ):
        found = class_column(column, place=PLACE)
    assert found.isna().tolist() == [False, True, False]
    assert found.dropna().tolist() == ["T", "B"]
    if kind == "category":
        assert found.cat.categories.tolist() == ["B", "T"]


@pytest.mark.row(
    "missing classes, groups or folds that a store turned into text (`nan`, `NaN`, `None`, `<NA>`, `NaT`, letter for "
    "letter)"
)
def test_the_repair_and_the_way_round_it_do_what_the_warning_says() -> None:
    from anndata import AnnData

    obs = pd.DataFrame({"by_hand": ["T", "None", "B"]}, index=list("abc"))
    adata = AnnData(obs=obs)
    with pytest.warns(UserWarning, match="taken as missing") as warned:
        class_column(adata.obs["by_hand"], place=PLACE)
    said = str(warned[0].message)
    repair = said.split("Repair the column with ")[1].split(". If it is")[0]
    rename = said.split("rename it: ")[1].rstrip(".")
    for line, values in ((repair, ["T", None, "B"]), (rename, ["T", "other", "B"])):
        copy = adata.copy()
        exec(line, {"adata": copy})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = class_column(copy.obs["by_hand"], place=PLACE)
        assert found.astype(object).where(found.notna(), None).tolist() == values


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["none", "NA", "nano", "Nan"]),
        pd.Series([1.0, np.nan]),
        pd.Series([True, False]),
        pd.Series(["a", np.nan], dtype="category"),
        pd.Series(["a", "b"], dtype=pd.CategoricalDtype(["a", "b", "nan"])),
        pd.Series(pd.to_datetime(["2026-01-01", None])),
    ],
)
def test_other_columns_are_left_alone(column) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert class_column(column, place=PLACE) is column


def test_empty_text_is_missing_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert class_column(pd.Series(["", "a"]), place=PLACE).isna().tolist() == [True, False]


def test_colours_stay_with_their_class() -> None:
    """Of a column whose categories go in part: those that are missing, or have no unit."""
    from anndata import AnnData

    table = AnnData(
        obs=pd.DataFrame(
            {"kind": pd.Categorical(["x", "nan", "z"], categories=["nan", "x", "y", "z"])}, index=list("abc")
        )
    )
    table.uns["kind_colors"] = ["red", "green", "blue", "grey"]
    assert stored_colors(table, "kind", ["x", "z"]) == {"x": "green", "z": "grey"}
    table.uns["kind_colors"] = ["green", "grey"]
    assert stored_colors(table, "kind", ["x", "z"]) == {"x": "green", "z": "grey"}
    assert stored_colors(table, "kind", ["x", "y", "z"]) == {}
    assert stored_colors(table, "other", ["x"]) == {}
