import os
import shutil

import numpy as np
import pytest
import spatialdata

from kronos_sc._cli import _store


@pytest.fixture
def read_only(monkeypatch):
    """Return a function that makes a folder read-only, also for a user who may write everywhere."""
    plain = os.access
    locked = []

    def access(path, mode, **kwargs):
        return plain(path, mode, **kwargs) and not (mode & os.W_OK and any(str(path) == str(other) for other in locked))

    monkeypatch.setattr(os, "access", access)
    return locked.append


@pytest.mark.parametrize("part", ["", "tables"])
def test_a_read_only_store_is_an_error_before_embedding(store, call, embedding, read_only, part):
    read_only(store / part)
    done = call("embed", store, "--model", "mean-marker")
    assert done.exit_code == 1
    assert "is read-only, and the embedding is written into its table" in done.stderr
    assert "--output table.h5ad" in done.stderr
    assert embedding == []


def test_a_read_only_store_can_be_embedded_into_a_file(store, call, read_only, tmp_path):
    read_only(store)
    assert call("embed", store, "--model", "mean-marker", "--output", tmp_path / "cells.h5ad").exit_code == 0


def test_a_read_only_place_for_the_output(store, call, embedding, read_only, tmp_path):
    read_only(tmp_path)
    done = call("embed", store, "--model", "mean-marker", "--output", tmp_path / "cells.h5ad")
    assert "is read-only. Choose another place for --output" in done.stderr
    assert embedding == []


def test_what_is_no_store(tmp_path, call):
    assert "does not exist. A store is a folder" in call("embed", tmp_path / "none.zarr").stderr
    assert "is not a SpatialData store" in call("embed", tmp_path).stderr


def test_the_older_format_is_refused_before_embedding(store, call, embedding):
    (store / "zarr.json").rename(store / ".zgroup")
    assert "is in the older format Zarr 2" in call("embed", store).stderr
    assert embedding == []


def _recorded(value=1.0):
    """The record of an embedding."""
    names = np.array(["DAPI"], object)
    panel = {"channel": names, "marker": names, "id": np.array([4])}
    return {
        "model": {"name": "x"},
        "panel": panel,
        "params": {"features": np.array(["marker"], object)},
        "seconds": value,
    }


def _give(table, key, **kwargs):
    table.obsm[f"X_{key}"] = np.zeros((table.n_obs, 2), np.float32)
    table.obs[f"{key}_edge"] = False
    table.uns[key] = _recorded(**kwargs)


def test_only_new_embeddings_are_written(store):
    sdata = spatialdata.read_zarr(store)
    table = sdata["table"]
    _give(table, "old")
    before = dict(table.uns)
    assert _store.added(table, before) == []
    _give(table, "new")
    table.uns["neighbors"] = {"params": {}}
    assert _store.added(table, before) == ["new"]
    _give(table, "old")
    assert sorted(_store.added(table, before)) == ["new", "old"]
    assert _store.write(sdata, "table", "new") == f"wrote embedding 'new' into table 'table' of {store}"
    assert set(spatialdata.read_zarr(store)["table"].obsm) == {"spatial", "X_new"}


def test_a_failure_at_the_end_keeps_the_old_table(store, call, contents, monkeypatch):
    from kronos_sc._store import table as _table_store

    def gone(*paths, **kwargs):
        raise OSError("the disk is gone")

    before = contents(store)
    monkeypatch.setattr(_table_store, "put", gone)
    done = call("embed", store, "--model", "mean-marker")
    assert done.exit_code == 1
    assert "the disk is gone" in done.stderr
    after = contents(store)
    assert after.pop(".kronos_sc.lock") == b""
    assert after == before


def test_a_table_set_aside_by_a_killed_run_is_put_back(store, contents):
    before = contents(store)
    aside = store / ".kronos_sc-killed" / "old"
    aside.mkdir(parents=True)
    shutil.move(store / "tables" / "table", aside / "table")
    assert "table" in _store.read(store).tables
    after = contents(store)
    assert after.pop(".kronos_sc.lock") == b""
    assert after == before
    assert not list(store.glob(".kronos_sc-*"))


def test_debris_in_a_read_only_store_is_no_error(store, read_only):
    (store / ".kronos_sc-killed" / "old").mkdir(parents=True)
    read_only(store)
    assert "table" in _store.read(store).tables
    assert (store / ".kronos_sc-killed").exists()


def test_another_writer_is_waited_for_and_then_named(store, call, monkeypatch):
    from kronos_sc._store import table_lock

    monkeypatch.setattr(_store, "_WAIT", 0.6)
    with table_lock.writing(store, wait=1):
        done = call("embed", store, "--model", "mean-marker")
    assert done.exit_code == 1
    assert f"is being written to by process {os.getpid()}" in done.stderr
    assert "X_mean_marker" not in spatialdata.read_zarr(store)["table"].obsm
