"""A store → a table that was not there when it was made."""

import shutil

import anndata as ad
import numpy as np
import pytest
import zarr

import kronos_sc as ks


@pytest.fixture
def embedded(make, tiny, tmp_path):
    """Return a SpatialData whose features lie in a store of several blocks, and the store."""
    sdata = make((200, 240))
    before, ks.settings.block_memory = ks.settings.block_memory, 60_000
    try:
        ks.tl.embed(sdata, model=tiny, features=["marker", "cls"], store=tmp_path / "x.zarr", precision="float32")
    finally:
        ks.settings.block_memory = before
    return sdata, tmp_path / "x.zarr"


def bare(table):
    return ad.AnnData(obs=table.obs[["cell_id"]].copy())


def test_the_same_table(embedded):
    sdata, store = embedded
    table = bare(sdata["table"])
    ks.io.read_embedding(table, store)
    for slot in ("X_kronos", "X_kronos_cls"):
        np.testing.assert_array_equal(table.obsm[slot].compute(), sdata["table"].obsm[slot].compute())
    np.testing.assert_array_equal(table.obs["kronos_edge"], sdata["table"].obs["kronos_edge"])
    here = ks.get.record(table)
    there = ks.get.record(sdata)
    assert here["panel"].equals(there["panel"])
    assert here["model"]["name"] == there["model"]["name"] == "tiny"
    assert {**here["params"], "window": 0, "regions": 0}.keys() == {**there["params"], "window": 0, "regions": 0}.keys()


def test_a_part_of_the_table_in_another_order(embedded):
    sdata, store = embedded
    rows = np.random.default_rng(0).permutation(sdata["table"].n_obs)[:37]
    table = bare(sdata["table"])[rows].copy()
    ks.io.read_embedding(table, store, key_added="mine")
    np.testing.assert_array_equal(table.obsm["X_mine"].compute(), sdata["table"].obsm["X_kronos"].compute()[rows])
    np.testing.assert_array_equal(table.obs["mine_edge"], sdata["table"].obs["kronos_edge"].to_numpy()[rows])


def test_into_a_spatialdata(embedded, make):
    sdata, store = embedded
    other = make((200, 240))
    ks.io.read_embedding(other, str(store))
    np.testing.assert_array_equal(other["table"].obsm["X_kronos"].compute(), sdata["table"].obsm["X_kronos"].compute())


def test_rows_that_were_not_embedded(embedded, unchanged, state):
    sdata, store = embedded
    table = bare(sdata["table"])
    table.obs_names = ["new", *table.obs_names[1:]]
    with pytest.raises(ValueError, match=r"1 of \d+ rows of the table are not in .*'new'.*It holds .* units"):
        ks.io.read_embedding(table, store)
    assert not table.obsm
    assert "kronos" not in table.uns


def test_repeated_names_need_the_very_table(make, tiny, tmp_path):
    sdata = make()
    sdata["table"].obs_names = ["same"] * sdata["table"].n_obs
    ks.tl.embed(sdata, model=tiny, store=tmp_path / "x.zarr")
    ks.io.read_embedding(sdata["table"], tmp_path / "x.zarr")
    with pytest.raises(ValueError, match="repeated obs_names"):
        ks.io.read_embedding(sdata["table"][1:].copy(), tmp_path / "x.zarr")


def test_what_is_no_embedding(embedded, tmp_path):
    table = embedded[0]["table"]
    with pytest.raises(FileNotFoundError, match=r"does not exist.*tl.embed"):
        ks.io.read_embedding(table, tmp_path / "nothing.zarr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no embedding"):
        ks.io.read_embedding(table, tmp_path / "empty")
    zarr.create_group(tmp_path / "other.zarr", zarr_format=3)
    with pytest.raises(
        ValueError,
        match=r"is no store of an embedding: it is a Zarr group of another kind \(attributes: none\)\. Name a folder",
    ):
        ks.io.read_embedding(table, tmp_path / "other.zarr")


def test_a_store_that_is_not_finished(embedded):
    sdata, store = embedded
    shutil.rmtree(store / "record")
    (store / "marker/c/1/0").unlink()
    with pytest.raises(ValueError, match=r"not finished: \d+ of \d+ blocks.*goes on from there"):
        ks.io.read_embedding(sdata["table"], store)


def test_the_store_beside_the_spatialdata_is_found(stored, tmp_path):
    sdata = stored(tmp_path / "a [tissue].zarr")
    with pytest.raises(
        FileNotFoundError,
        match=r"No embedding of table 'table' lies beside .* \(a \[tissue\]\.table\.…\.zarr\)\. Make one",
    ):
        ks.io.read_embedding(sdata)
    ks.tl.embed(sdata, model="mean-marker", store=True)
    (tmp_path / "a [tissue].table.notes.zarr").mkdir()  # the user's
    table = bare(sdata["table"])
    wanted = sdata["table"].obsm.pop("X_mean_marker").compute()
    ks.io.read_embedding(sdata)
    np.testing.assert_array_equal(sdata["table"].obsm["X_mean_marker"].compute(), wanted)
    ks.tl.embed(sdata, model="mean-marker", store=True, key_added="b.c")
    with pytest.raises(
        ValueError, match=r"2 embeddings of table 'table' lie beside .*'a \[tissue\]\.table\.b\.c\.zarr', .*Name one"
    ):
        ks.io.read_embedding(sdata)
    with pytest.raises(ValueError, match=r"A table alone does not say where it lies.*Name the folder"):
        ks.io.read_embedding(table)


def test_in_memory_there_is_no_beside(make):
    with pytest.raises(ValueError, match="in memory only, so no store can be found beside it"):
        ks.io.read_embedding(make())
