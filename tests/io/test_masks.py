"""Masks become labels and a table whose rows are their cells."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from pandas import CategoricalDtype
from skimage.measure import regionprops_table

import kronos_sc as ks


def write(path, array, **options):
    tifffile.imwrite(path, array, compression="zlib", **options)
    return path


def test_hand_computed(image, mask, labels):
    sdata = ks.io.read_tiff(image, mask=mask)
    table = sdata.tables["table"]
    assert table.shape == (4, 0)
    assert table.obs_names.tolist() == ["7", "9", "12", "218917"]
    assert table.obs["cell_id"].tolist() == [7, 9, 12, 218_917]
    assert table.obs["area"].tolist() == [12, 100, 21, 1]
    # rows 2–4 and columns 10–13 cover [2, 5) and [10, 14)
    np.testing.assert_array_equal(table.obsm["spatial"], [[12.0, 3.5], [85.0, 65.0], [30.5, 30.5], [0.5, 0.5]])
    assert table.obsm["spatial"].dtype == np.float64
    assert isinstance(table.obs["region"].dtype, CategoricalDtype)
    assert table.uns["spatialdata_attrs"] == {"region": ["cells"], "region_key": "region", "instance_key": "cell_id"}
    assert sdata.labels["cells"].dtype == np.uint32
    np.testing.assert_array_equal(sdata.labels["cells"].data.compute(), labels)


def test_against_skimage(tmp_path, image):
    array = np.random.default_rng(3).integers(0, 300, (70, 90)).astype(np.uint16)
    sdata = ks.io.read_tiff(image, mask=write(tmp_path / "m.tif", array, tile=(16, 16)), chunks=16)
    assert sdata.labels["cells"].data.numblocks == (5, 6)
    expected = regionprops_table(array, properties=("label", "area", "centroid"))
    table = sdata.tables["table"]
    np.testing.assert_array_equal(table.obs["cell_id"], expected["label"])
    np.testing.assert_array_equal(table.obs["area"], expected["area"])
    np.testing.assert_allclose(table.obsm["spatial"][:, 0], expected["centroid-1"] + 0.5, rtol=1e-12)
    np.testing.assert_allclose(table.obsm["spatial"][:, 1], expected["centroid-0"] + 0.5, rtol=1e-12)


def test_several(tmp_path, image, mask, labels):
    nuclei = write(tmp_path / "nuclei.tif", (labels == 9).astype(np.uint8) * 3 + (labels == 7) * np.uint8(5))
    sdata = ks.io.read_tiff(image, mask={"cells": mask, "nuclei": str(nuclei)}, table_key="objects")
    table = sdata.tables["objects"]
    assert table.obs["region"].tolist() == ["cells"] * 4 + ["nuclei"] * 2
    assert table.obs_names[3:].tolist() == ["cells_218917", "nuclei_3", "nuclei_5"]
    assert sdata.labels["nuclei"].dtype == np.uint8
    assert table.uns["spatialdata_attrs"]["region"] == ["cells", "nuclei"]


def test_page(tmp_path, image, labels):
    path = write(tmp_path / "maps.tif", np.stack([labels * 0, labels]), photometric="minisblack")
    sdata = ks.io.read_tiff(image, mask=(path, 1), labels_key="nuclei")
    np.testing.assert_array_equal(sdata.labels["nuclei"].data.compute(), labels)
    with pytest.raises(
        ValueError, match=r"maps\.tif' has 2 pages, and only one can be the labels\. Choose it.*mask=\('maps\.tif', 0\)"
    ):
        ks.io.read_tiff(image, mask=path)
    with pytest.raises(ValueError, match=r"has no page 2: it has 2, counted from 0\. Choose one of 0–1"):
        ks.io.read_tiff(image, mask=(path, 2))


def test_whole_floats_are_labels(tmp_path, image, labels, caplog):
    with caplog.at_level("INFO", "kronos_sc"):
        sdata = ks.io.read_tiff(image, mask=write(tmp_path / "m.tif", labels.astype(np.float64)))
    assert sdata.labels["cells"].dtype == np.uint32
    np.testing.assert_array_equal(sdata.labels["cells"].data.compute(), labels)
    assert "float64 labels, all whole numbers, are read as uint32" in caplog.text


def test_signed_labels_stay(tmp_path, image, labels):
    sdata = ks.io.read_tiff(image, mask=write(tmp_path / "m.tif", labels.astype(np.int32)))
    assert sdata.labels["cells"].dtype == np.int32
    assert len(sdata.tables["table"]) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m / 3.0,
            r"float64 values that are not whole numbers \(from 0 to 72972\.3\).*skimage\.measure\.label",
        ),
        (lambda m: np.where(m > 0, np.nan, 0), r"not whole numbers"),
        (
            lambda m: -m.astype(np.int32),
            r"negative values \(down to -218917\); labels are positive.*relabel with skimage",
        ),
        (lambda m: -m.astype(np.float32), r"negative values \(down to -218917\)"),
        (lambda m: m.astype(np.complex64), r"complex64 values; labels are whole numbers.*Export it as a label image"),
        (
            lambda m: m[:60],
            r"Mask 'm\.tif' has 60 × 90 pixels, image 'core\.ome\.tif' has 70 × 90\. Pass the mask that belongs "
            r"to this image",
        ),
        (lambda m: m * 0, r"holds no label: all pixels are 0\. Pass the mask of this image"),
    ],
)
def test_not_labels(tmp_path, image, labels, change, message):
    path = write(tmp_path / "m.tif", change(labels))
    with pytest.raises(ValueError, match=message):
        ks.io.read_tiff(image, mask=path)


def test_colour_mask(tmp_path, image, labels):
    path = write(tmp_path / "m.tif", np.stack([labels % 256] * 3, axis=-1).astype(np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match=r"m\.tif' is stored as colour samples \(axes YXS, shape \(70, 90, 3\)\)"):
        ks.io.read_tiff(image, mask=path)


@pytest.mark.parametrize("value", [1, 255, True])
def test_binary_mask_warns_at_the_caller(tmp_path, image, labels, value):
    array = labels > 0 if value is True else (labels > 0).astype(np.uint8) * value
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, array, photometric="minisblack")
    with pytest.warns(
        UserWarning,
        match=r"holds one label only.*one cell of 134 pixels: it looks like a binary mask\..*skimage\.measure\.label",
    ) as caught:
        sdata = ks.io.read_tiff(image, mask=path)
    assert caught[0].filename == __file__
    assert len(sdata.tables["table"]) == 1


def test_wrong_kinds(image, labels, tmp_path):
    with pytest.raises(
        TypeError, match=r"mask is ndarray, not the path of a label TIFF.*spatialdata\.models\.Labels2DModel\.parse"
    ):
        ks.io.read_tiff(image, mask=labels)
    with pytest.raises(TypeError, match=r"mask\['nuclei'\] is list"):
        ks.io.read_tiff(image, mask={"nuclei": ["a.tif"]})
    with pytest.raises(ValueError, match=r"mask is the folder .*a mask is one TIFF of labels\. Pass the file"):
        ks.io.read_tiff(image, mask=tmp_path)


@pytest.mark.parametrize(
    ("image_key", "labels_key", "table_key"),
    [("cells", "cells", "table"), ("image", "cells", "cells"), ("a", "b", "a")],
)
def test_names_of_elements_differ(image, mask, image_key, labels_key, table_key):
    with pytest.raises(ValueError, match=r"Elements need names of their own: image .*Change image_key="):
        ks.io.read_tiff(image, mask=mask, image_key=image_key, labels_key=labels_key, table_key=table_key)


def test_without_mask_no_table(image):
    sdata = ks.io.read_tiff(image)
    assert not sdata.tables
    assert not sdata.labels


def test_nuclei_and_whole_cells_in_one_file(tmp_path, image, labels):
    nuclei = np.where(labels < 10, labels, 0)
    both = np.stack([labels, nuclei])
    last = np.moveaxis(both, 0, -1)
    files = {
        "last.tif": (last, {"metadata": {}}),
        "batch.tif": (last[None], {"metadata": {}}),
        "samples.tif": (last, {"photometric": "minisblack", "planarconfig": "contig"}),
        "depth.ome.tif": (both, {"metadata": {"axes": "ZYX"}}),
        "hyperstack.ome.tif": (both[:, None], {"metadata": {"axes": "TCYX"}}),
    }
    for file, (array, options) in files.items():
        tifffile.imwrite(tmp_path / file, array, **options)
    with tifffile.TiffWriter(tmp_path / "images.ome.tif") as tif:
        for one in both:
            tif.write(one)
    for path in [tmp_path / file for file in (*files, "images.ome.tif")]:
        with pytest.raises(
            ValueError, match=rf"has 2 pages, and only one.*mask=\('{path.name}', 0\).*'nuclei': \('{path.name}', 1\)"
        ):
            ks.io.read_tiff(image, mask=path)
        sdata = ks.io.read_tiff(image, mask={"cells": (path, 0), "nuclei": (path, 1)})
        np.testing.assert_array_equal(sdata.labels["cells"].data.compute(), labels)
        np.testing.assert_array_equal(sdata.labels["nuclei"].data.compute(), nuclei)


def test_what_the_planes_of_a_mask_are_is_said(tmp_path, image, labels):
    tifffile.imwrite(tmp_path / "z.ome.tif", np.stack([labels] * 3), metadata={"axes": "ZYX"})
    with pytest.raises(ValueError, match=r"has 3 pages.*axes ZYX: Z \(depth\) × 3"):
        ks.io.read_tiff(image, mask=tmp_path / "z.ome.tif")
    tifffile.imwrite(tmp_path / "last.tif", np.stack([labels] * 2, axis=-1), metadata={})
    with pytest.raises(ValueError, match=r"has 2 pages.*shape \(70, 90, 2\): 2 planes on the last axis"):
        ks.io.read_tiff(image, mask=tmp_path / "last.tif")


def test_labels_in_one_sample_of_a_picture(tmp_path, image, labels):
    small = (labels % 251).astype(np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", np.stack([small] * 3, axis=-1), photometric="rgb")
    with pytest.raises(ValueError, match=r"export the label image, not a picture of it.*mask=\('m\.tif', 0\)"):
        ks.io.read_tiff(image, mask=tmp_path / "m.tif")
    np.testing.assert_array_equal(
        ks.io.read_tiff(image, mask=(tmp_path / "m.tif", 0)).labels["cells"].data.compute(), small
    )


def test_ids_beyond_what_floats_hold(tmp_path, image, labels):
    large = labels.astype(np.uint64)
    large[labels == 9] = 2**63 - 1
    sdata = ks.io.read_tiff(image, mask=write(tmp_path / "m.tif", large))
    assert sdata.tables["table"].obs["cell_id"].max() == 2**63 - 1
    large[labels == 9] = 2**63
    sdata = ks.io.read_tiff(image, mask=write(tmp_path / "m.tif", large))
    assert sdata.tables["table"].obs["cell_id"].max() == 2**63
    with pytest.raises(
        ValueError,
        match=r"holds the label 9223372036854775808 as float64, beyond 9223372036854775807.*relabel_sequential",
    ):
        ks.io.read_tiff(image, mask=write(tmp_path / "m.tif", large.astype(np.float64)))


@pytest.mark.parametrize("dtype", [">u2", ">u4", ">i4", ">f4", ">f8"])
def test_masks_of_another_byte_order(tmp_path, image, labels, dtype):
    small = np.where(labels == 218_917, 5, labels)
    tifffile.imwrite(tmp_path / "m.tif", small.astype(dtype), byteorder=">", metadata={})
    np.testing.assert_array_equal(ks.io.read_tiff(image, mask=tmp_path / "m.tif").labels["cells"].data.compute(), small)


def test_floats_that_cannot_tell_labels_apart(tmp_path, image, labels):
    with pytest.warns(
        UserWarning, match=r"labels up to 16777218 as float32, which tells whole numbers apart up to 16,777,216 only"
    ):
        ks.io.read_tiff(
            image, mask=write(tmp_path / "m.tif", np.where(labels == 9, 16_777_218, labels).astype(np.float32))
        )
