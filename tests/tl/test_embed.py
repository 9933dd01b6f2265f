"""Where results go, what is recorded, and that scanpy and squidpy take over."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest

import kronos_sc as ks


def test_names_shapes_and_dtypes(make, tiny):
    sdata = make()
    assert ks.tl.embed(sdata, model=tiny) is None
    table = sdata["table"]
    assert table.obsm["X_kronos"].shape == (table.n_obs, 5 * 48)
    assert table.obsm["X_kronos"].dtype == np.float32
    assert table.obs["kronos_edge"].dtype == bool
    x, y = table.obsm["spatial"].astype(int).T
    np.testing.assert_array_equal(table.obs["kronos_edge"], (x < 32) | (y < 32) | (x > 190 - 32) | (y > 150 - 32))
    assert set(table.uns) == {"spatialdata_attrs", "kronos"}
    ks.tl.embed(sdata, model=tiny, features="cls", dtype="float16", key_added="unit")
    assert table.obsm["X_unit"].shape == (table.n_obs, 48)
    assert table.obsm["X_unit"].dtype == np.float16
    assert {"kronos_edge", "unit_edge"} <= set(table.obs)
    assert set(table.obsm) == {"spatial", "X_kronos", "X_unit"}
    ks.tl.embed(sdata, model=tiny, features=["cls", "marker"], key_added="both")
    np.testing.assert_array_equal(table.obsm["X_both"], table.obsm["X_kronos"])
    np.testing.assert_allclose(table.obsm["X_both_cls"], table.obsm["X_unit"], atol=2e-3)


def test_copy_leaves_everything_as_it_was(make, tiny, state, unchanged):
    sdata = make()
    before = state(sdata)
    table = ks.tl.embed(sdata, model=tiny, inplace=False)
    unchanged(before, state(sdata))
    assert table is not sdata["table"]
    assert {"X_kronos", "spatial"} == set(table.obsm)
    assert table.uns["spatialdata_attrs"] == sdata["table"].uns["spatialdata_attrs"]


def test_layers_and_X_are_kept(make, tiny):
    sdata = make()
    table = sdata["table"]
    sdata.tables["table"] = anndata.AnnData(
        np.ones((table.n_obs, 2)),
        obs=table.obs,
        obsm=dict(table.obsm),
        uns=table.uns,
        layers={"raw": np.zeros((table.n_obs, 2))},
    )
    ks.tl.embed(sdata, model=tiny)
    assert sdata["table"].X.sum() == 2 * table.n_obs
    assert "raw" in sdata["table"].layers


def same_record(one, two):
    assert one.keys() == two.keys()
    for key, value in one.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, two[key])
        elif isinstance(value, dict):
            same_record(value, two[key])
        elif isinstance(value, np.ndarray):
            assert value.dtype == two[key].dtype, key
            np.testing.assert_array_equal(value, two[key])
        else:
            assert type(value) is type(two[key]), key
            assert value == two[key], key


@pytest.mark.parametrize("channels", [("DAPI", "CD3", "AR", "Nothing"), ("DAPI", "CD3")])
def test_record_is_the_same_from_memory_and_files(make, tiny, tmp_path, channels):
    sdata = make((60, 70), channels=channels)
    how = {"channels": {"AR": "unseen"}} if "AR" in channels else {}
    ks.tl.embed(sdata, model=tiny, features=["marker", "cls"], **how)
    table = sdata["table"]
    record = ks.get.record(sdata)
    assert list(record["panel"].columns) == ["channel", "marker", "id", "mean", "std", "how"]
    assert record["params"]["images"].tolist() == ["image"]
    assert record["params"]["mpp"] == ""
    assert record["model"]["sha256"] == "none"
    assert record["model"]["trained"] is False
    assert record["model"]["blocks_run"].tolist() == [0, 1, 2, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table.write_h5ad(tmp_path / "a.h5ad")
        table.write_zarr(tmp_path / "a.zarr")
        sdata.write(tmp_path / "s.zarr")
    import spatialdata

    same_record(record, ks.get.record(anndata.read_h5ad(tmp_path / "a.h5ad")))
    same_record(record, ks.get.record(anndata.read_zarr(tmp_path / "a.zarr")))
    back = spatialdata.read_zarr(tmp_path / "s.zarr")
    same_record(record, ks.get.record(back))
    np.testing.assert_array_equal(back["table"].obsm["X_kronos"], table.obsm["X_kronos"])
    assert back["table"].obs["kronos_edge"].dtype == bool
    features = ks.get.embedding(back, markers=["CD3"])
    np.testing.assert_array_equal(features[:, 0], table.obsm["X_kronos"][:, 48:96])


def test_only_the_region_named(make, tiny):
    from spatialdata.models import TableModel

    sdata = make()
    sdata.labels["nuclei"] = sdata["cells"].copy()
    table = sdata["table"]
    both = anndata.concat([table, table])
    both.obs_names = [f"u{i}" for i in range(both.n_obs)]
    both.obs["region"] = pd.Categorical(["nuclei"] * table.n_obs + ["cells"] * table.n_obs)
    sdata.tables["table"] = TableModel.parse(
        both, region=["nuclei", "cells"], region_key="region", instance_key="cell_id"
    )
    ks.tl.embed(sdata, model=tiny, labels_key="cells", precision="float32")
    features = sdata["table"].obsm["X_kronos"]
    assert np.isnan(features[: table.n_obs]).all()
    assert np.isfinite(features[table.n_obs :]).all()
    ks.tl.embed(sdata, model=tiny, precision="float32", key_added="all")
    np.testing.assert_allclose(sdata["table"].obsm["X_all"][table.n_obs :], features[table.n_obs :], atol=1e-6)
    np.testing.assert_allclose(sdata["table"].obsm["X_all"][: table.n_obs], features[table.n_obs :], atol=1e-6)
    assert ks.get.record(sdata, key="all")["params"]["regions"].tolist() == ["nuclei", "cells"]


def test_several_regions_on_several_images(make, tiny):
    """Images of other sizes and chunks, each with its labels, one table; each region is embedded from its own image."""
    from spatialdata import SpatialData
    from spatialdata.models import TableModel

    parts = [make((80, 90 + 20 * i), seed=i) for i in range(3)]
    tables = []
    for i, part in enumerate(parts):
        table = part["table"].copy()
        table.obs["region"] = pd.Categorical([f"cells_{i}"] * table.n_obs)
        tables.append(table)
    both = anndata.concat(tables)
    both.obs_names = [f"u{i}" for i in range(both.n_obs)]
    both = both[np.random.default_rng(0).permutation(both.n_obs)].copy()
    regions = [f"cells_{i}" for i in range(3)]
    sdata = SpatialData(
        images={f"image_{i}": part["image"] for i, part in enumerate(parts)},
        labels={f"cells_{i}": part["cells"] for i, part in enumerate(parts)},
        tables={"table": TableModel.parse(both, region=regions, region_key="region", instance_key="cell_id")},
    )
    ks.tl.embed(sdata, model=tiny, precision="float32")
    for i, part in enumerate(parts):
        ks.tl.embed(part, model=tiny, precision="float32")
        rows = sdata["table"].obs["region"] == f"cells_{i}"
        mine = pd.DataFrame(part["table"].obsm["X_kronos"], index=part["table"].obs["cell_id"])
        np.testing.assert_allclose(
            sdata["table"].obsm["X_kronos"][rows], mine.loc[sdata["table"].obs["cell_id"][rows]], atol=1e-5
        )
    same = sdata["table"].obsm["X_kronos"].copy()
    ks.tl.embed(sdata, model=tiny, precision="float32", image_key={f"cells_{i}": f"image_{i}" for i in range(3)})
    np.testing.assert_array_equal(same, sdata["table"].obsm["X_kronos"])
    sdata.images["second"] = sdata.images.pop("image_1")
    with pytest.raises(
        ValueError,
        match=r"There are 3 elements of the kind 'image' \('image_0', 'image_2', 'second'\) and none was "
        r"named.*image_key=",
    ):
        ks.tl.embed(sdata, model=tiny)
    with pytest.raises(
        KeyError,
        match=r"image_key names no image for region 'cells_1'; it has 'cells_0'\. Add 'cells_1': one of 'image_0'",
    ):
        ks.tl.embed(sdata, model=tiny, image_key={"cells_0": "image_0"})


def test_a_word_that_two_names_share_does_not_pair_them(make, tiny):
    """he_cells is no image of codex_cells."""
    sdata = make()
    sdata.images["he_cells"] = sdata["image"]
    sdata.labels["codex_cells"] = sdata["cells"]
    ks.pp.label_table(sdata, labels_key="codex_cells", key_added="other")
    with pytest.raises(ValueError, match="none was named"):
        ks.tl.embed(sdata, model=tiny, table_key="other")


def test_table_of_the_region_named_is_found(make, tiny):
    sdata = make()
    ks.pp.tile(sdata, size=64)
    ks.tl.embed(sdata, model=tiny, shapes_key="patches")
    ks.tl.embed(sdata, model=tiny, labels_key="cells", key_added="cells")
    assert "X_kronos" in sdata.tables["patches_table"].obsm
    assert "X_cells" in sdata.tables["table"].obsm
    with pytest.raises(ValueError, match=r"There are 2 elements of the kind 'table'.*table_key="):
        ks.tl.embed(sdata, model=tiny)


def test_scanpy_and_squidpy_take_over(tiny):
    import scanpy as sc
    import squidpy as sq

    sdata = ks.datasets.tissue(shape=(300, 300), channels=["DAPI", "CD8", "CD20", "CYTOKERATIN"], rng=1)
    ks.tl.embed(sdata, model="mean-marker")
    ks.tl.embed(sdata, model=tiny)
    table = sdata["table"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.neighbors(table, use_rep="X_kronos", key_added="kronos_neighbors")
        sc.tl.leiden(table, flavor="igraph", n_iterations=2, neighbors_key="kronos_neighbors", key_added="leiden")
        sq.gr.spatial_neighbors_knn(table, n_neighs=6)
        sq.gr.nhood_enrichment(table, cluster_key="leiden", show_progress_bar=False, n_perms=50)
    assert table.obs["leiden"].nunique() > 1
    assert np.isfinite(table.uns["leiden_nhood_enrichment"]["zscore"]).all()
    ks.get.record(table)  # still there


def test_threads_end_when_the_model_fails(make, tiny, monkeypatch):
    import threading

    class Broken(type(tiny)):
        def encode(self, *args):
            raise RuntimeError("out of memory")

        def at(self, device, dtype):
            return self

    sdata = make()
    monkeypatch.setattr(ks.settings, "block_memory", 1)  # many blocks wait
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        ks.tl.embed(sdata, model=Broken(tiny.net, tiny.card, tiny.vocabulary), batch_size=1)
    # the traceback, which a notebook keeps, holds every frame; the reader must have ended all the same
    assert caught.tb is not None
    assert not [thread for thread in threading.enumerate() if thread.name == "kronos_sc-reader"]


def test_slots_of_an_earlier_call_do_not_stay_behind(make, tiny):
    sdata = make()
    ks.tl.embed(sdata, model=tiny, features=("marker", "cls"))
    ks.tl.embed(sdata, model=tiny)
    assert "X_kronos_cls" not in sdata["table"].obsm
    record = ks.get.record(sdata)
    assert record["params"]["dtype"] == "float32"
    assert record["left_out"].tolist() == []


def test_mean_marker_says_that_it_computes_in_float32(make):
    sdata = make()
    ks.tl.embed(sdata, model="mean-marker", precision="bfloat16")
    assert ks.get.record(sdata, key="mean_marker")["precision"] == "float32"


def test_boxes_are_resampled_to_exactly_the_resolution_asked_for(make):
    from spatialdata.transformations import Identity, Scale

    sdata = make(
        (150, 190), table=False, image_transformations={"global": Identity(), "um": Scale([0.5, 0.5], axes=("y", "x"))}
    )
    ks.pp.tile(sdata, size=24)
    ks.tl.embed(sdata, model="kronos-untrained", mpp=0.5, features="cls")
    params = ks.get.record(sdata["patches_table"])["params"]
    assert (params["patch_size"][0], params["window"][0]) == (32, 32)
