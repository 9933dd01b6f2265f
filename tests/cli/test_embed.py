import anndata
import numpy as np
import pandas as pd
import pytest
import spatialdata

from kronos_sc import get, io, pp, tl
from kronos_sc._cli._embed import chosen_channels, parse_map


def test_the_table_of_the_store_gets_the_embedding_and_nothing_else_changes(store, checkpoint, call, contents):
    before = contents(store, "tables/", "zarr.json")
    old = spatialdata.read_zarr(store)["table"]
    done = call("embed", store, "--model", checkpoint, "--device", "cpu", "--precision", "float32", "--patch-size", 48)
    assert done.exit_code == 0
    assert "wrote embedding 'kronos' into table 'table' of" in done.stdout
    after = contents(store, "tables/", "zarr.json")
    assert after.pop(".kronos_sc.lock") == b""
    assert after == before
    assert not list(store.glob(".kronos_sc-*"))
    sdata = spatialdata.read_zarr(store)
    new = sdata["table"]
    assert sdata.has_consolidated_metadata()
    assert new.obsm["X_kronos"].shape == (old.n_obs, 4 * 48)
    assert get.record(new)["model"]["name"] == "tiny"
    pd.testing.assert_frame_equal(new.obs[list(old.obs.columns)], old.obs)
    assert new.uns["spatialdata_attrs"] == old.uns["spatialdata_attrs"]
    np.testing.assert_array_equal(new.X, old.X)
    tl.embed(sdata, model=checkpoint, device="cpu", precision="float32", patch_size=48, key_added="again")
    np.testing.assert_array_equal(new.obsm["X_kronos"], sdata["table"].obsm["X_again"])


def test_consolidated_metadata_know_the_new_slots(store, call):
    import zarr

    assert call("embed", store, "--model", "mean-marker").exit_code == 0
    root = zarr.open_group(store, mode="r", use_consolidated=True)
    assert "X_mean_marker" in root["tables/table/obsm"]
    assert not [name for name in root if name.startswith(".")]


def test_embedding_twice_replaces(store, call):
    for _ in range(2):
        assert call("embed", store, "--model", "mean-marker", "--key-added", "mine").exit_code == 0
    assert "X_mine" in spatialdata.read_zarr(store)["table"].obsm


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_output_leaves_the_store_alone(store, call, contents, tmp_path, suffix):
    before = contents(store)
    path = tmp_path / f"cells{suffix}"
    for arguments in ((), ("--overwrite",)):
        assert call("embed", store, "--model", "mean-marker", "--output", path, *arguments).exit_code == 0
    assert contents(store) == before
    table = anndata.read_h5ad(path) if suffix == ".h5ad" else anndata.read_zarr(path)
    assert table.obsm["X_mean_marker"].shape[1] == 4
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_channels_and_corrections(store, call, tmp_path):
    path = tmp_path / "cells.h5ad"
    call(
        "embed",
        store,
        "--model",
        "mean-marker",
        "--channels",
        "DAPI, CD8,CD31",
        "--map",
        "CD31=CD34",
        "--map",
        "CD8=",
        "--output",
        path,
    )
    assert get.record(anndata.read_h5ad(path), key="mean_marker")["panel"]["marker"].tolist() == ["DAPI", "CD34"]


def test_a_panel_from_a_file(store, call, tmp_path):
    panel = pp.match_markers(spatialdata.read_zarr(store), channels={"CD31": None})
    panel.to_csv(tmp_path / "panel.csv", index=False)
    path = tmp_path / "cells.h5ad"
    done = call("embed", store, "--model", "mean-marker", "--channels", tmp_path / "panel.csv", "--output", path)
    assert done.exit_code == 0, done.stderr
    assert get.record(anndata.read_h5ad(path), key="mean_marker")["panel"]["channel"].tolist() == [
        "DAPI",
        "CD8",
        "CYTOKERATIN",
    ]


def test_corrections_are_parsed():
    assert chosen_channels(["AR", "DAPI", "a=b"], "AR=unseen,DAPI", {}) == ["AR=unseen", "DAPI"]  # tl.embed reads it
    with_map = chosen_channels(["AR", "DAPI", "a=b", "x"], "AR=unseen,DAPI,a=b", {"DAPI": "DAPI"})
    assert with_map == {"x": None, "AR": "unseen", "DAPI": "DAPI"}
    assert parse_map(["AR=unseen", "DAPI-02=", " a=b = CD3 "]) == {"AR": "unseen", "DAPI-02": None, "a=b": "CD3"}
    for wrong, text in (
        (["AR"], "--map 'AR' is no correction"),
        (["=CD3"], "is no correction"),
        (["a=b", "a=c"], "names channel 'a' twice"),
    ):
        with pytest.raises(ValueError, match=text):
            parse_map(wrong)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--model", "kronoz"], "'kronoz' is neither a registered model"),
        (["--labels", "nuclei"], "There is no labels 'nuclei'"),
        (["--channels", "CD3"], "There is no channel 'CD3'"),
        (["--channels", "none.csv"], "There is no file none.csv"),
        (["--map", "DAPI"], "--map 'DAPI' is no correction"),
        (["--output", "cells.csv"], "ends with '.csv'; a table is written as .h5ad or .zarr"),
        (["--output", "nowhere/cells.h5ad"], "The folder nowhere of --output cells.h5ad does not exist"),
        (["--precision", "half"], "--precision 'half' is not a choice; it can be"),
    ],
)
def test_errors_leave_the_store_alone(store, call, contents, arguments, text):
    before = contents(store)
    done = call("embed", store, *(["--model", "mean-marker"] if "--model" not in arguments else []), *arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert text in done.stderr
    assert contents(store) == before


def test_an_existing_output_is_not_replaced(store, call, tmp_path):
    path = tmp_path / "cells.h5ad"
    path.write_text("mine")
    done = call("embed", store, "--model", "mean-marker", "--output", path)
    assert "exists already" in done.stderr
    assert path.read_text() == "mine"


@pytest.mark.parametrize("place", [("--store",), ("--beside",)])
def test_features_stay_in_a_store_of_their_own(store, call, contents, tmp_path, place):
    before = contents(store)
    path = tmp_path / "features of µ.zarr" if place == ("--store",) else tmp_path / "tissue.table.mean_marker.zarr"
    arguments = (*place, path) if place == ("--store",) else place
    done = call("embed", store, "--model", "mean-marker", *arguments)
    assert done.exit_code == 0, done.stderr
    assert f"features of 'mean_marker' are in {path}; io.read_embedding" in done.stdout
    assert contents(store) == before
    sdata = spatialdata.read_zarr(store)
    io.read_embedding(sdata, path)
    tl.embed(sdata, model="mean-marker", key_added="again")
    np.testing.assert_array_equal(np.asarray(sdata["table"].obsm["X_mean_marker"]), sdata["table"].obsm["X_again"])


def test_features_that_go_to_disk_by_themselves_stay_there(store, call, contents, monkeypatch):
    from kronos_sc import settings

    monkeypatch.setattr(settings, "memory", 0)
    before = contents(store)
    done = call("embed", store, "--model", "mean-marker")
    assert done.exit_code == 0, done.stderr
    assert contents(store) == before
    assert "io.read_embedding(sdata, '" in done.stdout


def test_features_of_a_store_go_into_the_table_when_asked(store, call):
    assert call("embed", store, "--model", "mean-marker", "--beside", "--into-table").exit_code == 0
    table = spatialdata.read_zarr(store)["table"]
    assert np.isfinite(table.obsm["X_mean_marker"]).all()
    assert get.record(table, key="mean_marker")["model"]["name"] == "mean-marker"


def test_features_of_a_store_go_into_a_file(store, call, contents, tmp_path):
    before = contents(store)
    path = tmp_path / "cells.h5ad"
    done = call("embed", store, "--model", "mean-marker", "--store", tmp_path / "features.zarr", "--output", path)
    assert done.exit_code == 0, done.stderr
    assert contents(store) == before
    assert np.isfinite(anndata.read_h5ad(path).obsm["X_mean_marker"]).all()


def test_starting_again_is_said(store, call, tmp_path):
    arguments = ("embed", store, "--model", "mean-marker", "--store", tmp_path / "features.zarr")
    assert call(*arguments).exit_code == 0
    other = call(*arguments, "--channels", "DAPI,CD8")
    assert other.exit_code == 1
    assert "holds an embedding of another call" in other.stderr
    assert (
        "Give the command that began it, choose another place with --store, or start again with --restart."
        in other.stderr
    )
    assert call(*arguments, "--channels", "DAPI,CD8", "--restart").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--store", "a.zarr", "--beside"], "--store a.zarr and --beside are two places"),
        (
            ["--into-table", "--output", "a.h5ad"],
            "--into-table writes into the SpatialData, and --output a.h5ad leaves it alone",
        ),
        (["--restart"], "--restart starts a store of features again, and none was named. Add --beside or --store PATH"),
        (["--overwrite", "--beside"], "--overwrite replaces an existing --output, and there is none"),
    ],
)
def test_places_that_contradict_each_other(store, call, embedding, arguments, text):
    done = call("embed", store, "--model", "mean-marker", *arguments)
    assert done.exit_code == 1
    assert text in done.stderr
    assert embedding == []


@pytest.mark.row(
    "`--store` with `--beside`, `--into-table` with `--output`",
    "`--restart` without a store, `--overwrite` without `--output`",
)
@pytest.mark.parametrize(
    "arguments", [["--beside"], ["--into-table"], ["--restart", "--beside"], ["--overwrite", "--output", "a.h5ad"]]
)
def test_one_place_is_left_or_added(store, call, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    done = call("embed", store, "--model", "mean-marker", *arguments)
    assert done.exit_code == 0, done.stderr
