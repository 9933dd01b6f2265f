"""Every way in which a TIFF stores channels is read to the same pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

import kronos_sc as ks


def pixels(sdata, key="image"):
    return sdata.images[key].data.compute()


def names(sdata):
    return sdata.images["image"].c.values.tolist()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile": (32, 32)},
        {"tile": (32, 48), "compression": "zlib", "predictor": True},
        {"rowsperstrip": 1},
        {"rowsperstrip": 16, "compression": "lzw"},
        {"rowsperstrip": 64, "compression": "zstd"},
        {"bigtiff": True, "byteorder": ">", "compression": "deflate", "rowsperstrip": 9},
        {"byteorder": ">"},
    ],
    ids=str,
)
@pytest.mark.parametrize("ome", [True, False], ids=["ome", "plain"])
def test_storage(tmp_path, cyx, options, ome):
    path = tmp_path / ("a.ome.tif" if ome else "a.tif")
    tifffile.imwrite(path, cyx, metadata={"axes": "CYX"}, photometric="minisblack", **options)
    image = ks.io.read_tiff(path).images["image"]
    assert image.dtype == np.uint16
    assert image.dims == ("c", "y", "x")
    np.testing.assert_array_equal(image.data.compute(), tifffile.imread(path))
    np.testing.assert_array_equal(image.data[1, 10:65, 31:70].compute(), cyx[1, 10:65, 31:70])
    np.testing.assert_array_equal(image.data[::-1, 60:3:-7, ::5].compute(), cyx[::-1, 60:3:-7, ::5])


def test_jpeg_tiles(tmp_path):
    smooth = (np.add.outer(np.arange(70), np.arange(90)) % 200).astype(np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        np.stack([smooth, smooth[::-1]]),
        tile=(32, 32),
        compression="jpeg",
        photometric="minisblack",
        metadata={"axes": "CYX"},
    )
    np.testing.assert_array_equal(pixels(ks.io.read_tiff(path)), tifffile.imread(path))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "float32", "float64"])
def test_dtypes_stay(tmp_path, cyx, dtype):
    tifffile.imwrite(tmp_path / "a.ome.tif", cyx.astype(dtype), metadata={"axes": "CYX"}, compression="zlib")
    image = ks.io.read_tiff(tmp_path / "a.ome.tif").images["image"]
    assert image.dtype == dtype
    np.testing.assert_array_equal(image.data.compute(), cyx.astype(dtype))


@pytest.mark.parametrize("axes", ["CYX", "ZCYX", "TCYX", "TZCYX", "CZYX"])
def test_axes_of_length_one(tmp_path, cyx, axes):
    shape = [3 if axis == "C" else 1 for axis in axes[:-2]]
    tifffile.imwrite(tmp_path / "a.ome.tif", cyx.reshape(*shape, 70, 90), metadata={"axes": axes})
    np.testing.assert_array_equal(pixels(ks.io.read_tiff(tmp_path / "a.ome.tif")), cyx)


def test_one_plane(tmp_path, cyx):
    tifffile.imwrite(tmp_path / "a.tif", cyx[0])
    np.testing.assert_array_equal(pixels(ks.io.read_tiff(tmp_path / "a.tif")), cyx[:1])


@pytest.mark.parametrize(
    "options",
    [{}, {"tile": (32, 32)}, {"compression": "zlib", "rowsperstrip": 20}, {"tile": (32, 32), "compression": "zlib"}],
    ids=str,
)
def test_channels_as_separate_samples(tmp_path, cyx, options):
    # what tifffile makes of three channels when nothing says that they are no colours
    tifffile.imwrite(
        tmp_path / "a.tif", cyx, metadata={"axes": "CYX"}, photometric="rgb", planarconfig="separate", **options
    )
    data = ks.io.read_tiff(tmp_path / "a.tif").images["image"].data
    np.testing.assert_array_equal(data.compute(), cyx)
    np.testing.assert_array_equal(data[2, 33:40, 50:70].compute(), cyx[2, 33:40, 50:70])


@pytest.mark.parametrize("metadata", [{}, None], ids=["described", "bare"])
def test_one_write_per_channel(tmp_path, cyx, metadata):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for plane in cyx:
            tif.write(plane, metadata=metadata, compression="zlib")
    np.testing.assert_array_equal(pixels(ks.io.read_tiff(tmp_path / "a.tif")), cyx)


def test_imagej(tmp_path, cyx):
    path = tmp_path / "a.tif"
    metadata = {"axes": "CYX", "Labels": ["DAPI", "CD3", "CD20"], "unit": "micron"}
    tifffile.imwrite(path, cyx, imagej=True, metadata=metadata, resolution=(2, 2))
    sdata = ks.io.read_tiff(path)
    assert names(sdata) == ["DAPI", "CD3", "CD20"]
    np.testing.assert_array_equal(pixels(sdata), cyx)


def test_imagej_single_directory(tmp_path, cyx):
    # ImageJ writes stacks above 4 GB as one directory and all pixels behind it; contiguous data of tifffile is the same
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, cyx, metadata={"axes": "CYX"}, photometric="minisblack", truncate=True)
    with tifffile.TiffFile(path) as tif:
        assert len(tif.pages) == 1
    np.testing.assert_array_equal(pixels(ks.io.read_tiff(path)), cyx)
    tifffile.imwrite(path, cyx, imagej=True, metadata={"axes": "CYX"}, truncate=True)
    np.testing.assert_array_equal(pixels(ks.io.read_tiff(path)), cyx)


def test_qptiff(tmp_path, cyx):
    path = tmp_path / "a.qptiff"
    declaration = '<?xml version="1.0" encoding="utf-16"?>'
    root = "PerkinElmer-QPI-ImageDescription"
    xml = f"{declaration}<{root}><Name>{{}}</Name>{{}}</{root}>"
    with tifffile.TiffWriter(path) as tif:
        for plane, (name, more) in zip(
            cyx, [("DAPI", ""), ("Opal 520", "<Biomarker>CD3 &amp; CD4</Biomarker>"), ("Opal 690", "")], strict=True
        ):
            description = xml.format(name, more)
            tif.write(
                plane,
                description=description,
                metadata=None,
                software="PerkinElmer-QPI",
                resolution=(20_000, 20_000),
                resolutionunit=3,
            )
        thumbnail = np.zeros((20, 30, 3), np.uint8)
        tif.write(
            thumbnail, photometric="rgb", description=xml.format("", ""), metadata=None, software="PerkinElmer-QPI"
        )
    sdata = ks.io.read_tiff(path)
    assert names(sdata) == ["DAPI", "CD3 & CD4", "Opal 690"]
    np.testing.assert_array_equal(pixels(sdata), cyx)


def test_mibitiff(tmp_path, cyx):
    path = tmp_path / "a.tiff"
    with tifffile.TiffWriter(path) as tif:
        for plane, target in zip(cyx, ["dsDNA", "CD3", None], strict=True):
            told = {"mibi.size": 45, "channel.mass": 113, "channel.target": target}
            tif.write(
                plane, description=json.dumps(told), metadata=None, software="IonpathMIBIv1.0", compression="zlib"
            )
    sdata = ks.io.read_tiff(path)
    assert names(sdata) == ["dsDNA", "CD3", "113"]
    assert ks.patches.pixel_size(ks.patches.raster(sdata, "image")) == pytest.approx(0.5)
    np.testing.assert_array_equal(pixels(sdata), cyx)


def test_page_names(tmp_path, cyx):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for plane, name in zip(cyx, ["DAPI", "CD3", "CD20"], strict=True):
            tif.write(plane, metadata=None, extratags=[(285, 2, 0, name, True)])
    assert names(ks.io.read_tiff(tmp_path / "a.tif")) == ["DAPI", "CD3", "CD20"]


def test_several_images_take_the_largest(tmp_path, cyx, caplog):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(
            cyx[:, :20, :20],
            metadata={"axes": "CYX", "Channel": {"Name": ["a", "b", "c"]}, "PhysicalSizeX": 2, "PhysicalSizeY": 2},
        )
        tif.write(cyx, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3", "CD20"]}})
    with caplog.at_level("INFO", "kronos_sc"):
        sdata = ks.io.read_tiff(path)
    assert names(sdata) == ["DAPI", "CD3", "CD20"]
    assert sdata.coordinate_systems == ["global"]
    assert "reading series 1" in caplog.text
    assert names(ks.io.read_tiff(path, series=0)) == ["a", "b", "c"]
    np.testing.assert_array_equal(pixels(ks.io.read_tiff(path, series=0)), cyx[:, :20, :20])
    with pytest.raises(
        ValueError, match=r"no series 2; it has '0: CYX 3 × 20 × 20', '1: CYX 3 × 70 × 90'\. Choose one with series="
    ):
        ks.io.read_tiff(path, series=2)


def test_multi_file_ome(tmp_path, cyx):
    # one UUID per file, as Bio-Formats writes companion sets
    uuids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{i}" for i in range(3)]
    data = "".join(
        f'<TiffData IFD="0" FirstC="{i}" PlaneCount="1"><UUID FileName="{i}.ome.tif">{u}</UUID></TiffData>'
        for i, u in enumerate(uuids)
    )
    channels = "".join(f'<Channel ID="Channel:0:{i}" Name="m{i}" SamplesPerPixel="1"/>' for i in range(3))
    pixel = (
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="90" SizeY="70" SizeC="3" SizeZ="1" '
        'SizeT="1">'
    )
    for plane, uuid, number in zip(cyx, uuids, range(3), strict=True):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}">'
            f'<Image ID="Image:0">{pixel}{channels}{data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(tmp_path / f"{number}.ome.tif", plane, description=xml, metadata=None, compression="zlib")
    sdata = ks.io.read_tiff(tmp_path / "0.ome.tif")
    assert names(sdata) == ["m0", "m1", "m2"]
    np.testing.assert_array_equal(pixels(sdata), cyx)


def test_folder(tmp_path, cyx, mask, labels):
    for name, plane in zip(["CD20.tif", "cd3.TIFF", "DAPI.ome.tif"], cyx, strict=True):
        tifffile.imwrite(
            tmp_path / name, plane, ome=name.endswith("ome.tif"), metadata=None if "ome" not in name else {}
        )
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.tif").write_text("x")
    sdata = ks.io.read_tiff(tmp_path, mask=mask, mpp=0.5)
    assert names(sdata) == ["cd3", "CD20", "DAPI"]
    np.testing.assert_array_equal(pixels(sdata), cyx[[1, 0, 2]])
    np.testing.assert_array_equal(sdata.labels["cells"].data.compute(), labels)


def test_folder_of_mixed_dtypes(tmp_path, cyx):
    tifffile.imwrite(tmp_path / "a.tif", cyx[0])
    tifffile.imwrite(tmp_path / "b.tif", (cyx[1] // 256).astype(np.uint8))
    image = ks.io.read_tiff(tmp_path).images["image"]
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image.data.compute(), np.stack([cyx[0], cyx[1] // 256]))


def test_write_and_read_back(tmp_path, image, mask, cyx, labels):
    import spatialdata

    ks.io.read_tiff(image, mask=mask).write(tmp_path / "a.zarr")
    back = spatialdata.read_zarr(tmp_path / "a.zarr")
    np.testing.assert_array_equal(pixels(back), cyx)
    np.testing.assert_array_equal(back.labels["cells"].data.compute(), labels)
    assert back.labels["cells"].dtype == np.uint32
    assert names(back) == ["DAPI", "CD3", "CD20"]
    assert sorted(back.coordinate_systems) == ["global", "um"]
    assert back.tables["table"].obs["cell_id"].tolist() == [7, 9, 12, 218_917]
