"""Opening decodes nothing; a window decodes only the tiles or strips under it."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
import tifffile

import kronos_sc as ks
from kronos_sc.io import _planes


@pytest.fixture
def decoded(monkeypatch):
    """Count of each stored segment decoded, by (position of page, segment)."""
    seen = Counter()
    real = _planes._segment

    def counting(handle, encoding, where, index):
        seen[int(where.offsets[0]), index] += 1
        return real(handle, encoding, where, index)

    monkeypatch.setattr(_planes, "_segment", counting)
    return seen


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big.tif"
    array = np.random.default_rng(1).integers(0, 200, (4, 300, 400)).astype(np.uint8)
    tifffile.imwrite(path, array, metadata={"axes": "CYX"}, tile=(64, 64), compression="zlib", photometric="minisblack")
    return path, array


def test_opening_decodes_nothing(image, decoded, monkeypatch):
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *_, **__: pytest.fail("a page was decoded"))
    ks.io.read_tiff(image)
    assert not decoded


def test_one_channel_decodes_its_page_only(big, decoded):
    path, array = big
    image = ks.io.read_tiff(path).images["image"]
    np.testing.assert_array_equal(image.sel(c="channel_2").data.compute(), array[2])
    assert len({page for page, _ in decoded}) == 1
    assert len(decoded) == 5 * 7
    assert set(decoded.values()) == {1}


def test_window_decodes_its_tiles_only(big, decoded):
    path, array = big
    image = ks.io.read_tiff(path, chunks=64).images["image"]
    np.testing.assert_array_equal(image.data[3, 60:70, 130:190].compute(), array[3, 60:70, 130:190])
    assert {index for _, index in decoded} == {2, 9}
    assert set(decoded.values()) == {1}


def test_window_decodes_its_strips_only(tmp_path, cyx, decoded):
    tifffile.imwrite(
        tmp_path / "a.tif", cyx, metadata={"axes": "CYX"}, rowsperstrip=10, compression="zlib", photometric="minisblack"
    )
    image = ks.io.read_tiff(tmp_path / "a.tif", chunks=10).images["image"]
    np.testing.assert_array_equal(image.data[1, 21:40].compute(), cyx[1, 21:40])
    assert sorted(index for _, index in decoded) == [2, 3]


def test_whole_image_decodes_each_tile_once(big, decoded):
    path, array = big
    np.testing.assert_array_equal(ks.io.read_tiff(path, chunks=(100, 70)).images["image"].data.compute(), array)
    assert len(decoded) == 4 * 5 * 7
    assert set(decoded.values()) == {1}


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [(None, (300, 400)), (64, (64, 64)), (65, (128, 128)), ((100, 300), (128, 320)), (9999, (300, 400))],
)
def test_chunks_hold_whole_tiles(big, chunks, expected):
    assert ks.io.read_tiff(big[0], chunks=chunks).images["image"].data.chunksize == (1, *expected)


@pytest.mark.parametrize("chunks", [0, -4, 1.5, (64, 0), "big"])
def test_chunks_are_checked(image, chunks):
    with pytest.raises(ValueError, match=r"chunks must be a whole number of at least 1"):
        ks.io.read_tiff(image, chunks=chunks)


def test_plain_pixels_are_not_left_mapped(tmp_path, cyx):
    tifffile.imwrite(tmp_path / "a.tif", cyx, metadata={"axes": "CYX"})
    window = ks.io.read_tiff(tmp_path / "a.tif").images["image"].data[1].compute()
    base = window
    while base is not None:
        assert not isinstance(base, np.memmap)
        base = base.base


def test_one_row_strips_are_grouped():
    plane = _planes.Plane("a", (0, 0), 0, 8, 8, 0, (4000, 2000), "<u2", (1, 2000))
    assert _planes.PlaneStack([plane]).lazy().chunksize == (1, 524, 2000)


def test_survives_pickling(image, cyx):
    data = pickle.loads(pickle.dumps(ks.io.read_tiff(image).images["image"].data))
    np.testing.assert_array_equal(data.compute(), cyx)


def test_many_threads_read_the_same(big):
    path, array = big
    data = ks.io.read_tiff(path, chunks=64).images["image"].data
    for _ in range(3):
        np.testing.assert_array_equal(data.compute(scheduler="threads", num_workers=8), array)


def test_file_changed_after_opening(image, cyx):
    sdata = ks.io.read_tiff(image)
    tifffile.imwrite(image, cyx[:, ::-1], metadata={"axes": "CYX"}, compression="zlib")
    with pytest.raises(OSError, match=r"core\.ome\.tif' has changed since it was opened.*call io\.read_tiff again"):
        sdata.images["image"].data.compute()
    np.testing.assert_array_equal(ks.io.read_tiff(image).images["image"].data.compute(), cyx[:, ::-1])


def test_damaged_tile_names_file_and_plane(image):
    with tifffile.TiffFile(image) as tif:
        offset = tif.pages[1].dataoffsets[2]
    with image.open("r+b") as handle:
        handle.seek(offset)
        handle.write(b"\xff" * 12)
    data = ks.io.read_tiff(image).images["image"].data
    data[0].compute()
    with pytest.raises(OSError, match=r"Plane 1 of '.*core\.ome\.tif' could not be decoded.*Copy or export it again"):
        data[1].compute()
