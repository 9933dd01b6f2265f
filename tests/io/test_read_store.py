"""Stores whose path would end early if it were an address."""

from __future__ import annotations

import os

import numpy as np
import pytest

import kronos_sc as ks
from kronos_sc._cli import _store
from kronos_sc.io._read_store import read_store


@pytest.mark.parametrize("name", ["run #2.zarr", "run 2?.zarr", "100 %23.zarr", "run 2.zarr"])
def test_all_of_it_is_read_and_an_embedding_written(make, tmp_path, monkeypatch, name):
    if os.name == "nt" and "?" in name:
        pytest.skip("no name for a folder there")
    make(shape=(64, 64)).write(tmp_path / name)
    (tmp_path / "run ").mkdir()  # what zarr would open instead
    sdata = _store.read(tmp_path / name)
    truth = make(shape=(64, 64))
    assert {str(element) for _, element, _ in sdata.gen_elements()} == {"image", "cells", "table"}
    assert sdata["table"].obs["region"].tolist() == truth["table"].obs["region"].tolist()
    assert sdata["table"].uns["spatialdata_attrs"] == truth["table"].uns["spatialdata_attrs"]
    ks.tl.embed(sdata, model="mean-marker")
    ks.io.write_embedding(sdata)
    monkeypatch.chdir(tmp_path)
    back = read_store(name)
    np.testing.assert_array_equal(back["table"].obsm["X_mean_marker"], sdata["table"].obsm["X_mean_marker"])
    ks.tl.embed(back, model="mean-marker", key_added="again", store=True)
    np.testing.assert_array_equal(np.asarray(back["table"].obsm["X_again"]), sdata["table"].obsm["X_mean_marker"])


def test_a_table_without_elements_is_read(tmp_path):
    import anndata
    import spatialdata

    sdata = spatialdata.SpatialData(tables={"loose": anndata.AnnData(np.zeros((2, 1)))})
    sdata.write(tmp_path / "a#b.zarr")
    assert read_store(tmp_path / "a#b.zarr")["loose"].n_obs == 2
