"""Features on disk are the features in memory."""

import os
import re
import shutil
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pytest
import spatialdata
import torch

import kronos_sc as ks
from kronos_sc import models


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(ks.settings, "block_memory", 60_000)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("features", ["marker", "cls", ("marker", "cls")])
@pytest.mark.usefixtures("small_blocks")
def test_bit_for_bit(make, tiny, tmp_path, dtype, precision, features):
    sdata = make((200, 240))
    how = {"model": tiny, "dtype": dtype, "precision": precision, "features": features}
    ks.tl.embed(sdata, **how, key_added="memory")
    ks.tl.embed(sdata, **how, key_added="disk", store=tmp_path / "x.zarr")
    table = sdata["table"]
    for slot in [name for name in table.obsm if name.startswith("X_memory")]:
        lazy = table.obsm[slot.replace("memory", "disk")]
        assert lazy.dtype == dtype
        np.testing.assert_array_equal(lazy.compute(), table.obsm[slot])
    np.testing.assert_array_equal(table.obs["disk_edge"], table.obs["memory_edge"])
    assert table.uns["disk"].keys() == table.uns["memory"].keys()


@pytest.mark.usefixtures("small_blocks")
def test_the_same_call_again_computes_nothing(make, tiny, tmp_path, caplog, monkeypatch):
    sdata = make((200, 240))
    ks.tl.embed(sdata, model=tiny, store=tmp_path / "x.zarr")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "x.zarr" / "marker").rglob("*") if path.is_file()}
    seconds = sdata["table"].uns["kronos"]["seconds"]
    monkeypatch.setattr(type(tiny), "encode", None)  # would raise
    with caplog.at_level("INFO", logger="kronos_sc"):
        ks.tl.embed(sdata, model=tiny, store=tmp_path / "x.zarr")
    assert files == {
        path: path.stat().st_mtime_ns for path in (tmp_path / "x.zarr" / "marker").rglob("*") if path.is_file()
    }
    assert "blocks (" in caplog.text
    assert sdata["table"].uns["kronos"]["seconds"] == seconds  # of the call that computed
    assert not (tmp_path / "x.zarr" / ".parts").exists()


@pytest.mark.usefixtures("small_blocks")
def test_a_call_goes_on_with_the_blocks_it_began_with(make, tiny, tmp_path, monkeypatch):
    """Settings that divide the image otherwise do not matter in between."""
    sdata = make((200, 240))
    ks.tl.embed(sdata, model=tiny, key_added="memory", precision="float32")
    how = {"model": tiny, "store": tmp_path / "x.zarr", "precision": "float32"}
    encode = type(tiny).encode
    seen = []

    def counting(self, *args):
        seen.append(len(args[0]))
        if sum(seen) > 30 and len(seen) < 100:
            raise RuntimeError("power cut")
        return encode(self, *args)

    monkeypatch.setattr(type(tiny), "encode", counting)
    with pytest.raises(RuntimeError, match="power cut") as error:
        ks.tl.embed(sdata, **how)
    (note,) = error.value.__notes__
    kept, total = (int(note.split()[i]) for i in (0, 2))
    assert 0 < kept < total
    assert "the same call goes on" in note
    assert "X_kronos" not in sdata["table"].obsm
    monkeypatch.setattr(type(tiny), "encode", encode)
    monkeypatch.setattr(ks.settings, "block_memory", 10**9)
    monkeypatch.setattr(ks.settings, "read_threads", 1)
    ks.tl.embed(sdata, **how, batch_size=3)
    np.testing.assert_allclose(sdata["table"].obsm["X_kronos"].compute(), sdata["table"].obsm["X_memory"], atol=1e-6)


def test_several_regions_in_one_store(make, tiny, tmp_path):
    first = make((150, 190))
    second = make((120, 100), seed=3)
    sdata = spatialdata.SpatialData(
        images={"image_1": first["image"], "image_2": second["image"]},
        labels={"cells_1": first["cells"], "cells_2": second["cells"]},
    )
    tables = []
    for region in ("cells_1", "cells_2"):
        part = spatialdata.SpatialData(labels={region: sdata[region]})
        ks.pp.label_table(part, labels_key=region)
        part["table"].obs_names = region + "-" + part["table"].obs_names
        tables.append(part["table"])
    both = ad.concat(tables)
    both = both[np.random.default_rng(0).permutation(both.n_obs)].copy()
    both.uns.pop("spatialdata_attrs", None)
    sdata.tables["table"] = spatialdata.models.TableModel.parse(
        both, region=["cells_1", "cells_2"], region_key="region", instance_key="cell_id"
    )
    ks.tl.embed(sdata, model=tiny, key_added="memory")
    ks.tl.embed(sdata, model=tiny, store=tmp_path / "both.zarr")
    np.testing.assert_array_equal(sdata["table"].obsm["X_kronos"].compute(), sdata["table"].obsm["X_memory"])
    ks.tl.embed(sdata, model=tiny, labels_key="cells_2", store=tmp_path / "one.zarr", key_added="one")
    one = sdata["table"].obsm["X_one"].compute()
    mine = (sdata["table"].obs["region"] == "cells_2").to_numpy()
    np.testing.assert_array_equal(one[mine], sdata["table"].obsm["X_memory"][mine])
    assert np.isnan(one[~mine]).all()


def test_beside_the_spatialdata(stored, tiny, tmp_path):
    sdata = stored(tmp_path / "a tissue.zarr")
    ks.tl.embed(sdata, model=tiny, store=True, key_added="mine")
    assert (tmp_path / "a tissue.table.mine.zarr" / "zarr.json").exists()
    again = spatialdata.read_zarr(tmp_path / "a tissue.zarr")
    ks.io.read_embedding(again, tmp_path / "a tissue.table.mine.zarr")
    np.testing.assert_array_equal(again["table"].obsm["X_mine"].compute(), sdata["table"].obsm["X_mine"].compute())


def test_not_in_place(make, tiny, tmp_path):
    sdata = make()
    table = ks.tl.embed(sdata, model=tiny, store=tmp_path / "x.zarr", inplace=False)
    assert "X_kronos" in table.obsm
    assert "X_kronos" not in sdata["table"].obsm


def test_mean_marker_and_boxes(make, tmp_path):
    sdata = make()
    ks.pp.tile(sdata, size=32)
    how = {"model": "mean-marker", "table_key": "patches_table"}
    ks.tl.embed(sdata, **how, key_added="memory")
    ks.tl.embed(sdata, **how, key_added="disk", store=tmp_path / "x.zarr")
    np.testing.assert_array_equal(
        sdata["patches_table"].obsm["X_disk"].compute(), sdata["patches_table"].obsm["X_memory"]
    )


def test_an_embedding_named_like_the_class_features_of_another_stays(make, tiny):
    sdata = make()
    ks.tl.embed(sdata, model=tiny, key_added="a_cls")
    ks.tl.embed(sdata, model=tiny, key_added="a")
    assert {"X_a", "X_a_cls"} <= set(sdata["table"].obsm)
    ks.tl.embed(sdata, model=tiny, key_added="b", features=["marker", "cls"])
    ks.tl.embed(sdata, model=tiny, key_added="b")
    assert "X_b_cls" not in sdata["table"].obsm


# --- the same call, elsewhere
# ----------------------------------------------------------------------------------------------------------


def test_auto_goes_on_in_the_precision_of_the_store(make, tiny, tmp_path, monkeypatch):
    """On a machine that would take another one."""
    sdata = make()
    how = {"model": tiny, "store": tmp_path / "x.zarr"}
    ks.tl.embed(sdata, **how, precision="bfloat16")
    before = sdata["table"].obsm["X_kronos"].compute()
    monkeypatch.setattr(
        models.inference.placement,
        "choose_dtype",
        lambda asked, _: getattr(torch, "float32" if asked == "auto" else asked),
    )
    ks.tl.embed(sdata, **how)
    assert sdata["table"].uns["kronos"]["precision"] == "bfloat16"
    np.testing.assert_array_equal(sdata["table"].obsm["X_kronos"].compute(), before)
    with pytest.raises(ValueError, match="precision was 'bfloat16' and is 'float32' now"):
        ks.tl.embed(sdata, **how, precision="float32")
    ks.tl.embed(sdata, **how, overwrite=True)
    assert sdata["table"].uns["kronos"]["precision"] == "float32"


def test_a_part_of_the_table_is_sent_to_read_embedding(make, tmp_path):
    sdata = make()
    how = {"model": "mean-marker", "store": tmp_path / "x.zarr"}
    ks.tl.embed(sdata, **how)
    whole = sdata["table"]
    rows = np.flatnonzero(np.arange(whole.n_obs) % 2)
    sdata.tables["table"] = whole[rows].copy()
    message = (
        rf"It was made for a table of {whole.n_obs} rows that has all {len(rows)} of this one: "
        r".*io\.read_embedding\(sdata, '.*x\.zarr'\)"
    )
    with pytest.raises(ValueError, match=message):
        ks.tl.embed(sdata, **how)
    ks.io.read_embedding(sdata, tmp_path / "x.zarr")
    np.testing.assert_array_equal(
        sdata["table"].obsm["X_mean_marker"].compute(), whole.obsm["X_mean_marker"].compute()[rows]
    )
    with pytest.raises(ValueError, match="max_value was") as other:
        ks.tl.embed(sdata, **how, max_value=1000.0)
    assert "read_embedding" not in str(other.value)


def test_a_check_that_passed_is_no_part_of_a_call(make, tmp_path):
    sdata = make()
    how = {"model": "mean-marker", "store": tmp_path / "x.zarr"}
    ks.tl.embed(sdata, **how)
    ks.tl.embed(sdata, **how, require_nuclear=False)


@pytest.mark.usefixtures("small_blocks")
def test_a_finished_store_on_a_read_only_disk(make, tiny, tmp_path, monkeypatch):
    sdata = make()
    store = tmp_path / "x.zarr"
    ks.tl.embed(sdata, model=tiny, store=store)
    wanted = sdata["table"].obsm["X_kronos"].compute()
    plain = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, mode, **how: plain(path, mode, **how) and not (mode & os.W_OK and str(path) == str(store)),
    )
    before = {path: path.stat().st_mtime_ns for path in (store, *store.rglob("*"))}
    again = make()
    ks.tl.embed(again, model=tiny, store=store)
    np.testing.assert_array_equal(again["table"].obsm["X_kronos"].compute(), wanted)
    ks.io.read_embedding(again, store, key_added="read")
    np.testing.assert_array_equal(again["table"].obsm["X_read"].compute(), wanted)
    with pytest.raises(ValueError, match="mask_fill was 'mean' and is 'zero' now"):
        ks.tl.embed(again, model=tiny, store=store, mask_fill="zero")
    assert {path: path.stat().st_mtime_ns for path in (store, *store.rglob("*"))} == before
    (store / "marker/c/1/0").unlink()
    with pytest.raises(PermissionError, match=r"is read-only, and 1 of its \d+ blocks are still to be written"):
        ks.tl.embed(again, model=tiny, store=store)
    (store / "marker/c/1").rmdir()


def test_too_little_room_is_said_before_the_run(make, tmp_path, monkeypatch):
    sdata = make()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.warns(
        UserWarning,
        match=rf"Features of {sdata['table'].n_obs} units take up to 0\.0 GiB, .* 0\.0 GiB are free at .*x\.zarr",
    ):
        ks.tl.embed(sdata, model="mean-marker", store=tmp_path / "x.zarr")
    ks.tl.embed(sdata, model="mean-marker", store=tmp_path / "x.zarr")  # nothing is to come


@pytest.mark.usefixtures("small_blocks")
def test_damaged_blocks_are_counted_and_named(make, tmp_path, caplog):
    sdata = make()
    how = {"model": "mean-marker", "store": tmp_path / "x.zarr"}
    ks.tl.embed(sdata, **how)
    for block in (1, 3):
        path = tmp_path / "x.zarr" / "marker" / "c" / str(block) / "0"
        path.write_bytes(path.read_bytes()[:-3])
    (tmp_path / "x.zarr/marker/c/0/0").unlink()  # absent, not damaged
    with caplog.at_level("INFO", logger="kronos_sc"):
        ks.tl.embed(sdata, **how)
    assert re.search(r"2 of \d+ blocks in .*x\.zarr are damaged", caplog.text)
    assert "are damaged and computed again: block 1, 3\n" in caplog.text


@pytest.mark.parametrize("store", [1, 0.5, "", b"x.zarr"])
def test_what_is_no_place(make, store):
    with pytest.raises(
        ValueError, match=r"^store=.* names no folder\. It can be a path, True .*write store='features\.zarr'"
    ):
        ks.tl.embed(make(), model="mean-marker", store=store)


def test_a_spatialdata_in_memory_has_no_beside(make):
    with pytest.raises(
        ValueError, match=r"not on disk.*name a folder with store=, or keep them in memory with store=False"
    ):
        ks.tl.embed(make(), model="mean-marker", store=True)
