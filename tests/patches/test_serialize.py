"""Images on their way to another process."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from distributed.protocol import deserialize_bytes, serialize_bytes

from kronos_sc import patches
from kronos_sc.patches._raster import Raster, stored_array
from kronos_sc.patches._rect import Rect
from kronos_sc.patches._serialize import SentWindow, by_reference, check_visible, with_pixels

CHANNELS = ("DAPI", "CD3", "CD8")


def planned(data, *, channels=(2, 0)):
    """Windows of 8 pixels over an image, some beyond its border, in blocks of few chunks."""
    y, x = (axis.ravel() for axis in np.meshgrid(np.arange(-3, 35, 6), np.arange(-3, 45, 6), indexing="ij"))
    units = patches.Units("boxes", np.arange(len(y)), y, x, 8)
    return patches.plan(Raster("image", data, CHANNELS, None), channels, units, block_memory=2000)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(1, 2**16, (3, 38, 50), dtype=np.uint16)


@pytest.fixture
def stored(pixels, tmp_path):
    array = zarr.create_array(tmp_path / "a b.zarr", data=pixels, chunks=(1, 16, 16))
    return da.from_zarr(array)


@pytest.mark.parametrize("travel", ["address", "pixels"])
def test_every_block_arrives_as_it_would_be_read_here(pixels, stored, travel) -> None:
    whole = planned(stored if travel == "address" else da.from_array(pixels, chunks=(2, 16, 16)) + 0)
    assert len(whole.blocks) > 3
    for index, local in enumerate(patches.read(whole)):
        plan = whole.only(index)
        plan = with_pixels(plan, nan="error") if travel == "pixels" else sent(plan)
        (arrived,) = patches.read(deserialize_bytes(serialize_bytes(plan)))
        np.testing.assert_array_equal(arrived.pixels, local.pixels)
        np.testing.assert_array_equal((arrived.y, arrived.x), (local.y, local.x))
        assert arrived.inside == local.inside
        assert plan.image.shape == whole.image.shape
        assert [plan.image.channels[c] for c in plan.channels] == ["CD8", "DAPI"]


def sent(plan):
    from dataclasses import replace

    return replace(plan, image=by_reference(plan.image))


def test_paths_are_whole_when_they_travel(stored, tmp_path, monkeypatch) -> None:
    """The other process works in another folder."""
    monkeypatch.chdir(tmp_path)
    relative = da.from_zarr(zarr.open_array("a b.zarr", mode="r"))
    image = by_reference(Raster("image", relative, CHANNELS, None))
    assert image.data.chunks == relative.chunks
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(image.data, stored)
    assert stored_array(image.data) is not None


def test_pixels_that_only_this_process_has_have_no_address(pixels, stored) -> None:
    for data in (
        da.from_array(pixels),
        stored + 1,
        da.from_zarr(zarr.create_array(zarr.storage.MemoryStore(), data=pixels)),
    ):
        assert by_reference(Raster("image", data, CHANNELS, None)) is None


def test_other_stores_keep_their_address(pixels, tmp_path) -> None:
    pytest.importorskip("fsspec")
    zarr.create_array(tmp_path / "image.zarr", data=pixels, chunks=(1, 16, 16))
    bucket = zarr.storage.FsspecStore.from_url(f"file://{tmp_path}/image.zarr", read_only=True)
    image = by_reference(Raster("image", da.from_zarr(zarr.open_array(bucket, mode="r")), CHANNELS, None))
    plan = deserialize_bytes(serialize_bytes(planned(image.data).only(0)))
    check_visible(plan, nan="error")
    np.testing.assert_array_equal(plan.image.data, pixels)


@pytest.mark.parametrize("instead", ["nothing", "another image"])
def test_an_image_that_is_not_seen_is_not_read_as_zeros(pixels, stored, tmp_path, instead) -> None:
    plan = sent(planned(stored).only(0))
    check_visible(plan, nan="error")
    (tmp_path / "a b.zarr").rename(tmp_path / "gone")
    if instead == "another image":
        zarr.create_array(tmp_path / "a b.zarr", data=pixels[:, :20], chunks=(1, 16, 16))
    with pytest.raises(OSError, match=r"Image 'image' is not seen here at file:.*a b\.zarr.*All workers must see"):
        check_visible(plan, nan="zero")


def test_a_chunk_that_is_not_seen(stored, tmp_path) -> None:
    plan = sent(planned(stored).only(0))
    (tmp_path / "a b.zarr" / "c" / "0" / "0" / "0").unlink()
    check_visible(plan, nan="zero")
    with pytest.raises(OSError, match="no stored chunk under some units: channel 'DAPI'"):
        check_visible(plan, nan="error")


def test_pixels_are_checked_before_they_travel() -> None:
    data = np.zeros((3, 38, 50), np.float32)
    data[2, 10, 10] = np.nan
    plan = planned(da.from_array(data, chunks=(1, 38, 50)) + 0).only(0)
    with pytest.raises(ValueError, match="NaN or infinite pixels in channels 'CD8'"):
        with_pixels(plan, nan="error")
    assert np.isfinite(next(patches.read(with_pixels(plan, nan="zero"))).pixels).all()


def test_a_window_answers_for_the_whole_image() -> None:
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    window = SentWindow.of(pixels, Rect(5, 8, 2, 6), (2, 10, 9))
    expected = np.zeros((2, 10, 9), np.uint8)
    expected[:, 5:8, 2:6] = pixels
    np.testing.assert_array_equal(window[:, :, :], expected)
    np.testing.assert_array_equal(window[1:2, 4:7, 3:9], expected[1:2, 4:7, 3:9])
    np.testing.assert_array_equal(window[:, 0:2, :], expected[:, 0:2, :])
    assert (window.ndim, window.shape, window.dtype) == (3, (2, 10, 9), np.uint8)
