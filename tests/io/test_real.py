"""Images as instruments and labs really write them; see SOURCE.md beside each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.measure import regionprops_table

import kronos_sc as ks
from kronos_sc.patches import pixel_size, raster

VECTRA = "vectra_opal_5ch_labelled/FIHC4__0929309_HP_IM3_2_"
IMC = "imc_mcd_testdata/20210305_NE_mockData5_s0_a1_ac"


def names(sdata):
    return sdata.images["image"].c.values.tolist()


def same_pixels(sdata, path):
    np.testing.assert_array_equal(sdata.images["image"].data.compute(), tifffile.imread(path))


def test_codex_56_channels(real):
    folder = real / "codex_lymph_56ch_labelled"
    sdata = ks.io.read_tiff(folder / "crop512.image.ome.tif", mask=folder / "crop512.mask.tif", mpp=0.5)
    same_pixels(sdata, folder / "crop512.image.ome.tif")
    assert len(names(sdata)) == 56
    assert names(sdata)[:3] == ["DAPI", "TIM3", "CD4 Cy7"]
    assert pixel_size(raster(sdata, "image")) == 0.5
    table = sdata.tables["table"]
    assert table.shape == (1021, 0)
    theirs = pd.read_csv(folder / "cells.csv").set_index("label").reindex(table.obs["cell_id"])
    # their table was made before the window was cut: cells at its border have lost pixels, or have no row
    whole = (theirs["area"].to_numpy() == table.obs["area"]).to_numpy()
    assert whole.sum() == 914
    # their centroids are mean indices, half a pixel before ours
    np.testing.assert_allclose(table.obsm["spatial"][whole], theirs[["x", "y"]].to_numpy()[whole] + 0.5, atol=1e-9)
    edge = np.minimum(table.obsm["spatial"], 512 - table.obsm["spatial"]).min(axis=1)
    assert edge[~whole].max() < 20


def test_codex_large_labels(real):
    folder = real / "codex_lymph_5ch_500px_labelled"
    sdata = ks.io.read_tiff(folder / "image.ome.tif", mask=folder / "mask.tif", chunks=131)
    assert names(sdata) == ["DAPI", "CD4", "CD8", "FOXP3", "BCL6"]
    table = sdata.tables["table"]
    assert sdata.labels["cells"].dtype == np.uint32
    assert (len(table), table.obs["cell_id"].max(), table.obs["area"].min()) == (3640, 218_917, 1)
    expected = regionprops_table(tifffile.imread(folder / "mask.tif"), properties=("label", "area", "centroid"))
    np.testing.assert_array_equal(table.obs["cell_id"], expected["label"])
    np.testing.assert_allclose(
        table.obsm["spatial"] - 0.5, np.stack([expected["centroid-1"], expected["centroid-0"]], 1), rtol=1e-9
    )


def test_codex_three_segmentations(real):
    start = real / "codex_hubmap_5ch_expert_masks"
    masks = {"expert1": "mask_expert1", "expert2": "mask_expert2", "mesmer": "mask_DeepCell-0.9.0_membrane"}
    masks = {name: start / f"R001_X003_Y004.{file}.tif" for name, file in masks.items()}
    sdata = ks.io.read_tiff(start / "R001_X003_Y004.channels.ome.tif", mask=masks)
    assert names(sdata) == ["CH_7", "CH_11", "CH_19", "CH_20", "CH_24"]
    assert sdata.tables["table"].obs["region"].value_counts().to_dict() == {
        "expert1": 3431,
        "expert2": 2094,
        "mesmer": 2745,
    }
    assert sdata.tables["table"].obs_names.is_unique


def test_cell_dive(real):
    folder = real / "celldive_breast_13ch"
    masks = {"cells": folder / "instanseg_cell.tif", "nuclei": folder / "instanseg_nucleus.tif"}
    sdata = ks.io.read_tiff(folder / "image.ome.tif", mask=masks)
    same_pixels(sdata, folder / "image.ome.tif")
    assert names(sdata)[-4:] == ["GATA3", "HER2", "ProgRc", "SMA"]
    assert sdata.tables["table"].obs["region"].value_counts().to_dict() == {"cells": 386, "nuclei": 371}


def test_phenocycler(real):
    sdata = ks.io.read_tiff(real / "phenocycler_nsclc_tma_6ch" / "level1.image.ome.tif")
    assert names(sdata) == ["DAPI", "E-cadherin", "Vimentin", "Pan-Cytokeratin", "CD20", "CD4"]
    assert sdata.images["image"].shape == (6, 1319, 2715)
    assert sdata.images["image"].data.chunksize == (1, 1024, 1024)


def test_vectra_component_data(real):
    path = real / f"{VECTRA}component_data.tif"
    sdata = ks.io.read_tiff(path, mask=(real / f"{VECTRA}binary_seg_maps.tif", 1))
    same_pixels(sdata, path)
    assert sdata.images["image"].dtype == np.float32
    assert names(sdata) == ["Alexa 594", "Cy3", "Cy5", "DAPI", "FITC"]
    assert pixel_size(raster(sdata, "image")) == pytest.approx(0.497, abs=1e-3)
    assert sdata.tables["table"].obs["cell_id"].tolist() == list(range(1, 271))
    theirs = (
        pd.read_csv(real / "vectra_opal_5ch_labelled" / "cells.csv")
        .set_index("label")
        .loc[sdata.tables["table"].obs["cell_id"]]
    )
    # inForm gives the centre of the cell, ours is that of its nucleus
    apart = np.abs(sdata.tables["table"].obsm["spatial"] - theirs[["x", "y"]].to_numpy())
    assert np.median(apart) < 1
    assert apart.max() < 5
    with pytest.raises(ValueError, match=r"has 4 pages, and only one can be the labels"):
        ks.io.read_tiff(path, mask=real / f"{VECTRA}binary_seg_maps.tif")
    with pytest.raises(ValueError, match=r"stored as colour samples \(axes YXS, shape \(65, 87, 3\)\)"):
        ks.io.read_tiff(path, series=1)


def test_mibitiff(real):
    folder = real / "mibi_breast_ark_fov8"
    sdata = ks.io.read_tiff(folder / "fov8.mibitiff.tiff", mask=folder / "fov8.mask_272.tif")
    same_pixels(sdata, folder / "fov8.mibitiff.tiff")
    assert len(names(sdata)) == 22
    assert {"Background", "NaK ATPase", "Vimentin"} < set(names(sdata))
    assert pixel_size(raster(sdata, "image")) == pytest.approx(0.390625)
    assert len(sdata.tables["table"]) == 272
    as_ome = ks.io.read_tiff(folder / "fov8.image.ome.tif", mask=folder / "fov8.mask_395.tif")
    assert names(as_ome) == names(sdata)
    assert len(as_ome.tables["table"]) == 395
    np.testing.assert_array_equal(as_ome.images["image"].data[5].compute(), sdata.images["image"].data[5].compute())


def test_maui_as_folder_and_panel(real, tmp_path):
    path = real / "mibi_lymphoid_maui_47ch" / "Point2.image.ome.tif"
    stack = ks.io.read_tiff(path)
    assert len(names(stack)) == 48
    wanted = ["CD3", "CD11b", "CD103", "dsDNA", "HLA-DR"]
    for name in wanted:
        tifffile.imwrite(tmp_path / f"{name}.tif", stack.images["image"].sel(c=name).data.compute(), metadata=None)
    sdata = ks.io.read_tiff(tmp_path)
    assert names(sdata) == ["CD3", "CD11b", "CD103", "dsDNA", "HLA-DR"]
    np.testing.assert_array_equal(
        sdata.images["image"].data.compute(), stack.images["image"].sel(c=wanted).data.compute()
    )
    with pytest.raises(
        ValueError, match=r"names 47 channels, but 'Point2\.image\.ome\.tif' has 48 \(stored: 'Arginase1', 'Au'"
    ):
        ks.io.read_tiff(path, channels=path.with_name("demopanel.csv"))


def test_cycif_broken_metadata(real):
    path = real / "cycif_lymph_48ch_100px" / "cropped_reactive_core.ome.tiff"
    with pytest.warns(UserWarning, match=r"states pixels of 10000 × 10000 µm.*mpp=") as caught:
        sdata = ks.io.read_tiff(path)
    assert [warning.filename for warning in caught] == [__file__]
    assert sdata.coordinate_systems == ["global"]
    tree = sdata.images["image"]
    with tifffile.TiffFile(path) as tif:
        for scale, level in zip(tree, tif.series[0].levels, strict=True):
            np.testing.assert_array_equal(tree[scale]["image"].data.compute(), level.asarray())
    assert tree["scale0"]["image"].c.values.tolist() == [f"channel_{i}" for i in range(48)]
    assert pixel_size(raster(ks.io.read_tiff(path, mpp=0.65, level=1), "image")) == pytest.approx(1.3)


def test_imc(real):
    sdata = ks.io.read_tiff(real / f"{IMC}.ome.tiff", mask=real / f"{IMC}_ilastik_s2_Probabilities_mask.tiff", mpp=1)
    same_pixels(sdata, real / f"{IMC}.ome.tiff")
    assert names(sdata)[0] == "107Ag"
    assert sdata.images["image"].dtype == np.float32
    full = ks.io.read_tiff(real / f"{IMC}_full.tiff", channels=names(sdata))
    same_pixels(full, real / f"{IMC}_full.tiff")


def test_codex_round_trip(real, tmp_path):
    import spatialdata

    folder = real / "codex_lymph_56ch_raw_501px"
    sdata = ks.io.read_tiff(folder / "image.ome.tif", mask=folder / "mask.tif", mpp=0.377)
    sdata.write(tmp_path / "a.zarr")
    back = spatialdata.read_zarr(tmp_path / "a.zarr")
    same_pixels(back, folder / "image.ome.tif")
    assert names(back) == names(sdata)
    assert len(back.tables["table"]) == 597
    assert pixel_size(raster(back, "image")) == pytest.approx(0.377)
