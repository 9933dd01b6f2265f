from __future__ import annotations

import numpy as np
import pytest

from kronos_sc.datasets import tissue

CLASSES = ["nest", "stroma", "follicle", "vessel"]


@pytest.fixture(scope="module")
def pair():
    """The same tissue without and with the compartments of its pixels."""
    kwargs = {"shape": (300, 340), "channels": ["DAPI", "CD8"], "rng": 4, "artifacts": ["blur"]}
    return tissue(**kwargs), tissue(**kwargs, regions=True)


def test_nothing_else_changes(pair):
    plain, with_regions = pair
    assert "regions" not in plain
    assert list(plain.tables) == ["table"]
    for name in ("image", "cells", "artifacts"):
        assert np.array_equal(plain[name], with_regions[name])
    assert plain["table"].obs.equals(with_regions["table"].obs)


def test_cells_lie_in_the_compartment_that_their_row_names(pair):
    """Cells are placed by the same rules; those at a border may be drawn a little way across it."""
    with_regions = pair[1]
    codes = np.asarray(with_regions["regions"])
    table = with_regions["table"]
    assert codes.dtype == np.uint8
    assert set(np.unique(codes)) <= {1, 2, 3, 4}
    x, y = table.obsm["spatial"].astype(int).T
    assert list(table.obs["region"].cat.categories) == CLASSES
    same = codes[y, x] == table.obs["region"].cat.codes + 1
    assert same.mean() > 0.95
    assert same.groupby(table.obs["region"], observed=True).mean().min() > 0.85


def test_the_table_names_the_codes(pair):
    with_regions = pair[1]
    obs = with_regions["regions_table"].obs
    assert obs["label"].tolist() == [1, 2, 3, 4]
    assert obs["class"].tolist() == CLASSES
    assert obs["area"].tolist() == np.bincount(np.asarray(with_regions["regions"]).ravel(), minlength=5)[1:].tolist()
    assert obs["share"].sum() == pytest.approx(1)
    assert len(with_regions["regions_table"].uns["class_colors"]) == 4


def test_several_images_and_the_way_to_disk(tmp_path):
    import spatialdata

    sdata = tissue(shape=(96, 96), channels=["DAPI"], n_images=2, regions=True)
    assert {"regions_0", "regions_1"} <= set(sdata.labels)
    sdata.write(tmp_path / "t.zarr")
    obs = spatialdata.read_zarr(tmp_path / "t.zarr")["regions_table"].obs
    assert obs["region"].astype(str).tolist() == ["regions_0"] * 4 + ["regions_1"] * 4
    assert obs["class"].tolist() == CLASSES * 2
