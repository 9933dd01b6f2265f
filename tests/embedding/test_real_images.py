"""Real images from their files to features, with a tiny network.

Shapes, no NaN, and numbers that the authors' tables know too.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

import kronos_sc as ks

VECTRA = "vectra_opal_5ch_labelled/FIHC4__0929309_HP_IM3_2_"


def embedded(sdata, tiny, **how):
    """Embed with the tiny network and the mean marker; check what holds for every image; return both."""
    ks.tl.embed(sdata, model=tiny, precision="float32", **how)
    ks.tl.embed(sdata, model="mean-marker", precision="float32", **how)
    table = next(table for table in sdata.tables.values() if "X_kronos" in table.obsm)
    features = table.obsm["X_kronos"]
    means = pd.DataFrame(table.obsm["X_mean_marker"], index=table.obs_names)
    panel = ks.get.record(table)["panel"]
    means.columns = panel["channel"]
    assert features.shape == (table.n_obs, len(panel) * 48)
    used = np.isfinite(means.to_numpy()).all(axis=1)
    assert np.isfinite(features[used]).all()
    assert np.isnan(features[~used]).all()
    assert np.ptp(features[used], axis=0).max() > 0.05
    assert means[used].to_numpy().min() >= 0
    return table, means, panel


def rank_correlation(one, two):
    return pd.Series(np.asarray(one)).corr(pd.Series(np.asarray(two)), method="spearman")


def scipy_means(image, labels, ids, full):
    return np.stack([ndimage.mean(plane, labels, ids) for plane in image], axis=1) / full


def test_codex_56_channels(real, tiny):
    folder = real / "codex_lymph_56ch_labelled"
    sdata = ks.io.read_tiff(folder / "crop512.image.ome.tif", mask=folder / "crop512.mask.tif", mpp=0.5)
    panel = ks.pp.match_markers(sdata, vocabulary=tiny)
    assert panel.set_index("channel").loc["CD4 Cy7", "note"] == "the same marker as 'CD4', which has its very name"
    keep = panel[panel["id"] >= 0]
    assert len(keep) >= 40
    few = ["DAPI", "CD4", "CD8", "CD20", "CD3", "FoxP3"]
    table, means, panel = embedded(sdata, tiny, channels=few)
    assert table.n_obs == 1021
    # in a panel of one's own the order is the image's
    assert list(panel["channel"]) == [c for c in sdata["image"].c.values if c in few]
    image = tifffile.imread(folder / "crop512.image.ome.tif")
    labels = tifffile.imread(folder / "crop512.mask.tif")
    names = list(sdata["image"].c.values)
    expected = scipy_means(image[[names.index(c) for c in means.columns]], labels, table.obs["cell_id"], 255)
    cut = ndimage.find_objects(labels)
    small = np.array([max(s.stop - s.start for s in cut[i - 1]) <= 32 for i in table.obs["cell_id"]])
    np.testing.assert_allclose(means[small], expected[small], atol=1e-5)
    # the authors' cell types were read off these markers
    types = pd.read_csv(folder / "cells.csv").set_index("label")["cell_type"].reindex(table.obs["cell_id"]).to_numpy()
    by_type = means.groupby(pd.Series(types, index=means.index)).mean()
    assert by_type["CD20"].idxmax() == "B"
    assert by_type[["CD3", "CD8", "CD4"]].idxmax().tolist() == ["T", "T", "T"]


def test_codex_all_channels_that_match(real, tiny):
    folder = real / "codex_lymph_56ch_labelled"
    sdata = ks.io.read_tiff(folder / "crop512.image.ome.tif", mask=folder / "crop512.mask.tif")
    sdata.tables["table"] = sdata["table"][:60].copy()
    _, _, panel = embedded(sdata, tiny, channels={"CD4 Cy7": None})
    assert len(panel) >= 40


def test_cell_dive(real, tiny):
    folder = real / "celldive_breast_13ch"
    masks = {"cells": folder / "instanseg_cell.tif", "nuclei": folder / "instanseg_nucleus.tif"}
    sdata = ks.io.read_tiff(folder / "image.ome.tif", mask=masks)
    panel = ks.pp.match_markers(sdata, vocabulary=tiny)
    how = {"channels": dict.fromkeys(panel.loc[panel["how"] == "ambiguous", "channel"])}
    table, means, panel = embedded(sdata, tiny, **how)
    assert table.n_obs == 386 + 371
    assert np.isfinite(means.to_numpy()).all()
    nuclei, cells = (table.obs["region"].to_numpy() == name for name in ("nuclei", "cells"))
    assert means.loc[nuclei, "DAPI"].mean() > means.loc[cells, "DAPI"].mean()  # more DNA per pixel inside the nucleus
    image = tifffile.imread(folder / "image.ome.tif")
    names = list(sdata["image"].c.values)
    for region, path in masks.items():
        rows = table.obs["region"].to_numpy() == region
        expected = scipy_means(
            image[[names.index(c) for c in means.columns]], tifffile.imread(path), table.obs["cell_id"][rows], 65535
        )
        close = np.isclose(means[rows], expected, atol=1e-5).all(axis=1)
        assert close.mean() > 0.95  # all but cells that reach beyond the window
    theirs = pd.read_csv(folder / "cells_quantified.csv.gz")
    theirs = theirs.drop_duplicates("label").set_index("label").reindex(table.obs["cell_id"][nuclei])
    # the authors' mean of each nucleus, of 16-bit pixels
    known = theirs["area_nucleus"].to_numpy() == table.obs["area"][nuclei].to_numpy()
    assert known.sum() > 300
    for channel in ("DAPI", "CD45", "GATA3"):
        np.testing.assert_allclose(
            means.loc[nuclei, channel][known] * 65535, theirs[f"{channel}_mean_nucleus"][known], rtol=1e-4
        )


def test_vectra(real, tiny):
    sdata = ks.io.read_tiff(real / f"{VECTRA}component_data.tif", mask=(real / f"{VECTRA}binary_seg_maps.tif", 1))
    with pytest.raises(ValueError, match=r"Alexa 594|matches a marker|nuclear stain|means several|holds floats"):
        ks.tl.embed(sdata, model=tiny)  # dyes are no markers
    stains = {"DAPI": "DAPI", "FITC": "CD20", "Cy3": "CD3", "Cy5": "CD8", "Alexa 594": None}
    with pytest.raises(
        ValueError, match=r"holds floats from .* to .*; without a scale they must lie in \[0, 1\].*max_value="
    ):
        ks.tl.embed(sdata, model=tiny, channels=stains)
    table, means, panel = embedded(sdata, tiny, channels=stains, max_value=64.0)
    assert table.n_obs == 270
    assert list(panel["how"]) == [
        "given" if c != "DAPI" else how for c, how in zip(panel["channel"], panel["how"], strict=True)
    ]
    image = np.asarray(sdata["image"].sel(c=list(panel["channel"])).data).astype(np.float64)
    expected = scipy_means(image, np.asarray(sdata["cells"].data), table.obs["cell_id"], 64)
    np.testing.assert_allclose(means, expected, rtol=1e-4, atol=1e-6)
    theirs = pd.read_csv(real / f"{VECTRA}cell_seg_data.txt", sep="\t").set_index("Cell ID")
    column = next(c for c in theirs.columns if c.startswith("Nucleus DAPI") and "Mean" in c)
    assert rank_correlation(theirs[column].reindex(table.obs["cell_id"]), means["DAPI"]) > 0.99


def test_codex_large_ids_and_cells_of_one_pixel(real, tiny):
    folder = real / "codex_lymph_5ch_500px_labelled"
    sdata = ks.io.read_tiff(folder / "image.ome.tif", mask=folder / "mask.tif")
    rows = sdata["table"].obs["area"].to_numpy() < 5
    rows[::4] = True
    sdata.tables["table"] = sdata["table"][rows].copy()
    table, means, panel = embedded(sdata, tiny)
    assert list(panel["channel"]) == ["DAPI", "CD4", "CD8", "FOXP3", "BCL6"]
    assert table.obs["cell_id"].max() > 200_000
    assert table.obs["area"].min() == 1
    image = tifffile.imread(folder / "image.ome.tif")
    labels = tifffile.imread(folder / "mask.tif")
    np.testing.assert_allclose(means, scipy_means(image, labels, table.obs["cell_id"], 65535), atol=1e-6)


def test_codex_three_segmentations(real, tiny):
    start = real / "codex_hubmap_5ch_expert_masks"
    masks = {"expert1": "mask_expert1", "expert2": "mask_expert2", "mesmer": "mask_DeepCell-0.9.0_membrane"}
    masks = {name: start / f"R001_X003_Y004.{file}.tif" for name, file in masks.items()}
    names = [
        "HOECHST",
        "CD20",
        "CD3",
        "CD8",
        "CD4",
    ]  # the repository does not say which; any will do for the way of the data
    sdata = ks.io.read_tiff(start / "R001_X003_Y004.channels.ome.tif", mask=masks, channels=names)
    few = np.flatnonzero(np.arange(sdata["table"].n_obs) % 12 == 0)
    sdata.tables["table"] = sdata["table"][few].copy()
    table, means, _ = embedded(sdata, tiny)
    assert np.isfinite(means.to_numpy()).all()
    together = table.obsm["X_kronos"].copy()
    for region in masks:
        ks.tl.embed(sdata, model=tiny, precision="float32", labels_key=region, key_added=region)
        mine = (table.obs["region"] == region).to_numpy()
        np.testing.assert_allclose(table.obsm[f"X_{region}"][mine], together[mine], atol=1e-5)
        assert np.isnan(table.obsm[f"X_{region}"][~mine]).all()
    expert = table.obs["region"] == "expert1"
    image = tifffile.imread(start / "R001_X003_Y004.channels.ome.tif")
    labels = tifffile.imread(masks["expert1"])
    np.testing.assert_allclose(
        means[expert.to_numpy()], scipy_means(image, labels, table.obs["cell_id"][expert], 65535), atol=1e-5
    )


def test_phenocycler_in_boxes(real, tiny):
    sdata = ks.io.read_tiff(real / "phenocycler_nsclc_tma_6ch" / "level1.image.ome.tif")
    ks.pp.tile(sdata, size=128, tissue_channel="DAPI")
    on_tissue = sdata["patches_table"].n_obs
    assert 60 < on_tissue < 10 * 21  # glass between the cores is left out
    table, means, _ = embedded(sdata, tiny, shapes_key="patches")
    image = np.asarray(sdata["image"].data)
    bounds = sdata["patches"].geometry.bounds.astype(int)
    expected = [
        image[:, y : y + 128, x : x + 128].mean((1, 2)) / 255 for y, x in zip(bounds.miny, bounds.minx, strict=True)
    ]
    np.testing.assert_allclose(means, expected, atol=1e-5)
    assert not table.obs["kronos_edge"].any()
    assert means["DAPI"].mean() > 1.5 * image[0].mean() / 255  # tissue is brighter than the slide


def test_mif_with_coordinates_only(real, tiny):
    """Centres from a table, no segmentation: circles of the size of a cell."""
    import geopandas
    import shapely
    from anndata import AnnData
    from spatialdata.models import ShapesModel, TableModel

    folder = real / "mif_breast_7ch_phenotypes"
    every = pd.read_csv(folder / "cells.csv")
    image = next(column for column in every.columns if every[column].astype(str).str.contains("B09").any())
    cells = every[every[image].astype(str).str.contains("B09")]
    sdata = ks.io.read_tiff(folder / "ABCM22001_B09_MiniCrop.image.ome.tif")
    circles = geopandas.GeoDataFrame(
        {"radius": np.full(len(cells), 8.0)}, geometry=shapely.points(cells["x"] - 0.5, cells["y"] - 0.5)
    )
    sdata.shapes["cells"] = ShapesModel.parse(circles)
    obs = pd.DataFrame(
        {"region": pd.Categorical(["cells"] * len(cells)), "number": np.arange(len(cells))},
        index=[f"c{i}" for i in range(len(cells))],
    )
    sdata.tables["table"] = TableModel.parse(
        AnnData(obs=obs), region="cells", region_key="region", instance_key="number"
    )
    with pytest.raises(
        ValueError, match=r"'CK-EPCAM' may be CYTOKERATIN, EPCAM\. Choose with channels=\{'CK-EPCAM': 'CYTOKERATIN'\}"
    ):
        ks.tl.embed(sdata, model="mean-marker")
    how = {"channels": {"CK-EPCAM": "CYTOKERATIN"}}
    ks.tl.embed(sdata, model="mean-marker", precision="float32", **how)  # windows of the circles' diameter
    means = pd.DataFrame(
        sdata["table"].obsm["X_mean_marker"], columns=ks.get.record(sdata, key="mean_marker")["panel"]["channel"]
    )
    types = cells["cell_type"].to_numpy()
    tumour = means[types == "TUMOR"].mean()
    cd8 = means[np.char.startswith(types.astype(str), "CD8")].mean()
    assert tumour["CK-EPCAM"] > cd8["CK-EPCAM"]
    assert cd8["CD8a"] > tumour["CD8a"]
    few = sdata["table"][::10].copy()
    sdata.tables["table"] = few
    ks.tl.embed(sdata, model=tiny, patch_size=64, **how)
    assert np.isfinite(sdata["table"].obsm["X_kronos"]).all()


@pytest.mark.parametrize("cells", [272, 395])
def test_mibi(real, tiny, cells):
    folder = real / "mibi_breast_ark_fov8"
    sdata = ks.io.read_tiff(folder / "fov8.image.ome.tif", mask=folder / f"fov8.mask_{cells}.tif", mpp=0.390625)
    panel = ks.pp.match_markers(sdata, vocabulary=tiny)
    how = {"channels": dict.fromkeys(panel.loc[panel["how"] == "ambiguous", "channel"])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some cells are larger than 64 pixels
        table, means, panel = embedded(sdata, tiny, **how)
    assert table.n_obs == cells
    assert not {"Background", "Membrane"} & set(panel["channel"])
    assert "HH3" in set(panel["channel"])  # the nuclear marker of a MIBI panel
    image, labels = (tifffile.imread(folder / name) for name in ("fov8.image.ome.tif", f"fov8.mask_{cells}.tif"))
    names = list(sdata["image"].c.values)
    expected = scipy_means(image[[names.index(c) for c in means.columns]], labels, table.obs["cell_id"], 255)
    assert np.isclose(means, expected, atol=1e-5).all(axis=1).mean() > 0.85  # the rest reach beyond the window


def test_mibi_counts_from_a_store(real, tiny, tmp_path):
    """Sparse ion counts: chunks without a single count are not stored, and the error says what to do."""
    import spatialdata

    folder = real / "mibi_tb_granuloma_ark"
    sdata = ks.io.read_tiff(folder / "Point14.image.ome.tif", mask=folder / "Point14.mask.tif", chunks=256)
    cells = sdata["table"].obs["area"] < 1_000  # label 1 of this mask is the background
    sdata.tables["table"] = sdata["table"][cells][::40].copy()
    panel = ks.pp.match_markers(sdata, vocabulary=tiny)
    used = panel[(panel["id"] >= 0) & ~panel["id"].duplicated()]
    how = {"channels": list(used["channel"])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ks.tl.embed(sdata, model="mean-marker", precision="float32", max_value=255, **how)
        sdata.write(tmp_path / "a.zarr")
        back = spatialdata.read_zarr(tmp_path / "a.zarr")
        with pytest.raises(OSError, match=r"has no stored chunk under some units.*nan='zero'"):
            ks.tl.embed(back, model="mean-marker", precision="float32", max_value=255, **how)
        ks.tl.embed(back, model="mean-marker", precision="float32", max_value=255, nan="zero", **how)
    np.testing.assert_allclose(back["table"].obsm["X_mean_marker"], sdata["table"].obsm["X_mean_marker"], atol=1e-6)
    means = pd.DataFrame(sdata["table"].obsm["X_mean_marker"] * 255, columns=used["channel"])
    labels = np.asarray(sdata["cells"].data)
    image = np.asarray(sdata["image"].sel(c=list(used["channel"])).data).astype(float)
    np.testing.assert_allclose(means, scipy_means(image, labels, sdata["table"].obs["cell_id"], 1), atol=1e-3)
