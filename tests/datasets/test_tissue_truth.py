from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from scipy import ndimage
from skimage import measure
from spatialdata.transformations import get_transformation

from kronos_sc.datasets import tissue
from kronos_sc.datasets._sim.panel import DEFAULT_PANEL
from kronos_sc.datasets._sim.phenotypes import CELL_TYPES, REGIONS


def test_every_label_has_one_row_and_pixels(one):
    labels = np.asarray(one["cells"])
    table = one["table"]
    assert np.array_equal(np.unique(labels[labels > 0]), table.obs["cell_id"])
    assert np.array_equal(np.bincount(labels.ravel())[1:], table.obs["area"])
    assert (table.obs["area"] * 0.25 >= 6).all()  # µm²


def test_every_cell_is_in_one_piece(one):
    labels = np.asarray(one["cells"])
    assert measure.label(labels, background=0, connectivity=1).max() == one["table"].n_obs


def test_table_agrees_with_the_written_pixels(one):
    labels = np.asarray(one["cells"])
    pixels = np.asarray(one["image"])
    table = one["table"]
    numbers = table.obs["cell_id"]
    means = np.stack([ndimage.mean(channel, labels, numbers) for channel in pixels], axis=1) / 65535
    np.testing.assert_allclose(table.X, means, rtol=1e-6)
    assert table.X.dtype == np.float32
    centres = np.array([region.centroid for region in measure.regionprops(labels)])[:, ::-1] + 0.5
    np.testing.assert_allclose(table.obsm["spatial"], centres, rtol=1e-9)
    assert (table.obsm["spatial"] > 0).all()
    assert (table.obsm["spatial"] < [480, 420]).all()


def test_shape_of_what_comes_back(one):
    image = one["image"]
    table = one["table"]
    assert image.dims == ("c", "y", "x")
    assert image.dtype == np.uint16
    assert tuple(image.coords["c"].values) == DEFAULT_PANEL == tuple(table.var_names)
    assert len(DEFAULT_PANEL) == 20
    assert image.data.chunksize == (1, 420, 480)
    assert table.obs_names.is_unique
    assert list(table.obs["cell_type"].cat.categories) == list(CELL_TYPES)
    assert list(table.obs["region"].cat.categories) == list(REGIONS)
    assert table.uns["spatialdata_attrs"] == {"region": "cells", "region_key": "element", "instance_key": "cell_id"}
    for state in ("proliferation", "activation"):
        assert table.obs[state].between(0, 1).all()


def test_micrometres_are_a_coordinate_system():
    sdata = tissue(shape=(64, 80), channels=["DAPI"], mpp=0.65)
    for element in ("image", "cells"):
        scale = get_transformation(sdata[element], "um").to_affine_matrix(("x", "y"), ("x", "y"))
        np.testing.assert_allclose(scale, np.diag([0.65, 0.65, 1]))
        assert get_transformation(sdata[element], "global") is not None


def test_eight_bits_use_more_of_the_range(one):
    shallow = tissue(shape=(420, 480), channels=["DAPI"], bit_depth=8, rng=3)
    assert shallow["image"].dtype == np.uint8
    assert np.array_equal(shallow["cells"], one["cells"])
    dapi = np.asarray(one["image"].sel(c="DAPI")) / 65535
    assert 0.003 < np.percentile(dapi, 5) < 0.04
    assert 0.2 < np.percentile(dapi, 99) < 0.65
    assert np.percentile(np.asarray(shallow["image"]) / 255, 99) > 1.5 * np.percentile(dapi, 99)


def test_pixel_size_scales_cells_not_their_size_in_micrometres():
    areas = [
        tissue(shape=(side, side), channels=["DAPI"], mpp=mpp, rng=1)["table"].obs["area"].median() * mpp**2
        for side, mpp in ((480, 0.25), (120, 1.0))
    ]
    assert areas[0] == pytest.approx(areas[1], rel=0.15)


def test_round_trip_through_zarr(study, tmp_path):
    study.write(tmp_path / "study.zarr")
    back = sd.read_zarr(tmp_path / "study.zarr")
    pd.testing.assert_frame_equal(back["table"].obs, study["table"].obs)
    assert np.array_equal(back["image_3"], study["image_3"])
    assert np.array_equal(back["cells_7"], study["cells_7"])
    assert back["table"].uns["tissue"]["rng"] == 5
    assert back["table"].uns["tissue"]["mpp"] == 0.5


def test_scanpy_and_squidpy_take_the_table(one):
    sc = pytest.importorskip("scanpy")
    sq = pytest.importorskip("squidpy")
    table = one["table"].copy()
    sc.pp.pca(table, n_comps=5)
    assert table.obsm["X_pca"].shape == (table.n_obs, 5)
    sq.gr.spatial_neighbors_knn(table, n_neighs=6)
    beside = table.obsp["spatial_connectivities"]
    tumour, b_cell = ((table.obs["cell_type"] == kind).to_numpy(dtype=float) for kind in ("Tumor", "B cell"))
    # Neighbours of tumour cells, against what a shuffled tissue would give.
    assert tumour @ beside @ tumour / (6 * tumour.sum()) > 2 * tumour.mean()
    assert tumour @ beside @ b_cell / (6 * tumour.sum()) < 0.5 * b_cell.mean()
