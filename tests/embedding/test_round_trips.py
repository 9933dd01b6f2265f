"""An embedding on disk through every writer and reader: the same features, the same record."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import anndata
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import spatialdata

import kronos_sc as ks


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("round trips, mit Käse")


@pytest.fixture(scope="module")
def done(stored, tiny, folder) -> Any:
    """A tissue on disk, embedded into a store beside it; blocks and chunks are small."""
    sdata = stored(folder / "tissue.zarr", shape=(200, 240))
    before, ks.settings.block_memory = ks.settings.block_memory, 60_000
    try:
        ks.tl.embed(sdata, model=tiny, store=True, features=("marker", "cls"))
    finally:
        ks.settings.block_memory = before
    return sdata


@pytest.fixture(scope="module")
def truth(done) -> dict[str, Any]:
    table = done["table"]
    assert isinstance(table.obsm["X_kronos"], da.Array)
    assert table.obsm["X_kronos"].numblocks[0] > 1
    return {
        "marker": table.obsm["X_kronos"].compute(),
        "cls": table.obsm["X_kronos_cls"].compute(),
        "record": ks.get.record(done),
    }


def same_record(one: Any, two: Any, where: str = "record") -> None:
    """Down to the types: a reader that hands out its own scalars or text arrays would show."""
    assert type(one) is type(two), where
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, two, obj=where)
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            same_record(one[key], two[key], f"{where}/{key}")
    elif isinstance(one, np.ndarray):
        assert one.dtype == two.dtype, where
        np.testing.assert_array_equal(one, two, err_msg=where)
    else:
        assert one == two, where


def check(data: Any, truth: dict[str, Any], *, lazy: bool, rows: Any = slice(None)) -> None:
    """Compare features, record and named axes."""
    table = data if hasattr(data, "obsm") else data["table"]
    for slot, kind in (("X_kronos", "marker"), ("X_kronos_cls", "cls")):
        assert isinstance(table.obsm[slot], da.Array) is lazy
        np.testing.assert_array_equal(np.asarray(table.obsm[slot]), truth[kind][rows])
    same_record(truth["record"], ks.get.record(data))
    features = ks.get.embedding(data, markers=["CD8", "DAPI"])
    assert isinstance(features.data, da.Array) is lazy
    names = list(truth["record"]["panel"]["marker"])
    every = truth["marker"][rows].reshape(len(features), len(names), -1)
    np.testing.assert_array_equal(features.values, every[:, [names.index("CD8"), names.index("DAPI")]])


def test_from_the_store(done, truth):
    check(done, truth, lazy=True)


def test_attached_again(done, truth, folder):
    again = spatialdata.read_zarr(folder / "tissue.zarr")
    ks.io.read_embedding(again, folder / "tissue.table.kronos.zarr")
    check(again, truth, lazy=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", ["write_h5ad", "write_zarr"])
def test_through_files_of_anndata(done, truth, tmp_path, write):
    table, path = done["table"], tmp_path / ("a.h5ad" if write == "write_h5ad" else "a.zarr")
    if write == "write_h5ad":  # anndata opens HDF5 without X neither backed nor lazily
        table = anndata.AnnData(np.zeros((table.n_obs, 1)), obs=table.obs, obsm=dict(table.obsm), uns=table.uns)
    getattr(table, write)(path)
    assert isinstance(table.obsm["X_kronos"], da.Array), "writing must not pull features into memory for good"
    check(anndata.read_h5ad(path) if write == "write_h5ad" else anndata.read_zarr(path), truth, lazy=False)
    lazy = anndata.experimental.read_lazy(path)
    check(lazy, truth, lazy=True)
    check(lazy.to_memory(), truth, lazy=False)
    if write == "write_h5ad":
        check(anndata.read_h5ad(path, backed="r"), truth, lazy=False)


@pytest.mark.filterwarnings("ignore")
def test_through_a_spatialdata(done, truth, tmp_path):
    done.write(tmp_path / "copy.zarr", update_sdata_path=False)
    check(done, truth, lazy=True)
    check(spatialdata.read_zarr(tmp_path / "copy.zarr"), truth, lazy=False)
    check(anndata.experimental.read_lazy(tmp_path / "copy.zarr" / "tables" / "table"), truth, lazy=True)


def test_parts_stay_on_disk(done, truth):
    table = done["table"]
    rows = np.random.default_rng(0).permutation(table.n_obs)[: table.n_obs // 2]
    check(table[rows].copy(), truth, lazy=True, rows=rows)
    mask = np.arange(table.n_obs) % 3 == 0
    check(table[mask], truth, lazy=True, rows=mask)
    check(table.copy(), truth, lazy=True)
    check(table.to_memory(), truth, lazy=False)
    check(done.subset(["cells", "table"]), truth, lazy=True)


def test_several_tables_in_one(done, truth):
    table = done["table"]
    both = anndata.concat([table, table], index_unique="-", uns_merge="same")
    check(both, truth, lazy=True, rows=np.tile(np.arange(table.n_obs), 2))


@pytest.mark.filterwarnings("ignore")
def test_a_part_written_and_read(done, truth, tmp_path):
    rows = np.flatnonzero(np.arange(done["table"].n_obs) % 2)
    done["table"][rows].copy().write_zarr(tmp_path / "part.zarr")
    check(anndata.read_zarr(tmp_path / "part.zarr"), truth, lazy=False, rows=rows)


def test_scanpy_reads_it(done, truth):
    """Neighbours take all features into memory.

    covariance_eigh is the only PCA of scanpy's that takes a dask array without dask-ml.
    """
    import scanpy as sc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = anndata.AnnData(obs=done["table"].obs, obsm={"X_kronos": done["table"].obsm["X_kronos"]})
        sc.pp.neighbors(table, use_rep="X_kronos", transformer="sklearn", method="gauss")
        plain = anndata.AnnData(obs=done["table"].obs, obsm={"X_kronos": truth["marker"]})
        sc.pp.neighbors(plain, use_rep="X_kronos", transformer="sklearn", method="gauss")
        np.testing.assert_array_equal(table.obsp["distances"].toarray(), plain.obsp["distances"].toarray())
        x = anndata.AnnData(X=done["table"].obsm["X_kronos"].rechunk({1: -1}))
        sc.pp.pca(x, n_comps=4, svd_solver="covariance_eigh")
    ks.tl.pca(done["table"], n_comps=4, key_added="few")
    ours = done["table"].obsm["X_few"]
    theirs = np.asarray(x.obsm["X_pca"])
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-2 * theirs.std(axis=0).max())
    del done["table"].obsm["X_few"], done["table"].uns["few"]
