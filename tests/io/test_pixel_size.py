"""The pixel size: from whatever the file states, converted to µm, recorded as the way to "um"."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from spatialdata.transformations import Identity, Scale, get_transformation, set_transformation

import kronos_sc as ks


def mpp(sdata, name="image"):
    """Size of a pixel as (y, x), or None."""
    ways = get_transformation(sdata[name], get_all=True)
    if "um" not in ways:
        return None
    return tuple(np.diag(ways["um"].to_affine_matrix(("y", "x"), ("y", "x")))[:2].tolist())


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.5, "µm", 0.5),
        (500, "nm", 0.5),
        (0.0005, "mm", 0.5),
        (5e-5, "cm", 0.5),
        (5000, "Å", 0.5),
        (2e-5, "in", 0.508),
        (0.5, "pixel", None),
        (0.5, None, 0.5),
    ],
)
def test_ome_units(tmp_path, cyx, value, unit, expected):
    metadata = {"axes": "CYX", "PhysicalSizeX": value, "PhysicalSizeY": 2 * value}
    metadata |= {} if unit is None else {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", cyx, metadata=metadata)
    assert mpp(ks.io.read_tiff(tmp_path / "a.ome.tif")) == (
        None if expected is None else pytest.approx((2 * expected, expected))
    )


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((20_000, 20_000), "CENTIMETER", (0.5, 0.5)),
        ((20_000, 40_000), "CENTIMETER", (0.25, 0.5)),
        ((50_800, 50_800), "INCH", (0.5, 0.5)),
        ((72, 72), "INCH", None),
        ((300, 300), "INCH", None),
        ((2, 2), "NONE", None),
    ],
)
def test_resolution_tags(tmp_path, cyx, resolution, unit, expected):
    tifffile.imwrite(tmp_path / "a.tif", cyx, metadata={"axes": "CYX"}, resolution=resolution, resolutionunit=unit)
    found = mpp(ks.io.read_tiff(tmp_path / "a.tif"))
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("unit", "resolution", "expected"),
    [("micron", 2, 0.5), ("\\u00B5m", 4, 0.25), ("mm", 2000, 0.5), ("pixel", 2, None)],
)
def test_imagej_unit(tmp_path, cyx, unit, resolution, expected):
    tifffile.imwrite(
        tmp_path / "a.tif",
        cyx,
        imagej=True,
        metadata={"axes": "CYX", "unit": unit},
        resolution=(resolution, resolution),
    )
    found = mpp(ks.io.read_tiff(tmp_path / "a.tif"))
    assert found == (None if expected is None else pytest.approx((expected, expected)))


def test_image_and_labels_carry_it(image, mask):
    sdata = ks.io.read_tiff(image, mask=mask)
    for name in ("image", "cells"):
        assert mpp(sdata, name) == pytest.approx((0.4, 0.5))
        assert get_transformation(sdata[name]) == Identity()


@pytest.mark.parametrize(
    ("given", "expected"), [(0.25, (0.25, 0.25)), ((0.3, 0.6), (0.3, 0.6)), (1, (1, 1)), (np.float32(0.5), (0.5, 0.5))]
)
def test_given_before_stored(image, given, expected):
    assert mpp(ks.io.read_tiff(image, mpp=given)) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "0.5 µm", (1, 2, 3), (0.5, 0), True])
def test_given_must_be_positive(image, wrong):
    with pytest.raises(
        ValueError, match=r"is not a pixel size\. It is micrometres per pixel: one positive number, or two as \(y, x\)"
    ):
        ks.io.read_tiff(image, mpp=wrong)


def test_impossible_stored_size_warns_at_the_caller(tmp_path, cyx):
    tifffile.imwrite(
        tmp_path / "a.ome.tif", cyx, metadata={"axes": "CYX", "PhysicalSizeX": 10_000, "PhysicalSizeY": 10_000}
    )
    with pytest.warns(
        UserWarning, match=r"'a\.ome\.tif' states pixels of 10000 × 10000 µm \(OME-XML\).*Pass the true size with mpp="
    ) as caught:
        sdata = ks.io.read_tiff(tmp_path / "a.ome.tif")
    assert caught[0].filename == __file__
    assert sdata.coordinate_systems == ["global"]
    assert mpp(ks.io.read_tiff(tmp_path / "a.ome.tif", mpp=0.65)) == (0.65, 0.65)


def test_odd_given_size_warns_and_is_kept(image):
    with pytest.warns(UserWarning, match=r"mpp=325 means pixels of 325 × 325 µm.*give 0\.325 for 325 nm") as caught:
        sdata = ks.io.read_tiff(image, mpp=325)
    assert caught[0].filename == __file__
    assert mpp(sdata) == (325, 325)


def test_unknown_size_is_said(tmp_path, cyx, caplog):
    tifffile.imwrite(tmp_path / "a.tif", cyx[0])
    with caplog.at_level("INFO", "kronos_sc"):
        assert mpp(ks.io.read_tiff(tmp_path / "a.tif")) is None
    assert "pixel size not known; pass mpp=" in caplog.text


@pytest.fixture
def sdata(image, mask):
    import geopandas
    from shapely import Point
    from spatialdata.models import ShapesModel

    read = ks.io.read_tiff(image, mask=mask)
    read.shapes["spots"] = ShapesModel.parse(geopandas.GeoDataFrame({"geometry": [Point(1, 2)], "radius": [1.0]}))
    return read


def test_set_pixel_size_on_all(sdata):
    assert ks.io.set_pixel_size(sdata, 0.25) is None
    assert {name: mpp(sdata, name) for name in ("image", "cells", "spots")} == dict.fromkeys(
        ("image", "cells", "spots"), (0.25, 0.25)
    )
    assert get_transformation(sdata["image"]) == Identity()


def test_set_pixel_size_on_some(sdata):
    ks.io.set_pixel_size(sdata, (0.2, 0.3), elements="cells")
    assert mpp(sdata, "cells") == (0.2, 0.3)
    assert mpp(sdata) == pytest.approx((0.4, 0.5))
    assert mpp(sdata, "spots") is None


def test_elements_keep_their_place(sdata):
    # labels at half resolution: one of their pixels covers two of "global"
    set_transformation(sdata["cells"], Scale([2, 2], axes=("y", "x")))
    ks.io.set_pixel_size(sdata, 0.25)
    assert mpp(sdata, "cells") == (0.5, 0.5)


def test_set_pixel_size_errors(sdata):
    from spatialdata import SpatialData

    with pytest.raises(
        KeyError,
        match=r"no image, labels or shapes element 'cell'; there are: 'image', 'cells', 'spots'\. Did you mean 'cells'",
    ):
        ks.io.set_pixel_size(sdata, 0.5, elements=["cell"])
    with pytest.raises(ValueError, match=r"mpp=-1 is not a pixel size"):
        ks.io.set_pixel_size(sdata, -1)
    with pytest.raises(ValueError, match=r"no element to set a pixel size on.*add an image first"):
        ks.io.set_pixel_size(SpatialData(), 0.5)
    with pytest.raises(TypeError, match=r"Expected a SpatialData, got ndarray"):
        ks.io.set_pixel_size(np.zeros(3), 0.5)
    assert mpp(sdata) == pytest.approx((0.4, 0.5))


def test_written_and_read_back(sdata, tmp_path):
    import spatialdata

    ks.io.set_pixel_size(sdata, 0.25)
    sdata.write(tmp_path / "a.zarr")
    back = spatialdata.read_zarr(tmp_path / "a.zarr")
    assert mpp(back) == mpp(back, "cells") == mpp(back, "spots") == (0.25, 0.25)
    ks.io.set_pixel_size(back, 0.5)
    back.write_transformations()
    assert mpp(spatialdata.read_zarr(tmp_path / "a.zarr")) == (0.5, 0.5)
