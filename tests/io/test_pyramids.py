"""Stored pyramid levels become a multiscale image, lazily; or one of them is read alone."""

from __future__ import annotations

import numpy as np
import pytest
import spatialdata
import tifffile
from spatialdata.transformations import get_transformation
from xarray import DataTree

import kronos_sc as ks


@pytest.fixture
def levels():
    full = np.random.default_rng(2).integers(0, 5000, (2, 130, 201)).astype(np.uint16)
    # distinct values, so that a level computed anew would differ from the stored one
    return [full, full[:, :130:2, :200:2] + 7, full[:, :128:4, :200:4] + 9]


@pytest.fixture
def path(tmp_path, levels):
    path = tmp_path / "pyramid.ome.tif"
    options = {"tile": (32, 32), "compression": "zlib"}
    with tifffile.TiffWriter(path, ome=True) as tif:
        metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        tif.write(levels[0], subifds=2, metadata=metadata, **options)
        for level in levels[1:]:
            tif.write(level, subfiletype=1, **options)
    return path


def check(tree, levels):
    assert isinstance(tree, DataTree)
    for number, level in enumerate(levels):
        array = tree[f"scale{number}"]["image"]
        np.testing.assert_array_equal(array.data.compute(), level)
        assert array.c.values.tolist() == ["DAPI", "CD3"]


def test_all_levels(path, levels):
    sdata = ks.io.read_tiff(path)
    tree = sdata.images["image"]
    check(tree, levels)
    np.testing.assert_array_equal(
        get_transformation(tree, "um").to_affine_matrix(("y", "x"), ("y", "x")), np.diag([0.5, 0.5, 1])
    )
    # centre of the first pixel of each level, in pixels of the first
    assert [float(tree[f"scale{i}"]["image"].x[0]) for i in range(3)] == pytest.approx([0.5, 201 / 200, 201 / 100])
    second = get_transformation(tree["scale1"]["image"], "um").to_affine_matrix(("y", "x"), ("y", "x"))
    np.testing.assert_allclose(np.diag(second), [1.0, 1.005, 1])


def test_same_coordinates_as_spatialdata(path, tmp_path):
    tree = ks.io.read_tiff(path).images["image"]
    spatialdata.SpatialData(images={"image": tree}).write(tmp_path / "a.zarr")
    back = spatialdata.read_zarr(tmp_path / "a.zarr").images["image"]
    for scale in tree:
        for axis in "yx":
            np.testing.assert_allclose(tree[scale]["image"][axis], back[scale]["image"][axis])


def test_write_and_read_back(path, levels, tmp_path):
    ks.io.read_tiff(path).write(tmp_path / "a.zarr")
    back = spatialdata.read_zarr(tmp_path / "a.zarr")
    check(back.images["image"], levels)
    assert sorted(back.coordinate_systems) == ["global", "um"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_level(path, levels, number):
    image = ks.io.read_tiff(path, level=number).images["image"]
    np.testing.assert_array_equal(image.data.compute(), levels[number])
    edges = np.diag(get_transformation(image, "um").to_affine_matrix(("y", "x"), ("y", "x")))[:2]
    np.testing.assert_allclose(edges, np.array([130, 201]) / levels[number].shape[1:] * 0.5)


def test_mask_at_the_level_read(path, tmp_path):
    mask = np.zeros((65, 100), np.uint8)
    mask[:5, :5], mask[9, 9] = 1, 2
    tifffile.imwrite(tmp_path / "m.tif", mask)
    assert len(ks.io.read_tiff(path, mask=tmp_path / "m.tif", level=1).tables["table"]) == 2
    with pytest.raises(ValueError, match=r"65 × 100 pixels, image 'pyramid\.ome\.tif' has 130 × 201"):
        ks.io.read_tiff(path, mask=tmp_path / "m.tif")


def test_unknown_level(path):
    with pytest.raises(
        ValueError,
        match=r"no pyramid level 3; stored levels: 0 \(130 × 201\), 1 \(65 × 100\), 2 \(32 × 50\)\. Choose one",
    ):
        ks.io.read_tiff(path, level=3)


def test_set_pixel_size_on_a_pyramid(path):
    sdata = ks.io.read_tiff(path)
    ks.io.set_pixel_size(sdata, 0.25)
    matrix = get_transformation(sdata.images["image"], "um").to_affine_matrix(("y", "x"), ("y", "x"))
    np.testing.assert_array_equal(np.diag(matrix), [0.25, 0.25, 1])


def test_folder_of_pyramids(tmp_path, levels):
    (tmp_path / "core").mkdir()
    for channel, name in enumerate(["DAPI", "CD3"]):
        with tifffile.TiffWriter(tmp_path / "core" / f"{channel}.tif") as tif:
            tif.write(levels[0][channel], subifds=2, tile=(32, 32))
            for level in levels[1:]:
                tif.write(level[channel], subfiletype=1, tile=(32, 32))
        (tmp_path / "core" / f"{channel}.tif").rename(tmp_path / "core" / f"{channel} {name}.tif")
    sdata = ks.io.read_tiff(tmp_path / "core", channels=["DAPI", "CD3"])
    check(sdata.images["image"], levels)
