"""Which cells and boxes hold a motif."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad, read_zarr

import kronos_sc as ks


@pytest.fixture
def cells() -> AnnData:
    """A motif in image a, and its parts too far from each other in image b."""
    xy = [[10, 10], [14, 10], [10, 15], [90, 90], [10, 10], [60, 60], [10, 60]]
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(["Tumor", "Treg", "CD4", "Tumor", "Tumor", "Treg", "CD4"]),
            "image": list("aaaabbb"),
        },
        index=[f"cell_{i}" for i in range(7)],
    )
    return AnnData(obs=obs, obsm={"spatial": np.array(xy, float)})


@pytest.fixture
def boxes() -> AnnData:
    obs = pd.DataFrame({"image": list("aabb")}, index=[f"patch_{i}" for i in range(4)])
    return AnnData(obs=obs, obsm={"spatial": np.array([[16, 16], [80, 80], [16, 16], [80, 80]], float)})


TYPES = ("Tumor", "Treg", "CD4")


def test_cells_by_hand(cells):
    ks.tl.motif_query(cells, TYPES, target="cell_type", radius=5, library_key="image")
    assert cells.obs["motif"].tolist() == [
        True,
        False,
        False,
        False,
        False,
        False,
        False,
    ]  # the Treg is 6.4 from the CD4
    ks.tl.motif_query(cells, TYPES, target="cell_type", radius=7, library_key="image", key_added="wide")
    assert cells.obs["wide_count"].tolist() == [1, 1, 1, 0, 0, 0, 0]
    table = ks.get.result(cells, "wide")
    assert table.to_dict("list") == {"image": ["a", "b"], "n_units": [4, 3], "n_found": [3, 0]}


def test_radius_in_micrometres(cells):
    ks.tl.motif_query(cells, TYPES, target="cell_type", radius=3.5, mpp=0.5, library_key="image")
    ks.tl.motif_query(cells, TYPES, target="cell_type", radius=7, library_key="image", key_added="pixels")
    pd.testing.assert_series_equal(cells.obs["motif"], cells.obs["pixels"], check_names=False)


def test_numbers_of_cells(cells):
    ks.tl.motif_query(cells, {"Tumor": 2}, target="cell_type", radius=200, library_key="image")
    assert cells.obs["motif"].tolist() == [True, False, False, True, False, False, False]


def test_cells_of_different_images_are_never_close(cells):
    cells.obsm["spatial"][4:] = cells.obsm["spatial"][:3]
    cells.obs["cell_type"] = ["Tumor"] * 4 + ["Treg"] * 3
    with pytest.warns(UserWarning, match=r"No unit holds Tumor \+ Treg within 50 pixels"):
        ks.tl.motif_query(cells, ["Tumor", "Treg"], target="cell_type", radius=50, library_key="image")
    ks.tl.motif_query(cells, ["Tumor", "Treg"], target="cell_type", radius=50)
    assert cells.obs["motif"].sum() == 6


def test_boxes_by_hand(cells, boxes):
    ks.tl.motif_query(cells, TYPES, target="cell_type", radius=7, patches=boxes, patch_size=32, library_key="image")
    assert boxes.obs["motif"].tolist() == [True, False, False, False]
    assert "motif" not in cells.obs
    ks.tl.motif_query(
        cells,
        TYPES,
        target="cell_type",
        radius=70,
        patches=boxes,
        patch_size=200,
        library_key="image",
        key_added="large",
    )
    assert boxes.obs["large"].all()
    small = {
        "target": "cell_type",
        "radius": 7,
        "patches": boxes,
        "patch_size": 10,
        "library_key": "image",
        "key_added": "small",
    }
    with pytest.warns(UserWarning, match="No unit holds"):
        out = ks.tl.motif_query(cells, TYPES, **small, copy=True)
    assert not out.obs["small"].any()
    assert "small" not in boxes.obs


def test_boxes_go_with_the_cells_of_their_image():
    """Elements cells_0, cells_1 and boxes of image 1 only."""
    sdata = ks.datasets.tissue(shape=(128, 128), n_images=2, channels=["DAPI"])
    ks.pp.tile(sdata, size=64, image_key="image_1", key_added="patches_1")
    cells, boxes = sdata["table"], sdata["patches_1_table"]
    ks.tl.motif_query(cells, ["Tumor"], target="cell_type", radius=5, patches=boxes, patch_size=64)
    own = cells[cells.obs["element"] == "cells_1"]
    tumour = own.obsm["spatial"][(own.obs["cell_type"] == "Tumor").to_numpy()]
    expected = [bool((np.abs(tumour - centre) <= 32).all(axis=1).any()) for centre in boxes.obsm["spatial"]]
    assert boxes.obs["motif"].tolist() == expected
    boxes.obs["region"] = pd.Categorical(["patches"] * boxes.n_obs)
    with pytest.raises(ValueError, match="Boxes of 'patches' belong to no image of the cells"):
        ks.tl.motif_query(cells, ["Tumor"], target="cell_type", radius=5, patches=boxes, patch_size=64)


def test_then_search_for_the_like(cells):
    cells.obsm["X_kronos"] = np.arange(7, dtype=np.float32)[:, None]
    ks.tl.motif_query(cells, TYPES, target="cell_type", radius=7, library_key="image")
    ks.tl.retrieve(cells, "motif", k=1, groupby="image", within="other")
    assert ks.get.result(cells, "retrieval")["hit"].tolist() == ["cell_4"] * 3


def test_copy_and_files(cells, tmp_path):
    out = ks.tl.motif_query(cells, TYPES, target="cell_type", radius=7, library_key="image", copy=True)
    assert "motif" not in cells.obs
    out.write_h5ad(tmp_path / "a.h5ad")
    out.write_zarr(tmp_path / "a.zarr")
    for back in (read_h5ad(tmp_path / "a.h5ad"), read_zarr(tmp_path / "a.zarr")):
        pd.testing.assert_frame_equal(ks.get.result(back, "motif"), ks.get.result(out, "motif"))
        assert back.obs["motif"].dtype == bool


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"types": ["Tumour"]}, KeyError, "no type in obs.'cell_type'. 'Tumour'.*Did you mean 'Tumor'"),
        ({"types": []}, ValueError, "types is empty; name cell types"),
        ({"types": {"Treg": 0}}, ValueError, "types.'Treg'. must be a whole number"),
        ({"radius": 0}, ValueError, "radius must be a positive number"),
        ({"radius": "20"}, ValueError, "radius must be a positive number"),
        ({"mpp": -1}, ValueError, "mpp must be a positive number"),
        ({"target": "type"}, KeyError, "no column in obs 'type'"),
        ({"spatial_key": "xy"}, KeyError, "spatial_key="),
        ({"patch_size": 9}, ValueError, "patch_size was given alone; add patches="),
        ({"patches": 1}, ValueError, "patches was given alone; add patch_size="),
        ({"library_key": "slide"}, KeyError, "no column in obs 'slide'"),
    ],
)
def test_error(cells, boxes, how, error, message):
    how = {"types": TYPES, "target": "cell_type", "radius": 5} | how
    if "patches" in how:
        how["patches"] = boxes
    with pytest.raises(error, match=message):
        ks.tl.motif_query(cells, how.pop("types"), **how)
    assert "motif" not in cells.obs
    assert not cells.uns
