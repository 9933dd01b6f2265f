"""Training sets that grow."""

from itertools import pairwise

import anndata
import numpy as np
import pandas as pd
import pytest

import kronos_sc as ks
from kronos_sc.pp._nested_subsets import _ranks


@pytest.fixture
def cells():
    types = pd.Categorical(
        ["B"] * 30 + ["T"] * 500 + [None] * 20 + ["NK"] * 7, categories=["T", "B", "NK", "none of these"]
    )
    return anndata.AnnData(obs=pd.DataFrame({"cell_type": types}, index=[f"c{i}" for i in range(557)]))


def test_each_class_is_numbered_once_through(cells):
    ks.pp.nested_subsets(cells, "cell_type")
    order = cells.obs["cell_type_order"]
    assert order.dtype == np.int32
    for name, n in (("B", 30), ("T", 500), ("NK", 7)):
        assert sorted(order[cells.obs["cell_type"] == name]) == list(range(n))
    assert (order[cells.obs["cell_type"].isna()] == -1).all()


def test_the_first_n_of_any_pool_are_nested(cells):
    ks.pp.nested_subsets(cells, "cell_type", rng=4)
    pool = cells.obs[np.random.default_rng(0).random(cells.n_obs) < 0.7].dropna()
    taken = [
        set(pool.sort_values("cell_type_order").groupby("cell_type", observed=True).head(n).index)
        for n in (1, 5, 20, 100)
    ]
    assert all(small < large for small, large in pairwise(taken))


def test_every_unit_is_as_likely_to_come_first():
    codes = np.array([0] * 3 + [1] * 7)
    firsts = sum(_ranks(codes, 2, np.random.default_rng(seed)) == 0 for seed in range(700))
    assert firsts[3:].sum() == 700
    assert np.abs(firsts[3:] - 100).max() < 4 * np.sqrt(700 * 6 / 49)


def test_the_order_depends_on_the_seed_alone(cells):
    orders = []
    for rng, sizes in ((0, (100,)), (0, (3, 5)), (1, (100,))):
        ks.pp.nested_subsets(cells, "cell_type", rng=rng, sizes=sizes)
        orders.append(cells.obs["cell_type_order"].to_numpy())
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()


def test_small_classes_are_reported(cells, caplog):
    caplog.set_level("INFO", logger="kronos_sc")
    ks.pp.nested_subsets(cells, "cell_type", sizes=(10, 100), key_added="order")
    assert "NK (7) fewer than 10; B (30), NK (7) fewer than 100" in caplog.text
    subsets = ks.get.result(cells, "order")
    assert subsets["class"].tolist() == ["T", "T", "B", "B", "NK", "NK"]
    assert subsets["n_units"].tolist() == [10, 100, 10, 30, 7, 7]


def test_copy_and_files(cells, tmp_path):
    ordered = ks.pp.nested_subsets(cells, "cell_type", copy=True)
    assert "cell_type_order" not in cells.obs
    assert not cells.uns
    ordered.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert back.obs["cell_type_order"].dtype == np.int32
    pd.testing.assert_series_equal(back.obs["cell_type_order"], ordered.obs["cell_type_order"])
    pd.testing.assert_frame_equal(ks.get.result(back, "cell_type_order"), ks.get.result(ordered, "cell_type_order"))


def test_the_tie_to_the_elements_is_not_overwritten(cells):
    cells.uns["spatialdata_attrs"] = {"region": "cells", "region_key": "region", "instance_key": "cell_id"}
    with pytest.raises(ValueError, match=r"obs\['cell_id'\] ties the table to its elements"):
        ks.pp.nested_subsets(cells, "cell_type", key_added="cell_id")


@pytest.mark.parametrize(
    ("target", "sizes", "error", "message"),
    [
        ("type", (5,), KeyError, "no column in obs 'type'"),
        ("cell_type", (5, 0), ValueError, "each of sizes must be a whole number of at least 1, got 0"),
        ("same", (5,), ValueError, "has 1 classes .* at least 2 are needed"),
    ],
)
def test_errors(cells, target, sizes, error, message):
    cells.obs["same"] = "x"
    with pytest.raises(error, match=message):
        ks.pp.nested_subsets(cells, target, sizes=sizes)
    assert not cells.uns
