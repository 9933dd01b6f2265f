"""Any array-like, read by rows or in blocks, gives the same numbers."""

from __future__ import annotations

import anndata
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

from kronos_sc import settings
from kronos_sc._core.representation import Representation, representation, representations

VALUES = np.random.default_rng(0).random((23, 5)).astype(np.float32)
PICK = np.array([7, 3, 3, 22, 0])


@pytest.fixture(params=["numpy", "float16", "frame", "sparse", "dask", "zarr", "hdf5"])
def rep(request, tmp_path) -> Representation:
    made = {
        "numpy": lambda: VALUES,
        "float16": lambda: VALUES.astype(np.float16),
        "frame": lambda: pd.DataFrame(VALUES),
        "sparse": lambda: sp.csr_matrix(VALUES),
        "dask": lambda: da.from_array(VALUES, chunks=(4, 2)),
        "zarr": lambda: zarr.create_array(tmp_path / "a.zarr", data=VALUES, chunks=(4, 2)),
        "hdf5": lambda: h5py.File(tmp_path / "a.h5", "w").create_dataset("a", data=VALUES),
    }
    return Representation("X_any", made[request.param]())


def close(values: np.ndarray, expected: np.ndarray) -> None:
    assert values.dtype == np.float32
    assert values.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(values, expected, atol=5e-4)  # float16 in between


def test_rows_in_the_order_asked_for(rep) -> None:
    close(rep.rows(PICK), VALUES[PICK])
    close(rep.rows(np.arange(23) % 2 == 0), VALUES[::2])
    close(rep.rows(slice(3, 9)), VALUES[3:9])
    close(rep.rows(), VALUES)
    assert (rep.n_units, rep.width, rep.label) == (23, 5, "any")


@pytest.mark.parametrize("rows", [None, PICK, np.arange(4, 20)])
def test_blocks_cover_the_rows_once(rep, rows) -> None:
    wanted = np.arange(23) if rows is None else rows
    parts = list(rep.blocks(rows, size=4))
    np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), wanted)
    assert max(len(part) for part, _ in parts) == 4
    close(np.concatenate([values for _, values in parts]), VALUES[wanted])


def test_a_block_fits_the_setting(monkeypatch) -> None:
    monkeypatch.setattr(settings, "block_memory", 5 * 4 * 6)
    assert [len(part) for part, _ in Representation("X", VALUES).blocks()] == [6, 6, 6, 5]


def test_finite(rep) -> None:
    assert rep.finite.all()
    spoilt = VALUES.copy()
    spoilt[4, 1], spoilt[9, 0] = np.nan, np.inf
    assert np.flatnonzero(~Representation("X", spoilt).finite).tolist() == [4, 9]


def test_nothing_is_copied_that_need_not_be() -> None:
    assert np.shares_memory(Representation("X", VALUES).rows(slice(2, 9)), VALUES)


@pytest.fixture
def table() -> anndata.AnnData:
    adata = anndata.AnnData(np.ones((4, 2), np.float32))
    adata.obsm.update(
        {
            "X_pca": np.ones((4, 3)),
            "X_kronos": np.ones((4, 6)),
            "X_kronos_cls": np.ones((4, 2)),
            "X_mean_marker": np.ones((4, 2)),
        }
    )
    adata.uns["kronos"] = {"model": {}, "panel": {}, "params": {}}
    adata.uns["mean_marker"] = {"model": {}, "panel": {}, "params": {}}
    return adata


def names(adata, use_rep) -> list[str]:
    return [rep.name for rep in representations(adata, use_rep)]


def test_all_embeddings_on_record_and_the_baseline(table) -> None:
    assert names(table, None) == ["X_kronos", "X_kronos_cls", "X_mean_marker"]


def test_the_baseline_is_always_there(table) -> None:
    assert names(table, "X_pca") == ["X_pca", "X_mean_marker"]
    assert names(table, ["X_mean_marker", "X_pca"]) == ["X_mean_marker", "X_pca"]
    del table.obsm["X_mean_marker"]
    assert names(table, "X_pca") == ["X_pca", "X"]
    assert names(table, "X") == ["X"]


def test_without_a_baseline_the_named_ones_alone(table) -> None:
    bare = anndata.AnnData(obs=table.obs, obsm={"X_pca": table.obsm["X_pca"]})
    assert names(bare, "X_pca") == ["X_pca"]
    with pytest.raises(KeyError, match="no embedding on record"):
        representations(bare, None)
    with pytest.raises(KeyError, match="no X"):
        representation(bare, "X")


def test_unknown_and_misshapen(table) -> None:
    with pytest.raises(KeyError, match="Did you mean 'X_kronos'"):
        representation(table, "X_kronso")
    table.obsm["cube"] = np.ones((4, 2, 2))
    with pytest.raises(ValueError, match=r"shape \(4, 2, 2\)"):
        representation(table, "cube")


def test_the_baseline_goes_last_whenever_it_was_made(table) -> None:
    table.uns = dict(reversed(list(table.uns.items())))
    assert names(table, None) == ["X_kronos", "X_kronos_cls", "X_mean_marker"]


def test_embeddings_without_a_record_are_not_passed_over(table) -> None:
    """As after anndata.concat, which drops `uns`."""
    table.uns = {}
    with pytest.raises(ValueError, match=r"'X_kronos', 'X_kronos_cls'.*uns_merge='same'.*use_rep="):
        representations(table, None)
    assert names(table, "X_kronos") == ["X_kronos", "X_mean_marker"]


def test_two_of_one_name(table) -> None:
    table.obsm["pca"] = np.ones((4, 3))
    with pytest.raises(ValueError, match="go by the name 'pca'"):
        representations(table, ["X_pca", "pca"])


class Counted:
    """A lazily made array that says which of its chunks were computed."""

    def __init__(self, rows: tuple[int, ...] = (4, 4, 4, 4, 4, 3)) -> None:
        self.computed: list[int] = []
        edges = np.cumsum([0, *rows])

        def make(block_info=None) -> np.ndarray:
            number = block_info[None]["chunk-location"][0]
            self.computed.append(number)
            return VALUES[edges[number] : edges[number + 1]]

        self.values = da.map_blocks(make, chunks=(rows, (5,)), dtype=np.float32, meta=np.empty((0, 0), np.float32))


@pytest.mark.parametrize("size", [1, 3, 4, 5, 7, 23])
@pytest.mark.parametrize("rows", [None, np.delete(np.arange(23), [2, 3, 9]), np.arange(1, 23, 2), np.arange(6, 21)])
def test_blocks_compute_each_chunk_once_wherever_they_end(size, rows) -> None:
    counted = Counted()
    wanted = np.arange(23) if rows is None else rows
    parts = list(Representation("X_any", counted.values).blocks(rows, size=size))
    close(np.concatenate([values for _, values in parts]), VALUES[wanted])
    assert sorted(counted.computed) == list(range(1 if rows is not None and rows[0] > 3 else 0, 6))


def test_of_chunks_far_larger_than_a_block_the_rows_asked_for_are_computed(monkeypatch) -> None:
    monkeypatch.setattr(settings, "block_memory", 5 * 4 * 2)
    asked = []

    class Source:
        shape, dtype, ndim = VALUES.shape, VALUES.dtype, 2

        def __getitem__(self, key):
            asked.append(len(VALUES[key]))
            return VALUES[key]

    rep = Representation("X_any", da.from_array(Source(), chunks=-1, asarray=False, name=False))
    close(np.concatenate([values for _, values in rep.blocks()]), VALUES)
    assert max(asked) <= 4


def test_rows_far_apart_are_picked_and_others_read_as_a_range() -> None:
    counted = Counted()
    rep = Representation("X_any", counted.values)
    close(rep.rows(np.array([22, 0, 22])), VALUES[[22, 0, 22]])
    assert sorted(counted.computed) == [0, 5]
    counted.computed.clear()
    close(rep.rows(np.array([9, 7, 8, 5])), VALUES[[9, 7, 8, 5]])
    assert sorted(counted.computed) == [1, 2]


def test_no_rows_at_all(rep) -> None:
    assert rep.rows(np.array([], np.int64)).shape == (0, 5)
    assert list(rep.blocks(np.array([], np.int64))) == []


def test_where_numbers_are_missing_is_found_out_once_per_dask_array() -> None:
    counted = Counted()
    assert Representation("X_any", counted.values).finite.all()
    assert Representation("X_other", counted.values).finite.all()
    assert len(counted.computed) == 6
    counted.values[3, 2] = np.nan
    assert np.flatnonzero(~Representation("X_any", counted.values).finite).tolist() == [3]
    assert Representation("X_any", da.from_array(VALUES, chunks=5)).finite.all()


def test_what_is_known_of_an_array_goes_with_it() -> None:
    import gc

    from kronos_sc._core import lazy

    gc.collect()
    before = len(lazy._KNOWN)
    values = da.from_array(VALUES, chunks=5)
    assert Representation("X_any", values).finite.all()
    assert len(lazy._KNOWN) == before + 1
    del values
    gc.collect()
    assert len(lazy._KNOWN) == before
