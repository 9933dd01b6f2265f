"""Channel names: given before stored before numbered, each once."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

import kronos_sc as ks
from kronos_sc.io._ome import ome_image


def names(sdata):
    return sdata.images["image"].c.values.tolist()


@pytest.fixture
def unnamed(tmp_path, cyx):
    tifffile.imwrite(tmp_path / "plain.tif", cyx, metadata={"axes": "CYX"}, photometric="minisblack")
    return tmp_path / "plain.tif"


def test_given_before_stored(image):
    assert names(ks.io.read_tiff(image, channels=["a", " b ", "c"])) == ["a", "b", "c"]


def test_numbered_with_a_hint(unnamed, caplog):
    with caplog.at_level("INFO", "kronos_sc"):
        assert names(ks.io.read_tiff(unnamed)) == ["channel_0", "channel_1", "channel_2"]
    assert "holds no channel names: they are numbered; pass channels= to name them" in caplog.text


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.txt", "DAPI\nCD3\n\nKi-67, clone B56\n"),
        ("a.csv", '\ufeffmarker\nDAPI\nCD3\n"Ki-67, clone B56"\n'),
        ("a.csv", 'channel_number,Marker Name\n1,DAPI\n2,CD3\n3,"Ki-67, clone B56"\n'),
        ("a.csv", 'channel,name,keep\nIr191,DAPI,1\nYb170,CD3,1\nX,"Ki-67, clone B56",1\n'),
        ("a.tsv", "Start\tLabel\n1\tDAPI\n2\tCD3\n3\tKi-67, clone B56\n"),
        ("a.csv", "cycle;target\n1;DAPI\n1;CD3\n2;Ki-67, clone B56\n"),
    ],
)
def test_from_file(unnamed, tmp_path, file, text):
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert names(ks.io.read_tiff(unnamed, channels=tmp_path / file)) == ["DAPI", "CD3", "Ki-67, clone B56"]


def test_file_without_a_column_of_names(unnamed, tmp_path):
    (tmp_path / "a.csv").write_text("cycle,exposure\n1,10\n")
    with pytest.raises(
        ValueError,
        match=r"has the columns 'cycle', 'exposure', none of them known to hold names\. Name one of them 'marker'",
    ):
        ks.io.read_tiff(unnamed, channels=tmp_path / "a.csv")


def test_empty_file(unnamed, tmp_path):
    (tmp_path / "a.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"holds no channel names\. Write one name per line"):
        ks.io.read_tiff(unnamed, channels=tmp_path / "a.txt")


def test_wrong_number(image):
    with pytest.raises(
        ValueError,
        match=r"names 2 channels, but 'core\.ome\.tif' has 3 \(stored: 'DAPI', 'CD3', 'CD20'\)\. Give one name "
        r"per channel",
    ):
        ks.io.read_tiff(image, channels=["a", "b"])


def test_panel_of_the_wrong_number(image, tmp_path):
    (tmp_path / "panel.csv").write_text("channel,name,keep\nIr191,DNA1,1\nXe131,,0\nPb206,,0\nEr170,CD3,1\n")
    with pytest.raises(
        ValueError,
        match=r"names 4 channels \(2 without keep=0: 'row 3: Xe131', 'row 4: Pb206'\), but 'core\.ome\.tif' has 3",
    ):
        ks.io.read_tiff(image, channels=tmp_path / "panel.csv")


def test_rows_left_out_count_as_planes_along_depth(tmp_path, cyx):
    tifffile.imwrite(tmp_path / "a.tif", cyx, imagej=True, metadata={"axes": "ZYX"})
    (tmp_path / "panel.csv").write_text("marker,remove\nDAPI,\nCD3,\nbackground,TRUE\nCD8,\n")
    assert names(ks.io.read_tiff(tmp_path / "a.tif", channels=tmp_path / "panel.csv")) == ["DAPI", "CD3", "CD8"]


@pytest.mark.parametrize("given", [["Blank", "CD3", "Blank"], None])
def test_blanks_of_an_image_are_numbered(tmp_path, cyx, given, caplog):
    tifffile.imwrite(
        tmp_path / "a.ome.tif", cyx, metadata={"axes": "CYX", "Channel": {"Name": ["Blank", "CD3", "Blank"]}}
    )
    with caplog.at_level("INFO", "kronos_sc"):
        assert names(ks.io.read_tiff(tmp_path / "a.ome.tif", channels=given)) == ["Blank_1", "CD3", "Blank_2"]
    assert "numbered: 'Blank'" in caplog.text


@pytest.mark.parametrize("given", [["CD20", "dapi", "CD3"], ["CD3", "DAPI", "CD8"]])
def test_names_of_the_file_in_another_order(image, given):
    with pytest.warns(
        UserWarning,
        match=r"of 3 channels of 'core\.ome\.tif' another place than its OME-XML: plane .* leave channels= out",
    ):
        assert names(ks.io.read_tiff(image, channels=given)) == given


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("given", [["DAPI", "CD3", "CD8"], ["a", "b", "DAPI"]])
def test_other_names_than_stored(image, given):
    assert names(ks.io.read_tiff(image, channels=given)) == given


def test_not_names(image):
    with pytest.raises(TypeError, match=r"channels must be names, got '1', '' among 3\. Pass one text per channel"):
        ks.io.read_tiff(image, channels=["a", 1, ""])


@pytest.mark.parametrize("given", [["DAPI", "DAPI", "CD3"], None])
def test_repeated(tmp_path, cyx, given):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, cyx, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3", "DAPI"]}})
    origin = "channels=" if given else "OME-XML"
    with pytest.raises(
        ValueError,
        match=rf"channels of the same name: 'DAPI' \({origin}\).*Pass 3 distinct names with channels=\[\.\.\.\]",
    ):
        ks.io.read_tiff(path, channels=given)


def test_missing_among_stored(tmp_path, cyx, caplog):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, cyx, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "", "CD3"]}})
    with caplog.at_level("INFO", "kronos_sc"):
        assert names(ks.io.read_tiff(path)) == ["DAPI", "channel_1", "CD3"]
    assert "1 of 3 channels have no name" in caplog.text


def test_fiji_numbers_are_no_names(tmp_path, cyx):
    metadata = {"axes": "CYX", "Labels": [f"c:{i}/3 - core.tif" for i in (1, 2, 3)]}
    tifffile.imwrite(tmp_path / "a.tif", cyx, imagej=True, metadata=metadata)
    assert names(ks.io.read_tiff(tmp_path / "a.tif")) == ["channel_0", "channel_1", "channel_2"]


def test_planes_along_depth_become_channels_when_named(tmp_path, cyx, caplog):
    # ImageJ files saved as a stack declare their channels as slices
    tifffile.imwrite(tmp_path / "a.tif", cyx, imagej=True, metadata={"axes": "ZYX"})
    with caplog.at_level("INFO", "kronos_sc"):
        sdata = ks.io.read_tiff(tmp_path / "a.tif", channels=["DAPI", "CD3", "CD20"])
    np.testing.assert_array_equal(sdata.images["image"].data.compute(), cyx)
    assert "3 planes along Z (depth) are taken as the 3 channels named" in caplog.text


PIXELS = (
    '<Pixels ID="Pixels:0" Type="uint16" SizeX="90" SizeY="70" SizeC="2" SizeZ="1" SizeT="1" DimensionOrder="XYCZT" {}>'
)
CHANNELS = '<Channel ID="Channel:0:0" Name="CD3 &amp; CD4"/><Channel ID="Channel:0:1" Fluor="Cy5"/>'
OME = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">{}{}</Pixels></Image>{}'


@pytest.mark.parametrize(
    ("sizes", "tail"),
    [
        ('PhysicalSizeX="500" PhysicalSizeXUnit="nm"', "</OME>"),
        ('PhysicalSizeX="500" PhysicalSizeXUnit="nm" Colour="nonsense"', "</OME>"),
        ('PhysicalSizeX="500" PhysicalSizeXUnit="nm"', "<Unclosed>"),
        ('PhysicalSizeX="500" PhysicalSizeXUnit="nm" PhysicalSizeY="-1"', "</OME>"),
    ],
    ids=["valid", "unknown attribute", "not well formed", "impossible size"],
)
def test_ome_valid_or_not(sizes, tail):
    found = ome_image(OME.format(PIXELS.format(sizes), CHANNELS, tail), 0, (70, 90))
    assert found.names == ("CD3 & CD4", "Cy5")
    assert found.mpp[1] == pytest.approx(0.5)


def test_ome_without_images():
    assert ome_image("<OME/>", 0, (70, 90)) is None


@pytest.mark.filterwarnings("ignore:Failed to convert value")
def test_file_with_broken_ome(tmp_path, cyx):
    xml = OME.format(
        PIXELS.format('PhysicalSizeX="abc" PhysicalSizeY="0.5"').replace('C="2"', 'C="3"'),
        CHANNELS + '<Channel Name="x"/>',
        "</OME>",
    )
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        for number, plane in enumerate(cyx):
            tif.write(plane, description=xml if number == 0 else None, metadata=None, compression="zlib")
    sdata = ks.io.read_tiff(tmp_path / "a.ome.tif")
    assert names(sdata) == ["CD3 & CD4", "Cy5", "x"]
    np.testing.assert_array_equal(sdata.images["image"].data.compute(), cyx)
