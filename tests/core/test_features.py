"""Names of the columns of a representation: one answer for every verb, from memory, a file or a store."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import kronos_sc as ks
from kronos_sc._core import results
from kronos_sc._core.record import freeze

STATISTICS = ["mean", "std", "q05", "q25", "q50", "q75", "q95"]
PANEL = ["DAPI", "CD3", "CD8"]


@pytest.fixture(scope="module")
def embedded(make):
    sdata = make((70, 90), channels=tuple(PANEL))
    ks.tl.embed(sdata, model="mean-marker+", features=("marker", "cls"))
    ks.tl.embed(sdata, model="mean-marker")
    return sdata


@pytest.fixture
def cells(embedded):
    table = embedded["table"].copy()
    table.obs["case"] = np.where(np.arange(table.n_obs) % 2, "odd", "even")
    return table


def test_every_kind_of_representation(cells):
    plus = ks.get.feature_names(cells, "X_mean_marker_plus")
    assert list(plus.index) == [f"{marker}_{statistic}" for marker in PANEL for statistic in STATISTICS]
    assert list(plus["marker"]) == list(np.repeat(PANEL, 7))
    assert list(plus["feature"]) == STATISTICS * 3
    assert list(ks.get.feature_names(cells, "X_mean_marker_plus_cls").index) == ["area", "eccentricity", "border"]
    assert list(ks.get.feature_names(cells, "X_mean_marker").index) == PANEL
    ks.tl.pca(cells, use_rep="X_mean_marker_plus", n_comps=2)  # its name begins like that of the embedding
    assert list(ks.get.feature_names(cells, "X_mean_marker_plus_pca").index) == [
        "mean_marker_plus_pca_0",
        "mean_marker_plus_pca_1",
    ]
    cells.obsm["mine"] = pd.DataFrame({"a": 1.0, "b": 2.0}, index=cells.obs_names)
    assert list(ks.get.feature_names(cells, "mine").index) == ["a", "b"]


def test_models_that_name_nothing_keep_numbers(cells):
    panel = pd.DataFrame({"channel": PANEL, "marker": PANEL, "id": [1, 2, 3]})
    cells.uns["kronos"] = freeze(
        {"model": {"name": "kronos"}, "panel": panel, "params": {"features": ["marker", "cls"]}}
    )
    cells.obsm["X_kronos"] = np.zeros((cells.n_obs, 6), np.float32)
    cells.obsm["X_kronos_cls"] = np.zeros((cells.n_obs, 2), np.float32)
    names = ks.get.feature_names(cells)
    assert list(names.index) == ["DAPI_0", "DAPI_1", "CD3_0", "CD3_1", "CD8_0", "CD8_1"]
    assert names["feature"].tolist() == [0, 1] * 3
    assert list(ks.get.feature_names(cells, "X_kronos_cls").index) == ["kronos_cls_0", "kronos_cls_1"]
    assert "feature" not in ks.get.embedding(cells).coords


def test_names_that_do_not_fit_the_width_are_not_used(cells):
    """A record may outlive what it describes, where someone cut columns out of `obsm`."""
    cells.obsm["X_mean_marker_plus"] = np.asarray(cells.obsm["X_mean_marker_plus"])[:, :9]
    assert list(ks.get.feature_names(cells, "X_mean_marker_plus").index[:4]) == ["DAPI_0", "DAPI_1", "DAPI_2", "CD3_0"]


def test_the_order_of_the_panel_does_not_matter(make):
    """The same image with its channels in another order: equal values under equal names."""
    image = (np.random.default_rng(0).random((3, 70, 90)) * 40_000).astype(np.uint16)
    frames = []
    for order in ([0, 1, 2], [2, 0, 1]):
        sdata = make(image=image[order], channels=tuple(PANEL[i] for i in order))
        ks.tl.embed(sdata, model="mean-marker+")
        names = ks.get.feature_names(sdata, "X_mean_marker_plus").index
        frames.append(pd.DataFrame(sdata["table"].obsm["X_mean_marker_plus"], columns=names))
    assert list(frames[0]) != list(frames[1])
    pd.testing.assert_frame_equal(frames[0], frames[1][list(frames[0])])


def test_from_a_store_and_from_a_file(embedded, tmp_path):
    sdata = embedded
    store = tmp_path / "features.zarr"
    ks.tl.embed(sdata, model="mean-marker+", features=("marker", "cls"), store=store, key_added="stored")
    expected = ks.get.feature_names(sdata, "X_mean_marker_plus")
    bare = anndata.AnnData(obs=sdata["table"].obs[[]].iloc[::-1])
    ks.io.read_embedding(bare, store)
    pd.testing.assert_frame_equal(ks.get.feature_names(bare, "X_stored"), expected)
    assert list(ks.get.feature_names(bare, "X_stored_cls").index) == ["area", "eccentricity", "border"]
    table = sdata["table"].copy()
    table.write_h5ad(tmp_path / "table.h5ad")
    again = anndata.read_h5ad(tmp_path / "table.h5ad")
    pd.testing.assert_frame_equal(ks.get.feature_names(again, "X_mean_marker_plus"), expected)


def test_aggregate_names_its_variables(cells):
    out = ks.tl.aggregate(cells, "case", use_rep="X_mean_marker_plus")
    assert list(out.var_names) == list(ks.get.feature_names(cells, "X_mean_marker_plus").index)
    expected = np.asarray(cells.obsm["X_mean_marker_plus"])[(cells.obs["case"] == "odd").to_numpy(), 9].mean()
    assert out["odd", "CD3_q05"].X[0, 0] == pytest.approx(expected)
    moments = ks.tl.aggregate(cells, "case", use_rep="X_mean_marker_plus_cls", how="moments")
    assert list(moments.var_names) == [
        f"{name}_{moment}" for moment in ("mean", "std") for name in ("area", "eccentricity", "border")
    ]


def test_the_probe_weighs_each_named_feature(cells, ax_of_memory):
    values = np.random.default_rng(0).random(cells.obsm["X_mean_marker_plus"].shape, dtype=np.float32)
    cells.obs["kind"] = np.where(values[:, 13] > 0.5, "high", "low")
    values[:, 13] *= 5  # CD3_q95 tells the class
    cells.obsm["X_mean_marker_plus"] = values
    cells.obs["fold"] = pd.Categorical(np.where(np.arange(cells.n_obs) % 4 < 2, "a", "b"))
    ks.tl.linear_probe(cells, "kind", use_rep=["X_mean_marker_plus", "X_mean_marker_plus_cls", "X_mean_marker"], C=0.1)
    table = ks.get.result(cells, "kind_probe", table="feature_importance")
    assert list(table.columns) == ["representation", "class", "feature", "marker", "weight"]
    assert set(table["representation"]) == {"mean_marker_plus"}  # the others have one feature per marker, or per name
    high = table[table["class"] == "high"].set_index("feature")["weight"]
    assert high.idxmax() == "CD3_q95"
    assert high.sum() == pytest.approx(1, abs=1e-5)
    shares = ks.get.result(cells, "kind_probe", table="importance").query("`class` == 'high'")
    own = shares[shares["representation"] == "mean_marker_plus"].set_index("marker")["weight"]
    np.testing.assert_allclose(own, high.groupby(table["marker"].iloc[:21].to_numpy(), sort=False).sum(), rtol=1e-6)
    assert set(shares[shares["representation"] == "mean_marker_plus_cls"]["marker"]) == {
        "area",
        "eccentricity",
        "border",
    }
    shown = ks.pl.importance(cells, "kind_probe", ax=ax_of_memory())
    assert shown.get_xlabel() == "feature"
    assert {text.get_text() for text in shown.get_xticklabels()} == set(high.index)
    assert (
        ks.pl.importance(cells, "kind_probe", n_top=1, ax=ax_of_memory()).get_xticklabels()[0].get_text() == "CD3_q95"
    )
    assert ks.pl.importance(cells, "kind_probe", by="marker", ax=ax_of_memory()).get_xlabel() == "marker"
    with pytest.raises(
        KeyError, match="features of 'mean_marker' have numbers for names; those with names: 'mean_marker_plus'"
    ):
        ks.pl.importance(cells, "kind_probe", by="feature", representation="mean_marker")
    with pytest.raises(ValueError, match="by='markers' is not a choice"):
        ks.pl.importance(cells, "kind_probe", by="markers")


@pytest.fixture
def ax_of_memory():
    """Return a function that makes axes of a figure that pyplot does not know."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    return lambda: FigureCanvasAgg(Figure()).figure.add_subplot()


def test_neighbourhoods_say_ring_and_statistic(cells):
    layout = pd.DataFrame({"hop": [0, 1, 1], "stat": ["value", "mean", "var"], "start": [0, 3, 6], "stop": [3, 6, 9]})
    params = {"use_rep": "X_mean_marker", "n_pcs": None}
    results.store(cells, "near", kind="nhood_aggregate", params=params, tables={"layout": layout})
    cells.obsm["X_near"] = np.zeros((cells.n_obs, 9), np.float32)
    names = ks.get.feature_names(cells, "X_near")
    assert list(names.index) == [*PANEL, *(f"{m}_hop1_mean" for m in PANEL), *(f"{m}_hop1_var" for m in PANEL)]
    assert list(names["marker"]) == PANEL * 3
    results.store(cells, "near", kind="nhood_aggregate", params=params | {"n_pcs": 3}, tables={"layout": layout})
    assert ks.get.feature_names(cells, "X_near").index[0] == "near_0"  # of components


def test_arrays_and_plots_take_the_names(cells, ax_of_memory):
    array = ks.get.embedding(cells, key="mean_marker_plus")
    assert list(array.feature.values) == STATISTICS
    column = np.asarray(cells.obsm["X_mean_marker_plus"])[:, 9]
    np.testing.assert_array_equal(array.sel(marker="CD3", feature="q05"), column)
    (shown,) = ks.pl.spatial(cells, "X_mean_marker_plus[CD3_q05]", ax=ax_of_memory()).flat
    np.testing.assert_allclose(shown.collections[0].get_array(), column)
    with pytest.raises(KeyError, match=r"Did you mean 'X_mean_marker_plus\[CD3_q95\]'"):
        ks.pl.spatial(cells, "X_mean_marker_plus[CD3_q96]")
