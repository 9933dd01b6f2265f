"""A table and what a store makes of it give the same results: missing classes that came back as text are missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import kronos_sc as ks
from kronos_sc.pl._points import layer
from kronos_sc.pl._values import values

PLAIN = ["linear_probe", "knn_probe", "retrieval_scores", "enrichment"]


@pytest.fixture(scope="module")
def before() -> AnnData:
    """240 units in 8 donors and 4 folds.

    A third has no type, some no donor, some no fold, as pandas reads them from a CSV file.
    """
    rng = np.random.default_rng(0)
    n = 240
    kind = rng.integers(0, 3, n)
    columns = {
        "kind": np.array(["T", "B", "Tumour"], object)[kind],
        "donor": np.array([f"d{i}" for i in range(8)], object)[np.arange(n) % 8],
        "fold": np.array([f"f{i}" for i in range(4)], object)[np.arange(n) // 60],
        "arm": np.array(["a", "b"], object)[np.arange(n) % 8 // 4],
    }
    for name, share in {"kind": 0.3, "donor": 0.1, "fold": 0.1, "arm": 0.0}.items():
        columns[name][rng.random(n) < share] = np.nan
    table = AnnData(np.zeros((n, 1), np.float32), obs=pd.DataFrame(columns, index=[f"u{i}" for i in range(n)]))
    x = rng.normal(size=(n, 4)).astype(np.float32)
    x[np.arange(n), kind] += 3
    table.obsm["X_e"] = x
    table.obsm["spatial"] = rng.random((n, 2)) * 100
    return table


@pytest.fixture(scope="module")
def after(before, tmp_path_factory) -> AnnData:
    """What comes back from a SpatialData store."""
    import spatialdata

    path = tmp_path_factory.mktemp("store") / "a.zarr"
    spatialdata.SpatialData(tables={"table": before.copy()}).write(path)
    return spatialdata.read_zarr(path)["table"]


def as_text(before: AnnData, missing: object) -> AnnData:
    """What Python makes of missing values."""
    out = before.copy()
    for name in out.obs:
        out.obs[name] = before.obs[name].astype(object).where(before.obs[name].notna(), str(missing)).astype("category")
    return out


def call(verb: str, adata: AnnData) -> pd.DataFrame | pd.Series:
    if verb == "linear_probe":
        ks.tl.linear_probe(adata, "kind", use_rep="X_e", C=[1.0], fold_key="fold", key_added="r")
    elif verb == "knn_probe":
        ks.tl.knn_probe(adata, "kind", use_rep="X_e", fold_key="fold", key_added="r")
    elif verb == "retrieval_scores":
        ks.tl.retrieval_scores(adata, "kind", use_rep="X_e", fold_key="fold", k=3, key_added="r")
    elif verb == "enrichment":
        ks.tl.enrichment(adata, "kind", group_key="arm", case_key="donor", key_added="r")
    elif verb == "annotate":
        ks.tl.annotate(adata, "kind", use_rep="X_e", C=1.0)
        return adata.obs["kind_annotated"].astype(str)
    elif verb == "spatial_folds":
        ks.pp.spatial_folds(adata, n_folds=2, groupby="donor", stratify="kind", key_added="r")
        return adata.obs["r"].astype(str)
    elif verb == "aggregate":
        cases = ks.tl.aggregate(adata, "donor", how="composition", cluster_key="kind", n_components=None)
        return cases.to_df()
    return ks.get.result(adata, "r")


@pytest.mark.filterwarnings("ignore:.*are taken as missing")
@pytest.mark.parametrize("verb", [*PLAIN, "annotate", "spatial_folds", "aggregate"])
def test_a_store_changes_no_result(before, after, verb) -> None:
    here = call(verb, before.copy())
    # pandas 3 has a type for text with missing values, which files keep; before, they come back as text
    came_back = after.obs["kind"].isna() | after.obs["kind"].isin(["nan"])
    assert came_back.to_numpy().tolist() == before.obs["kind"].isna().to_numpy().tolist()
    there = call(verb, after.copy())
    (pd.testing.assert_series_equal if isinstance(here, pd.Series) else pd.testing.assert_frame_equal)(here, there)


@pytest.mark.filterwarnings("ignore:.*are taken as missing")
@pytest.mark.parametrize("missing", [None, pd.NA])
def test_nor_does_any_text_of_a_missing_value(before, missing) -> None:
    text = as_text(before, missing)
    with pytest.warns(UserWarning, match=f"hold the text {str(missing)!r}, as files have it where a value was missing"):
        there = call("enrichment", text)
    pd.testing.assert_frame_equal(call("enrichment", before.copy()), there)


def test_no_warning_where_nothing_is_text(before, recwarn) -> None:
    call("enrichment", before.copy())
    assert not [one for one in recwarn if "taken as missing" in str(one.message)]


@pytest.mark.filterwarnings("ignore:.*are taken as missing")
def test_figures_show_them_as_missing(before) -> None:
    text = as_text(before, np.nan)
    text.uns["kind_colors"] = ["red", "green", "blue", "black"]  # of B, T, Tumour, nan
    shown = layer(text, "kind", values(text, "kind"), None)
    assert shown.colors == {"B": "red", "T": "green", "Tumour": "blue"}
    assert np.isnan(shown.values).sum() == before.obs["kind"].isna().sum()
