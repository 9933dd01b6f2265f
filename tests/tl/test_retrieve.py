"""Search in one table, within groups and across tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad, read_zarr

import kronos_sc as ks
from kronos_sc._core import results


@pytest.fixture
def cells() -> AnnData:
    rng = np.random.default_rng(0)
    columns = {"image": pd.Categorical(rng.choice(["a", "b", "c"], 90)), "chosen": rng.random(90) < 0.2}
    adata = AnnData(obs=pd.DataFrame(columns, index=[f"cell_{i}" for i in range(90)]))
    adata.obsm["X_kronos"] = rng.normal(size=(90, 12)).astype(np.float32)
    return adata


def by_loop(adata, k, allowed, rows=None):
    """Rows of the nearest allowed units, from a matrix of distances."""
    x = adata.obsm["X_kronos"].astype(float)
    rows = np.arange(len(x)) if rows is None else rows
    distance = np.linalg.norm(x[rows, None] - x[None], axis=2)
    distance[~allowed] = np.inf
    return np.argsort(distance, axis=1, kind="stable")[:, :k], np.sort(distance, axis=1)[:, :k]


def test_every_unit_but_itself(cells):
    ks.tl.retrieve(cells, k=4)
    index, distance = by_loop(cells, 4, ~np.eye(90, dtype=bool))
    np.testing.assert_array_equal(results.array(cells, "retrieval", "index"), index)
    np.testing.assert_allclose(results.array(cells, "retrieval", "distance"), distance, rtol=1e-6)
    hits = ks.get.result(cells, "retrieval")
    assert list(hits.columns) == ["query", "rank", "hit", "distance"]
    assert hits["hit"].tolist() == cells.obs_names[index.ravel()].tolist()
    assert hits["rank"].tolist() == [1, 2, 3, 4] * 90
    ranks = ks.get.result(cells, "retrieval", table="ranks")
    assert list(ranks) == ["rank", "n_units", "mean", "min", "max"]
    assert (ranks["n_units"] == len(distance)).all()
    for name in ("mean", "min", "max"):
        np.testing.assert_allclose(ranks[name], getattr(distance, name)(axis=0), rtol=1e-6)


@pytest.mark.parametrize("within", ["same", "other"])
def test_within_and_outside_the_own_group(cells, within):
    ks.tl.retrieve(cells, k=3, groupby="image", within=within)
    image = cells.obs["image"].to_numpy()
    same = image[:, None] == image[None]
    index, _ = by_loop(cells, 3, (same if within == "same" else ~same) & ~np.eye(90, dtype=bool))
    np.testing.assert_array_equal(results.array(cells, "retrieval", "index"), index)
    hits = ks.get.result(cells, "retrieval")
    assert ((hits["group"] == hits["hit_group"]) == (within == "same")).all()


def test_queries_by_name_by_column_and_in_any_order(cells):
    names = ["cell_7", "cell_3"]
    ks.tl.retrieve(cells, names, k=2, key_added="named")
    ks.tl.retrieve(cells, "cell_3", k=2, key_added="one")
    ks.tl.retrieve(cells, "chosen", k=2, key_added="column")
    everything = cells.copy()
    ks.tl.retrieve(everything, k=2)
    expected = results.array(everything, "retrieval", "index")
    np.testing.assert_array_equal(results.array(cells, "named", "index"), expected[[7, 3]])
    np.testing.assert_array_equal(results.array(cells, "one", "index"), expected[[3]])
    np.testing.assert_array_equal(results.array(cells, "column", "index"), expected[cells.obs["chosen"]])
    assert pd.unique(ks.get.result(cells, "named")["query"]).tolist() == names


def test_equal_units_are_not_lost_and_none_answers_itself(cells):
    cells.obsm["X_kronos"][10:20] = 1
    ks.tl.retrieve(cells, k=3)
    index = results.array(cells, "retrieval", "index")
    assert not (index == np.arange(90)[:, None]).any()
    assert index[10].tolist() == [11, 12, 13]
    assert index[19].tolist() == [10, 11, 12]


def test_another_table_with_another_order_of_markers(cells):
    other = AnnData(np.arange(12, dtype=np.float32).reshape(4, 3), var=pd.DataFrame(index=["CD8", "DAPI", "CD3"]))
    mine = AnnData(np.array([[10.1, 9]], np.float32), var=pd.DataFrame(index=["DAPI", "CD8"]))
    mine.obs_names, other.obs_names = ["q"], list("wxyz")
    ks.tl.retrieve(mine, use_rep="X", reference=other, k=2)
    hits = ks.get.result(mine, "retrieval")
    assert hits["hit"].tolist() == ["z", "y"]
    np.testing.assert_allclose(hits["distance"], [0.1, np.hypot(3, 3.1)], rtol=1e-5)


def test_the_same_unit_may_answer_from_another_table(cells):
    with pytest.warns(UserWarning, match="no record of tl.embed"):
        ks.tl.retrieve(cells, "cell_5", reference=cells.copy(), k=1)
    assert ks.get.result(cells, "retrieval")["hit"].tolist() == ["cell_5"]


def test_cosine(cells):
    x = cells.obsm["X_kronos"]
    cells.obsm["X_kronos"] = np.concatenate([x[:45], 7 * x[:45]])
    ks.tl.retrieve(cells, k=1, metric="cosine")
    assert results.array(cells, "retrieval", "index").ravel().tolist() == [*range(45, 90), *range(45)]
    np.testing.assert_allclose(results.array(cells, "retrieval", "distance"), 0, atol=1e-6)


@pytest.mark.parametrize("store", ["dask", "sparse", "float16", "frame"])
def test_representations_that_lie_elsewhere(cells, store, monkeypatch):
    x = cells.obsm["X_kronos"] = cells.obsm["X_kronos"].astype(np.float16).astype(np.float32)
    ks.tl.retrieve(cells, k=3)
    expected = {name: results.array(cells, "retrieval", name) for name in ("index", "distance")}
    if store == "dask":
        import dask.array as da

        cells.obsm["X_kronos"] = da.from_array(x, chunks=(17, 12))
    elif store == "sparse":
        from scipy.sparse import csr_matrix

        cells.obsm["X_kronos"] = csr_matrix(x)
    else:
        cells.obsm["X_kronos"] = x.astype(np.float16) if store == "float16" else pd.DataFrame(x, index=cells.obs_names)
    monkeypatch.setattr(ks.settings, "block_memory", 4 * 12 * 10)  # ten rows at a time
    ks.tl.retrieve(cells, k=3)
    for name, wanted in expected.items():
        np.testing.assert_array_equal(results.array(cells, "retrieval", name), wanted)


def test_small_groups_get_fewer_answers_and_a_warning(cells):
    cells.obs["image"] = ["a"] * 87 + ["b"] * 2 + ["c"]
    with pytest.warns(UserWarning, match="3 of 90 queries have fewer than 2 answers"):
        ks.tl.retrieve(cells, k=2, groupby="image", within="same")
    index, distance = (results.array(cells, "retrieval", name) for name in ("index", "distance"))
    assert index[87:].tolist() == [[88, -1], [87, -1], [-1, -1]]
    assert np.isinf(distance[index < 0]).all()
    assert len(ks.get.result(cells, "retrieval")) == 87 * 2 + 2


def test_units_without_features_or_group_are_left_out(cells):
    cells.obsm["X_kronos"][4] = np.nan
    cells.obs["image"] = cells.obs["image"].where(np.arange(90) != 9)
    ks.tl.retrieve(cells, k=2, groupby="image", within="other")
    assert results.array(cells, "retrieval", "query").tolist() == [i for i in range(90) if i not in (4, 9)]
    assert not np.isin(results.array(cells, "retrieval", "index"), [4, 9]).any()


def test_too_many_answers_for_a_table_stay_arrays(cells, monkeypatch):
    from kronos_sc.tl import _retrieve

    monkeypatch.setattr(_retrieve, "_MOST_HITS", 100)
    ks.tl.retrieve(cells, k=2)
    assert ks.get.result(cells, "retrieval").columns[0] == "rank"
    assert results.array(cells, "retrieval", "index").shape == (90, 2)


def test_copy_and_files(cells, tmp_path):
    assert "retrieval" not in cells.uns
    out = ks.tl.retrieve(cells, "chosen", k=2, groupby="image", within="same", copy=True)
    assert "retrieval" not in cells.uns
    out.write_h5ad(tmp_path / "a.h5ad")
    out.write_zarr(tmp_path / "a.zarr")
    for back in (read_h5ad(tmp_path / "a.h5ad"), read_zarr(tmp_path / "a.zarr")):
        pd.testing.assert_frame_equal(ks.get.result(back, "retrieval"), ks.get.result(out, "retrieval"))
        np.testing.assert_array_equal(
            results.array(back, "retrieval", "index"), results.array(out, "retrieval", "index")
        )
        ks.tl.retrieve(back, "chosen", k=2)  # the column is still true and false


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"query": "cell_900"}, KeyError, "no units 'cell_900'; names look like 'cell_0'"),
        ({"query": []}, KeyError, "Pass obs_names"),
        ({"query": "image"}, ValueError, "not true and false"),
        ({"query": "nobody"}, ValueError, "true for no unit"),
        ({"query": ["cell_4"]}, ValueError, "1 queries have NaN"),
        ({"k": 89}, ValueError, "there are 88 units to search"),
        ({"k": 0}, ValueError, "k must be a whole number"),
        ({"metric": "l1"}, ValueError, "metric='l1' is not a choice"),
        ({"groupby": "image"}, ValueError, "groupby was given alone; add within='same'"),
        ({"within": "same"}, ValueError, "within was given alone; add groupby="),
        ({"within": "both", "groupby": "image"}, ValueError, "within='both' is not a choice"),
        ({"groupby": "donor", "within": "same"}, KeyError, "no column in obs 'donor'"),
        ({"use_rep": "X_uni"}, KeyError, "no representation in obsm 'X_uni'"),
        ({"reference": "cells.h5ad"}, TypeError, "Expected an AnnData"),
    ],
)
def test_error(cells, how, error, message):
    cells.obs["nobody"] = False
    cells.obsm["X_kronos"][4] = np.nan
    with pytest.raises(error, match=message):
        ks.tl.retrieve(cells, **how)
    assert "retrieval" not in cells.uns


def test_repeated_names_cannot_be_queries(cells):
    cells.obs_names = ["a"] * 90
    with pytest.raises(ValueError, match="obs_names_make_unique"):
        ks.tl.retrieve(cells, "a")
