"""The reader against plain slicing of a padded array."""

import threading
import time
import tracemalloc
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from spatialdata.models import Image2DModel

import kronos_sc
from kronos_sc import patches
from kronos_sc.patches import _reader
from kronos_sc.patches._labels import scan
from kronos_sc.patches._raster import Affine, Raster
from kronos_sc.patches._units import LabelSource, Units


def an_image(array, chunks):
    lazy = da.from_array(array, chunks=chunks)
    names = tuple(f"c{i}" for i in range(len(array)))
    return Raster("image", lazy, names, Image2DModel.parse(lazy, dims=("c", "y", "x"), c_coords=list(names)))


def windows(shape, size, n, seed=0):
    """Return units whose centres lie anywhere on the image, its corners included."""
    rng = np.random.default_rng(seed)
    centre = np.stack([rng.integers(0, edge, n) for edge in shape], axis=1)
    corners = [(0, 0), (shape[0] - 1, shape[1] - 1), (0, shape[1] - 1)]
    centre = np.concatenate([centre, corners])
    return Units("boxes", np.arange(len(centre)), centre[:, 0] - size // 2, centre[:, 1] - size // 2, size)


def plainly(array, channels, units):
    """Return the same windows by slicing an array padded with zeros."""
    s = units.size
    padded = np.pad(array[list(channels)], ((0, 0), (s, s), (s, s)))
    return np.stack([padded[:, y + s : y + 2 * s, x + s : x + 2 * s] for y, x in zip(units.y, units.x, strict=True)])


def all_crops(plan, **how):
    out = np.full((len(plan.units), len(plan.channels), plan.units.size, plan.units.size), 77, plan.image.data.dtype)
    for block in patches.read(plan, **how):
        out[block.units] = patches.crop(block)
    return out


@pytest.mark.parametrize("size", [32, 64, 256])
@pytest.mark.parametrize("chunks", [(1, 64, 64), (5, 64, 64), (2, 50, 333), (1, 301, 397), (3, (100, 1, 200), 128)])
@pytest.mark.parametrize("memory", [1, 200_000, 10**9])
def test_windows_equal_plain_slicing(size, chunks, memory):
    array = np.random.default_rng(1).integers(1, 60_000, (5, 301, 397)).astype(np.uint16)
    units = windows((301, 397), size, 40)
    plan = patches.plan(an_image(array, chunks), [3, 0, 4], units, block_memory=memory)
    np.testing.assert_array_equal(all_crops(plan), plainly(array, [3, 0, 4], units))


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    chunk=st.tuples(st.integers(1, 4), st.integers(5, 60), st.integers(5, 60)),
    size=st.integers(1, 70),
    memory=st.sampled_from([1, 5_000, 50_000, 10**9]),
    channels=st.permutations([0, 1, 2, 3]).flatmap(lambda p: st.integers(1, 4).map(lambda n: p[:n])),
    seed=st.integers(0, 99),
)
def test_any_shape_chunk_window_and_memory(shape, chunk, size, memory, channels, seed):
    array = np.random.default_rng(seed).integers(1, 255, (4, *shape)).astype(np.uint8)
    units = windows(shape, size, 12, seed)
    plan = patches.plan(an_image(array, chunk), channels, units, block_memory=memory)
    owners = np.concatenate([block.units for block in plan.blocks])
    assert sorted(owners) == list(range(len(units)))  # each unit belongs to exactly one block
    decoded = [key for block in plan.blocks for key in block.first_use]
    assert len(decoded) == len(set(decoded))
    np.testing.assert_array_equal(all_crops(plan), plainly(array, channels, units))


def test_small_memory_gives_many_blocks_and_large_memory_one():
    image = an_image(np.ones((1, 256, 256), np.uint8), (1, 32, 32))
    units = windows((256, 256), 32, 400)
    assert len(patches.plan(image, [0], units, block_memory=1).blocks) == 64
    assert len(patches.plan(image, [0], units, block_memory=10**9).blocks) == 1


def test_block_knows_which_part_of_it_is_image():
    units = Units("boxes", np.arange(1), np.array([-10]), np.array([80]), 64)
    (block,) = patches.read(patches.plan(an_image(np.ones((1, 100, 100), np.uint8), -1), [0], units))
    assert block.inside == (10, 64, 0, 20)
    mask = patches.crop_masks(block)[0]
    np.testing.assert_array_equal(mask, patches.crop(block)[0, 0] == 1)


def test_big_endian_pixels():
    array = np.random.default_rng(0).integers(1, 60_000, (2, 50, 50)).astype(">u2")
    units = windows((50, 50), 16, 5)
    for block in patches.read(patches.plan(an_image(array, 20), [0, 1], units, block_memory=1)):
        np.testing.assert_array_equal(patches.crop(block), plainly(array, [0, 1], units)[block.units])
        assert block.pixels.dtype == np.uint16


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "kronos_sc-reader"]


def many_blocks():
    return patches.plan(
        an_image(np.ones((1, 256, 256), np.uint8), (1, 32, 32)), [0], windows((256, 256), 16, 300), block_memory=1
    )


def test_thread_ends_when_the_caller_stops():
    blocks = patches.read(many_blocks())
    next(blocks)
    assert readers()
    blocks.close()
    assert not readers()


def test_thread_ends_when_reading_fails():
    def broken(block):
        raise RuntimeError("bad codec")

    lazy = da.map_blocks(
        broken,
        da.zeros((1, 64, 64), chunks=(1, 32, 32), dtype=np.uint8),
        dtype=np.uint8,
        meta=np.zeros((0, 0, 0), np.uint8),
    )
    image = Raster("slide", lazy, ("CD3",), None)
    with pytest.raises(
        OSError,
        match=r"Image 'slide' could not be decoded at channel 'CD3', rows 0–\d+, columns .*RuntimeError: bad codec",
    ):
        list(patches.read(patches.plan(image, [0], windows((64, 64), 16, 9))))
    assert not readers()


def test_reader_runs_ahead_by_as_much_as_asked_and_no_more():
    made = []

    def slow(block, block_info=None):
        made.append(block_info[None]["chunk-location"])
        return block

    lazy = da.zeros((1, 32, 640), chunks=(1, 32, 32), dtype=np.uint8).map_blocks(
        slow, dtype=np.uint8, meta=np.zeros((0, 0, 0), np.uint8)
    )
    units = Units("boxes", np.arange(20), np.zeros(20, int), np.arange(20) * 32, 32)
    blocks = patches.read(patches.plan(Raster("i", lazy, ("a",), None), [0], units, block_memory=1), ahead=2)
    next(blocks)
    time.sleep(0.4)
    assert 3 <= len(made) <= 5  # one in hand, two waiting, one in the reader's hands
    blocks.close()


def test_memory_is_set_by_the_block():
    """4 channels of 2,304 × 2,304 uint16 (42 MB) made on the fly; blocks of 1 MB."""

    def chunk(block_info=None):
        return np.full(block_info[None]["chunk-shape"], 7, np.uint16)

    lazy = da.map_blocks(
        chunk, chunks=((1,) * 4, (256,) * 9, (256,) * 9), dtype=np.uint16, meta=np.zeros((0, 0, 0), np.uint16)
    )
    units = windows((2304, 2304), 64, 500)
    plan = patches.plan(Raster("i", lazy, tuple("abcd"), None), [0, 1, 2, 3], units, block_memory=2**20)
    tracemalloc.start()
    seen = sum(len(block.units) for block in patches.read(plan))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 503
    assert peak < 12 * 2**20, f"{peak / 2**20:.0f} MiB"


def test_pixels_that_are_not_finite_are_named_wherever_a_window_holds_them():
    array = np.zeros((3, 96, 96), np.float32)
    array[1, 70, 70] = np.inf
    image = an_image(array, (1, 32, 32))
    hit = Units("boxes", np.arange(2), np.array([0, 60]), np.array([0, 60]), 16)
    miss = Units("boxes", np.arange(2), np.array([0, 76]), np.array([0, 76]), 16)
    for memory in (1, 10**9):
        with pytest.raises(
            ValueError, match=r"Image 'image' has NaN or infinite pixels in channels 'c1', within rows \d+–\d+, columns"
        ):
            all_crops(patches.plan(image, [0, 1], hit, block_memory=memory))
        # neither a channel that is not read nor a pixel between the windows is anybody's business, whatever the size of
        # blocks
        assert all_crops(patches.plan(image, [0, 2], hit, block_memory=memory)).max() == 0
        assert all_crops(patches.plan(image, [1], miss, block_memory=memory)).max() == 0
        assert np.isfinite(all_crops(patches.plan(image, [1], hit, block_memory=memory), nan="zero")).all()


def a_store(folder, array, chunks):
    """Write an array; return it as an image that is read from there."""
    stored = zarr.create_array(folder / "image.zarr", shape=array.shape, dtype=array.dtype, chunks=chunks)
    stored[...] = array
    return Raster("image", da.from_array(stored, chunks=chunks), tuple(f"c{i}" for i in range(len(array))), None)


def test_no_more_than_two_blocks_are_in_memory(tmp_path, monkeypatch):
    """The block in hand and the next one; a chunk on its way into it is a sixteenth of it."""
    monkeypatch.setattr(kronos_sc.settings, "read_threads", 2)
    image = a_store(
        tmp_path, np.random.default_rng(0).integers(0, 2**16, (2, 1024, 2048)).astype(np.uint16), (1, 128, 128)
    )
    plan = patches.plan(image, [0, 1], windows((1024, 2048), 2, 900), block_memory=2**20)
    assert len(plan.blocks) > 6
    tracemalloc.start()
    largest = max(block.pixels.nbytes for block in patches.read(plan))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.7 * largest, f"{peak / largest:.1f} blocks"


@pytest.mark.parametrize("threads", [1, 5])
def test_pixels_and_labels_do_not_depend_on_threads(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(kronos_sc.settings, "read_threads", threads)
    array = np.random.default_rng(1).integers(1, 60_000, (3, 301, 397)).astype(np.uint16)
    labels = np.random.default_rng(2).integers(0, 90, (301, 397)).astype(np.int32)
    _, copy = scan(da.from_array(labels, chunks=(100, 64)))
    boxes = windows((301, 397), 32, 60)
    units = replace(boxes, ids=np.arange(len(boxes)), labels=LabelSource(copy, Affine()))
    padded = np.pad(labels, 32)
    for block in patches.read(patches.plan(a_store(tmp_path, array, (2, 64, 50)), [2, 0], units, block_memory=40_000)):
        np.testing.assert_array_equal(patches.crop(block), plainly(array, [2, 0], units)[block.units])
        for unit, y, x in zip(block.units, block.y, block.x, strict=True):
            expected = padded[units.y[unit] + 32 :, units.x[unit] + 32 :][:32, :32]
            np.testing.assert_array_equal(block.labels[y : y + 32, x : x + 32], expected)


@pytest.mark.parametrize("most", [0, 20_000, 10**9])
@pytest.mark.parametrize("size", [32, 256])
def test_what_waits_for_later_blocks_is_bounded(monkeypatch, most, size):
    """Chunks are decoded again where too many pixels would wait; the windows are the same."""
    array = np.random.default_rng(2).integers(1, 60_000, (3, 301, 397)).astype(np.uint16)
    units = windows((301, 397), size, 300)
    plan = patches.plan(an_image(array, (1, 64, 64)), [2, 0], units, block_memory=1, most=7)
    monkeypatch.setattr(_reader, "_WAITING", most)
    monkeypatch.setattr(kronos_sc.settings, "block_memory", 1)
    seen = []
    plain = _reader._Strips.want

    def watched(self, *args):
        found = plain(self, *args)
        seen.append(sum(strip.nbytes for strips in self._waiting.values() for _, strip in strips))
        assert seen[-1] == self._bytes
        return found

    monkeypatch.setattr(_reader._Strips, "want", watched)
    np.testing.assert_array_equal(all_crops(plan), plainly(array, [2, 0], units))
    assert max(seen) <= most
    assert (len(seen) == len(plan.chunks)) == (most == 10**9)
