import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import spatialdata

from kronos_sc._cli import _store


@pytest.fixture
def read_only(monkeypatch):
    """Return a function that makes a folder read-only, also for a user who may write everywhere."""
    plain = os.access
    locked = []

    def access(path, mode, **how):
        return plain(path, mode, **how) and not (mode & os.W_OK and any(str(path) == str(other) for other in locked))

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


@pytest.mark.parametrize("moment", ["writing", "first rename", "second rename"])
def test_a_failure_at_any_moment_keeps_the_old_table(store, contents, monkeypatch, moment):
    before = contents(store)
    sdata = spatialdata.read_zarr(store)
    sdata["table"].obsm["X_new"] = np.zeros((sdata["table"].n_obs, 2))
    renames = []
    plain = _store.Path.rename

    def rename(self, target):
        renames.append(target)
        if len(renames) == {"first rename": 1, "second rename": 2}.get(moment, 0):
            raise OSError("the disk is gone")
        return plain(self, target)

    def full(self, *args, **how):
        raise OSError("the disk is full")

    monkeypatch.setattr(_store.Path, "rename", rename)
    if moment == "writing":
        monkeypatch.setattr(spatialdata.SpatialData, "write", full)
    with pytest.raises(OSError, match="the disk is"):
        _store.StoreTable(store).write(sdata, "table")
    assert contents(store) == before


def test_a_table_set_aside_by_a_killed_run_is_put_back(store, contents):
    before = contents(store)
    aside = store / ".kronos_sc-killed" / "old"
    aside.mkdir(parents=True)
    shutil.move(store / "tables" / "table", aside / "table")
    assert "table" in _store.read(store).tables
    assert contents(store) == before
    assert not list(store.glob(".kronos_sc-*"))


@pytest.mark.parametrize("moment", ["writing", "before consolidating", "after consolidating"])
def test_work_folders_of_killed_runs_go_and_metadata_list_the_new_slots(store, call, monkeypatch, moment):
    import zarr

    class Killed(BaseException):
        """Leaves everything as it is: nothing is cleaned up either."""

    def kill(*args, **how):
        raise Killed

    def kill_at_work(path, **how):
        return kill() if Path(path).name.startswith(".kronos_sc-") else plain(path, **how)

    plain = shutil.rmtree
    with monkeypatch.context() as patched:
        if moment == "writing":
            patched.setattr(spatialdata.SpatialData, "write", kill)
            patched.setattr(_store.shutil, "rmtree", lambda *args, **how: None)
        elif moment == "before consolidating":
            patched.setattr(_store, "_consolidate", kill)
        else:
            patched.setattr(_store.shutil, "rmtree", kill_at_work)
        with pytest.raises(Killed):
            call("embed", store, "--model", "mean-marker")
    assert len(list(store.glob(".kronos_sc-*"))) == 1
    done = moment != "writing"
    assert ("X_mean_marker" in _store.read(store)["table"].obsm) == done
    assert not list(store.glob(".kronos_sc-*"))
    listed = zarr.open_group(store, mode="r", use_consolidated=True)
    assert ("X_mean_marker" in listed["tables/table/obsm"]) == done
    assert not [name for name in listed if name.startswith(".")]


def test_metadata_are_not_consolidated_for_a_store_without(store, contents):
    import json

    root = store / "zarr.json"
    values = json.loads(root.read_text())
    values["consolidated_metadata"] = None
    root.write_text(json.dumps(values))
    before = contents(store)
    (store / ".kronos_sc-killed" / "new.zarr").mkdir(parents=True)
    _store.recover(store)
    assert contents(store) == before
    assert not list(store.glob(".kronos_sc-*"))


def test_debris_in_a_read_only_store_is_no_error(store, read_only):
    (store / ".kronos_sc-killed" / "old").mkdir(parents=True)
    read_only(store)
    assert "table" in _store.read(store).tables
    assert (store / ".kronos_sc-killed").exists()


def test_a_run_whose_work_is_cleared_away_by_another_loses_no_table(store, contents, monkeypatch):
    before = contents(store)
    sdata = spatialdata.read_zarr(store)
    plain = spatialdata.SpatialData.write

    def write(self, *args, **how):
        plain(self, *args, **how)
        _store.recover(store)

    monkeypatch.setattr(spatialdata.SpatialData, "write", write)
    with pytest.raises(FileNotFoundError):
        _store.StoreTable(store).write(sdata, "table")
    assert contents(store) == before
