"""Files with more axes than channel, row and column: one image per channel, cycles × channels, channels last."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tifffile

import kronos_sc as ks

NAMES = ["DAPI", "CD3", "CD20"]


def names(sdata):
    return sdata.images["image"].c.values.tolist()


def pixels(sdata):
    return sdata.images["image"].data.compute()


def looped(path, planes, described):
    """Write one OME Image per plane, as a loop over channels does."""
    with tifffile.TiffWriter(path) as tif:
        for plane, metadata in zip(planes, described, strict=True):
            tif.write(plane, metadata={"axes": "YX", **metadata}, compression="zlib")
    return path


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ([{"Channel": {"Name": name}} for name in NAMES], NAMES),
        ([{"Name": name} for name in NAMES], NAMES),
        ([{"Name": f"Scene {name}", "Channel": {"Name": name}} for name in NAMES], NAMES),
        ([{}, {}, {}], ["channel_0", "channel_1", "channel_2"]),
    ],
    ids=["channels named", "images named", "both", "neither"],
)
def test_an_ome_image_per_channel(tmp_path, cyx, described, expected):
    sdata = ks.io.read_tiff(looped(tmp_path / "a.ome.tif", cyx, described))
    assert names(sdata) == expected
    np.testing.assert_array_equal(pixels(sdata), cyx)


FIELDS = [
    [{"Name": f"Position {i}"} for i in range(3)],
    [{"Name": f"image {i}", "Channel": {"Name": "DAPI"}} for i in range(3)],
    [{"Name": name, "Plane": {"PositionX": [10.0 * i], "PositionY": [0.0]}} for i, name in enumerate(NAMES)],
]


@pytest.mark.parametrize("described", FIELDS, ids=["called so", "one stain", "the stage moved"])
def test_fields_of_view_are_no_channels(tmp_path, cyx, described):
    path = looped(tmp_path / "a.ome.tif", cyx, described)
    with pytest.warns(
        UserWarning,
        match=r"holds 3 images of one plane each .*fields of view: the first is read\. .*series=.*their 3 names",
    ):
        sdata = ks.io.read_tiff(path)
    np.testing.assert_array_equal(pixels(sdata), cyx[:1])
    # both pieces of advice work, and are quiet
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(pixels(ks.io.read_tiff(path, series=2)), cyx[2:])
        sdata = ks.io.read_tiff(path, channels=NAMES)
    assert names(sdata) == NAMES
    np.testing.assert_array_equal(pixels(sdata), cyx)


def test_images_of_other_size_are_left_out(tmp_path, cyx, caplog):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        tif.write(cyx[0, :20, :20], metadata={"axes": "YX", "Name": "thumbnail"})
        for plane, name in zip(cyx, NAMES, strict=True):
            tif.write(plane, metadata={"axes": "YX", "Name": name})
    with caplog.at_level("INFO", "kronos_sc"):
        sdata = ks.io.read_tiff(tmp_path / "a.ome.tif")
    assert names(sdata) == NAMES


def test_an_ome_image_per_cycle(tmp_path, cyx):
    six = np.stack([cyx, cyx[::-1]])
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        for cycle in six:
            tif.write(cycle, metadata={"axes": "CYX", "Channel": {"Name": NAMES}})
    wanted = ["DAPI_1", "CD3", "CD20", "DAPI_2", "CD8", "CD68"]
    sdata = ks.io.read_tiff(tmp_path / "a.ome.tif", channels=wanted)
    assert names(sdata) == wanted
    np.testing.assert_array_equal(pixels(sdata), six.reshape(6, 70, 90))
    # as many names as each has: the first of several
    np.testing.assert_array_equal(pixels(ks.io.read_tiff(tmp_path / "a.ome.tif", channels=NAMES)), cyx)


@pytest.mark.parametrize(
    ("file", "axes", "options"),
    [
        ("a.tif", "TCYX", {"imagej": True}),
        ("a.tif", "ZCYX", {"imagej": True}),
        ("a.ome.tif", "TCYX", {}),
        ("a.ome.tif", "CTYX", {"compression": "zlib"}),
        ("a.ome.tif", "CZYX", {"tile": (32, 32)}),
        ("a.tif", "QQYX", {"photometric": "minisblack"}),
    ],
)
def test_cycles_by_channels(tmp_path, cyx, caplog, file, axes, options):
    array = np.stack([cyx, cyx + 1])
    metadata = {} if "Q" in axes else {"axes": axes}
    tifffile.imwrite(tmp_path / file, array, metadata=metadata, **options)
    six = [f"m{i}" for i in range(6)]
    with caplog.at_level("INFO", "kronos_sc"):
        sdata = ks.io.read_tiff(tmp_path / file, channels=six)
    assert names(sdata) == six
    np.testing.assert_array_equal(pixels(sdata), array.reshape(6, 70, 90))
    assert "are taken as the 6 channels named, the last axis running fastest" in caplog.text
    with pytest.raises(
        ValueError,
        match=r"if these planes are the channels, pass their 6 names with channels=\[\.\.\.\], in the order stored",
    ):
        ks.io.read_tiff(tmp_path / file)
    with pytest.raises(ValueError, match=r"pass their 6 names"):
        ks.io.read_tiff(tmp_path / file, channels=NAMES)


def test_three_channels_written_without_a_word(tmp_path, cyx):
    # tifffile takes three planes of whole numbers for red, green and blue
    tifffile.imwrite(tmp_path / "a.tif", cyx, photometric="rgb", planarconfig="separate", metadata=None)
    np.testing.assert_array_equal(pixels(ks.io.read_tiff(tmp_path / "a.tif", channels=NAMES)), cyx)


@pytest.mark.parametrize("given", [None, NAMES])
def test_channels_last_written_as_they_are(tmp_path, cyx, given):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, cyx.transpose(1, 2, 0), photometric="minisblack", metadata={})
    with pytest.raises(
        ValueError, match=r"a\.tif' has shape \(70, 90, 3\), which is 70 planes of 90 × 3 pixels.*Write them first"
    ) as caught:
        ks.io.read_tiff(path, channels=given)
    line = str(caught.value).split("Write them first: ")[1].rstrip(".")
    new = tmp_path / "new.tif"
    exec(line, {"tifffile": tifffile, "np": np, "new": new, "path": path})
    np.testing.assert_array_equal(pixels(ks.io.read_tiff(new, channels=NAMES)), cyx)


def test_a_pyramid_per_channel(tmp_path, cyx):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        for plane, name in zip(cyx, NAMES, strict=True):
            tif.write(plane, subifds=1, metadata={"axes": "YX", "Channel": {"Name": name}})
            tif.write(plane[::2, ::2], subfiletype=1)
    tree = ks.io.read_tiff(tmp_path / "a.ome.tif").images["image"]
    np.testing.assert_array_equal(tree["scale1"].image.data.compute(), cyx[:, ::2, ::2])
