"""What cannot be read says what was found, what exists and what to call."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tifffile

import kronos_sc as ks


def test_missing_names_near_files(image, mask):
    with pytest.raises(
        FileNotFoundError, match=r"no 'cores\.ome\.tif' in .*close names there: 'core\.ome\.tif'\. Correct path="
    ):
        ks.io.read_tiff(image.with_name("cores.ome.tif"))
    with pytest.raises(
        FileNotFoundError, match=r"no 'zzz' in .*it holds: 'core\.ome\.tif', 'mask\.tif'\. Correct mask="
    ):
        ks.io.read_tiff(image, mask=image.with_name("zzz"))
    with pytest.raises(FileNotFoundError, match=r"close names there: 'mask\.tif'\. Correct mask\['nuclei'\]="):
        ks.io.read_tiff(image, mask={"nuclei": (image.with_name("masks.tif"), 0)})
    with pytest.raises(FileNotFoundError, match=r"Correct channels="):
        ks.io.read_tiff(image, channels="names.csv")


def test_missing_folder(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"the folder '.*nowhere.there' does not exist; '.*' does\. Correct path="
    ):
        ks.io.read_tiff(tmp_path / "nowhere" / "there" / "a.tif")


def test_array_instead_of_path(cyx):
    with pytest.raises(TypeError, match=r"path must be a path, got ndarray.*spatialdata\.models\.Image2DModel\.parse"):
        ks.io.read_tiff(cyx)


@pytest.mark.parametrize(
    "content",
    [b"", b"II", b"\x89PNG\r\n\x1a\n" + b"0" * 100, b"II*\x00\xff\xff\xff\x7f"],
    ids=["empty", "2 bytes", "PNG", "no pages"],
)
def test_no_tiff(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(OSError, match=r"a\.tif'.*[Cc]opy (the file again|or export it again)"):
        ks.io.read_tiff(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["ome", "plain", "imagej", "one write per channel"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_cut_off(tmp_path, cyx, kind, share):
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    if kind == "one write per channel":
        with tifffile.TiffWriter(path) as tif:
            for plane in cyx:
                tif.write(plane, metadata=None)
    else:
        options = {} if kind == "imagej" else {"compression": "zlib", "photometric": "minisblack"}
        tifffile.imwrite(path, cyx, imagej=kind == "imagej", metadata={"axes": "CYX"}, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(OSError, match=r"a(\.ome)?\.tif'.*(cut off|damaged).*Copy or export it again"):
        ks.io.read_tiff(path)


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        (
            (4, 20, 30),
            "ZYX",
            r"axes ZYX \(shape \(4, 20, 30\)\): Z \(depth\) × 4.*Project or choose one plane.*pass their 4 names "
            r"with channels=",
        ),
        ((4, 3, 20, 30), "ZCYX", r"Z \(depth\) × 4, C \(channels\) × 3.*Project or choose one plane per channel"),
        ((2, 3, 20, 30), "TCYX", r"T \(time\) × 2, C \(channels\) × 3"),
    ],
)
def test_depth_and_time(tmp_path, shape, axes, message):
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros(shape, np.uint8), metadata={"axes": axes})
    with pytest.raises(ValueError, match=message):
        ks.io.read_tiff(tmp_path / "a.ome.tif")


def test_depth_with_another_number_of_names(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((4, 20, 30), np.uint8), metadata={"axes": "ZYX"})
    with pytest.raises(ValueError, match=r"Z \(depth\) × 4"):
        ks.io.read_tiff(tmp_path / "a.ome.tif", channels=["a", "b"])


@pytest.mark.parametrize(
    ("array", "options", "axes"),
    [
        (np.zeros((20, 30, 3), np.uint8), {"photometric": "rgb"}, "YXS"),
        (np.zeros((3, 20, 30), np.uint8), {"photometric": "rgb", "planarconfig": "separate"}, "SYX"),
        (np.zeros((20, 30, 5), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}, "YXS"),
    ],
)
def test_colour_samples(tmp_path, array, options, axes):
    tifffile.imwrite(tmp_path / "a.tif", array, metadata=None, **options)
    with pytest.raises(
        ValueError,
        match=rf"a\.tif' is stored as colour samples \(axes {axes}.*tifffile\.imwrite\(new, array_cyx, ome=True",
    ):
        ks.io.read_tiff(tmp_path / "a.tif")


def test_channels_last(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((20, 30, 5), np.uint8), metadata={"axes": "YXC"}, photometric="minisblack"
    )
    with pytest.raises(ValueError, match=r"has axes YXC.*rows and columns must come last\. Rewrite it as CYX"):
        ks.io.read_tiff(tmp_path / "a.tif")


def test_folders(tmp_path, cyx):
    empty, sizes, many, store = (tmp_path / name for name in ("empty", "sizes", "many", "a.zarr"))
    for folder in (empty, sizes, many, store):
        folder.mkdir()
    (empty / "notes.txt").write_text("x")
    for name, plane in {"CD3": cyx[0], "CD20": cyx[1], "DAPI": cyx[2, :50]}.items():
        tifffile.imwrite(sizes / f"{name}.tif", plane)
    tifffile.imwrite(many / "CD3.tif", cyx[0])
    tifffile.imwrite(many / "stack.tif", cyx, photometric="minisblack")
    with pytest.raises(
        ValueError, match=r"holds no TIFF file; it holds: 'notes\.txt'\. Name the folder that holds one TIFF per marker"
    ):
        ks.io.read_tiff(empty)
    with pytest.raises(
        ValueError,
        match=r"differ in size: most are 70 × 90 pixels, but not 'DAPI\.tif \(50 × 90\)'\. Move what is no channel",
    ):
        ks.io.read_tiff(sizes)
    with pytest.raises(
        ValueError, match=r"one TIFF per channel, 'stack\.tif' hold more than one plane\. Move them elsewhere"
    ):
        ks.io.read_tiff(many)
    with pytest.raises(ValueError, match=r"is a Zarr store.*Read it with spatialdata\.read_zarr\("):
        ks.io.read_tiff(store)


def test_importing_loads_no_torch():
    code = (
        "import sys, kronos_sc; assert 'spatialdata' not in sys.modules; kronos_sc.io; assert 'torch' not in "
        "sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
