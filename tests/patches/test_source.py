"""Chunks read without a task graph: the same pixels as plain numpy and as dask, whatever the store.

Broken ones are named.
"""

import pickle
import threading
from pathlib import Path

import dask
import dask.array as da
import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec
from zarr.storage import MemoryStore

import kronos_sc as ks
from kronos_sc import patches
from kronos_sc._storage.chunks import direct
from kronos_sc.patches._ahead import in_thread, in_threads
from kronos_sc.patches._labels import LabelImage
from kronos_sc.patches._raster import Raster, stored_array
from kronos_sc.patches._rect import Rect
from kronos_sc.patches._source import Lazy, Stored, Want, chunk_reader, source
from kronos_sc.patches._units import Units

SHAPE = (5, 150, 97)
CHUNK = (2, 40, 33)


def noise(dtype="uint16", shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(1, 250, shape).astype(dtype)


def write(place, array, *, hole=None, **how):
    """Write an array; `hole` is left out, so that its chunks do not exist."""
    how = {"chunks": CHUNK, "fill_value": 0} | how
    stored = zarr.create_array(place, shape=array.shape, dtype=array.dtype, **how)
    if hole is None:
        stored[...] = array
    else:
        kept = np.ones(array.shape, bool)
        kept[hole] = False
        stored[...] = np.where(kept, array, np.asarray(how["fill_value"], array.dtype))
    return zarr.open_array(place if isinstance(place, MemoryStore) else Path(place), mode="r")


def lazily(stored):
    return da.from_array(stored, chunks=stored.chunks)


def filled(where, channels, rects, dtype, run=map):
    outs = [np.zeros((len(channels), *rect.shape), np.dtype(dtype).newbyteorder("=")) for rect in rects]
    where.fill(channels, [Want(rect, ((rect, out),)) for rect, out in zip(rects, outs, strict=True)], run)
    return outs


def check(stored, array, *, channels=(3, 0, 4)):
    """Compare windows on, across and beyond chunk borders with plain slicing, through threads and through dask."""
    rects = [
        Rect(0, 40, 0, 33),
        Rect(7, 121, 20, 97),
        Rect(149, 150, 96, 97),
        Rect(0, *array.shape[1:2], 0, array.shape[2]),
    ]
    expected = [array[list(channels), r.y0 : r.y1, r.x0 : r.x1] for r in rects]
    for where, run in (
        (Stored(stored), map),
        (Stored(stored), lambda *job: in_threads(*job, 3)),
        (Lazy(da.from_array(stored, chunks=stored.chunks)), map),
    ):
        for found, wanted in zip(filled(where, channels, rects, array.dtype, run), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
            assert found.dtype == array.dtype.newbyteorder("=")


INDEX = [BytesCodec(), Crc32cCodec()]
LAYOUTS = {
    "plain": {"compressors": None},
    "zstd": {"compressors": ZstdCodec(level=3)},
    "zstd+crc": {"compressors": [ZstdCodec(), Crc32cCodec()]},
    "blosc": {"compressors": BloscCodec(cname="lz4", shuffle="shuffle")},
    "bitshuffle": {"compressors": BloscCodec(cname="zstd", shuffle="bitshuffle")},
    "gzip": {"compressors": GzipCodec()},
    "one chunk": {"chunks": (5, 400, 300)},
    "big-endian bytes": {"serializer": BytesCodec(endian="big")},
    "shards": {"chunks": (1, 20, 33), "shards": (2, 60, 99)},
    "one shard": {"chunks": (5, 50, 50), "shards": (5, 150, 100), "compressors": BloscCodec()},
    "index first": {
        "serializer": ShardingCodec(
            chunk_shape=(1, 20, 11), codecs=[BytesCodec(), ZstdCodec()], index_codecs=INDEX, index_location="start"
        ),
        "compressors": None,
    },
    "v2": {"zarr_format": 2},
    "v2 plain": {"zarr_format": 2, "compressors": None},
    "v2 blosc": {"zarr_format": 2, "compressors": numcodecs.Blosc(cname="zlib")},
    "v2 lz4": {"zarr_format": 2, "compressors": numcodecs.LZ4()},
    "v2 slashes": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
}
FOREIGN = {
    "transposed": {"filters": [TransposeCodec(order=(2, 1, 0))]},
    "v2 columns first": {"zarr_format": 2, "order": "F"},
    "v2 filter": {"zarr_format": 2, "filters": [numcodecs.Shuffle(elementsize=2)]},
    "compressed shards": {"serializer": ShardingCodec(chunk_shape=(1, 20, 11), index_codecs=INDEX)},
    "shards in shards": {
        "compressors": None,
        "serializer": ShardingCodec(
            chunk_shape=(1, 20, 11),
            codecs=[ShardingCodec(chunk_shape=(1, 10, 11), codecs=[BytesCodec()], index_codecs=INDEX)],
        ),
    },
}


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning", "ignore:.*order.*")
@pytest.mark.parametrize(("name", "how"), [*LAYOUTS.items(), *FOREIGN.items()])
def test_every_layout_gives_the_pixels_that_were_written(tmp_path, name, how):
    array = noise()
    stored = write(tmp_path / "a b’é.zarr", array, **how)
    assert (direct(stored) is None) == (name in FOREIGN)
    check(stored, array)


@pytest.mark.parametrize("dtype", ["uint8", "int8", ">u2", "<i4", ">f4", "float64", "bool", ">i8", "float16"])
@pytest.mark.parametrize("version", [2, 3])
def test_every_dtype_gives_the_pixels_that_were_written(tmp_path, dtype, version):
    array = noise(dtype) if np.dtype(dtype).kind != "i" else (noise("int16") - 125).astype(dtype)
    stored = write(tmp_path / "a.zarr", array, zarr_format=version)
    assert direct(stored) is not None
    check(stored, array)


@pytest.mark.parametrize("how", [{}, {"zarr_format": 2}, {"chunks": (1, 20, 33), "shards": (2, 60, 99)}])
@pytest.mark.parametrize("fill", [0, 7])
def test_chunks_that_were_never_written_hold_the_fill_value(tmp_path, how, fill):
    array = noise()
    array[2:4, 40:80] = fill
    array[0, :, :] = fill
    check(write(tmp_path / "a.zarr", array, fill_value=fill, hole=np.s_[2:4, 40:80], **how), array)
    empty = zarr.create_array(tmp_path / "b.zarr", shape=SHAPE, dtype="u2", chunks=CHUNK, fill_value=fill)
    check(empty, np.full(SHAPE, fill, np.uint16))


def test_version_2_without_a_fill_value_holds_zeros(tmp_path):
    check(
        zarr.create_array(tmp_path / "b.zarr", shape=SHAPE, dtype="f4", chunks=CHUNK, fill_value=None, zarr_format=2),
        np.zeros(SHAPE, "f4"),
    )


def test_stores_that_are_no_folder_are_read_through_zarr():
    array = noise()
    for how in ({}, {"chunks": (1, 20, 33), "shards": (2, 60, 99)}):
        stored = write(MemoryStore(), array, **how)
        assert direct(stored) is None
        check(stored, array)


@settings(max_examples=25)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),  # with chunks of one pixel, 8,000 files
    chunk=st.tuples(*[st.integers(1, 11)] * 3),
    shard=st.none() | st.tuples(*[st.integers(1, 4)] * 3),
    data=st.data(),
)
def test_any_window_of_any_chunks(tmp_path_factory, shape, chunk, shard, data):
    array = noise(shape=shape)
    how = {"chunks": chunk} | ({} if shard is None else {"shards": tuple(np.multiply(chunk, shard).tolist())})
    stored = write(tmp_path_factory.mktemp("any") / "a.zarr", array, **how)
    channels = data.draw(
        st.permutations(range(shape[0])).flatmap(lambda p: st.integers(1, len(p)).map(lambda n: p[:n]))
    )
    ends = [
        sorted(data.draw(st.tuples(*[st.integers(0, edge)] * 2).filter(lambda pair: pair[0] != pair[1])))
        for edge in shape[1:]
    ]
    rect = Rect(*ends[0], *ends[1])
    (found,) = filled(Stored(stored), channels, [rect], array.dtype)
    np.testing.assert_array_equal(found, array[list(channels), rect.y0 : rect.y1, rect.x0 : rect.x1])


def a_plan(lazy, *, memory=1, size=16, n=40):
    rng = np.random.default_rng(0)
    y, x = (rng.integers(0, edge, n) - size // 2 for edge in lazy.shape[1:])
    image = Raster("slide", lazy, tuple(f"c{i}" for i in range(lazy.shape[0])), None)
    return patches.plan(image, [4, 1], Units("boxes", np.arange(n), y, x, size), block_memory=memory)


def blocks(plan):
    return [(block.pixels, block.units) for block in patches.read(plan)]


@pytest.mark.parametrize("threads", [1, 4])
def test_blocks_are_the_same_with_and_without_a_graph(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(ks.settings, "read_threads", threads)
    lazy = lazily(write(tmp_path / "a.zarr", noise()))
    through_dask = blocks(a_plan(lazy.map_blocks(np.copy)))
    with monkeypatch.context() as patch:
        patch.setattr(dask, "compute", None)  # no graph is computed where chunks can be read
        directly = blocks(a_plan(lazy))
    assert len(directly) == len(through_dask) > 5
    for (mine, my_units), (theirs, their_units) in zip(directly, through_dask, strict=True):
        np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_array_equal(my_units, their_units)


def test_chunks_of_dask_need_not_be_those_of_the_store(tmp_path):
    array = noise()
    stored = write(tmp_path / "a.zarr", array)
    for chunks in ((1, 25, 97), (5, 150, 10), -1):
        lazy = da.from_array(stored, chunks=chunks)
        assert isinstance(source(lazy), Stored)
        for memory in (1, 10**8):
            plan = a_plan(lazy, memory=memory)
            padded = np.pad(array[[4, 1]], ((0, 0), (16, 16), (16, 16)))
            for block in patches.read(plan):
                expected = np.stack(
                    [padded[:, plan.units.y[u] + 16 :, plan.units.x[u] + 16 :][:, :16, :16] for u in block.units]
                )
                np.testing.assert_array_equal(patches.crop(block), expected)


def test_whatever_is_computed_from_a_store_is_not_taken_for_the_store(tmp_path):
    lazy = lazily(write(tmp_path / "a.zarr", noise()))
    assert stored_array(lazy) is not None
    made = [
        lazy + 1,
        lazy.astype("i4"),
        lazy[:, ::-1],
        lazy[:, 1:],
        da.flip(lazy, 2),
        lazy.map_blocks(np.negative),
        lazy.rechunk(20),
    ]
    for computed in [*made, *dask.optimize(*made), lazy.persist(), da.from_array(noise(), chunks=20)]:
        assert stored_array(computed) is None
        rect = Rect(0, min(50, computed.shape[1]), 0, 50)
        (found,) = filled(source(computed), (1, 0), [rect], computed.dtype)
        np.testing.assert_array_equal(found, computed.compute()[[1, 0], : rect.y1, :50])


CODECS = {
    "zstd": {},
    "blosc": {"compressors": BloscCodec(cname="lz4")},
    "plain": {"compressors": None},
    "gzip": {"compressors": GzipCodec()},
    "v2": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
}


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("left", [0, 20, -1])
def test_a_chunk_that_was_cut_short_is_named(tmp_path, monkeypatch, name, left):
    monkeypatch.setattr(ks.settings, "read_threads", 1 if name == "plain" else 3)
    how = {"chunks": (1, 40, 33)} | CODECS[name]
    lazy = lazily(write(tmp_path / "a.zarr", noise(), **how))
    path = tmp_path / "a.zarr" / ("4/1/2" if name == "v2" else "c/4/1/2")
    path.write_bytes(path.read_bytes()[:left])
    where = r"channel 'c4', rows (4\d|5\d)–\d+, columns \d+–\d+"
    message = (
        rf"^Image 'slide' could not be decoded at {where}: \w+: .+\. The SpatialData is as it was\. Restore that chunk"
    )
    for plan in (a_plan(lazy), a_plan(lazy, memory=10**8)):
        with pytest.raises(OSError, match=message):
            blocks(plan)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("kronos_sc")]


def test_the_same_words_with_and_without_a_graph(tmp_path):
    lazy = lazily(write(tmp_path / "a.zarr", noise()))
    path = tmp_path / "a.zarr/c/2/1/1"
    path.write_bytes(path.read_bytes()[:30])
    said = []
    for data in (lazy, lazy.map_blocks(np.copy)):
        with pytest.raises(OSError, match="could not be decoded at channel 'c4'") as caught:
            blocks(a_plan(data))
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_permission_lost_is_no_hole(tmp_path, monkeypatch):
    lazy = lazily(write(tmp_path / "a.zarr", noise()))
    plain = Path.open

    def refused(self, *args, **kwargs):
        if self.match("c/2/1/1"):
            raise PermissionError(13, "Permission denied", str(self))
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(
        OSError, match=r"at channel 'c4', rows \d+–\d+, columns \d+–\d+: PermissionError: .*Permission denied"
    ):
        blocks(a_plan(lazy))


def test_a_shard_with_a_flipped_byte_in_its_index_is_named(tmp_path):
    lazy = lazily(write(tmp_path / "a.zarr", noise(), chunks=(1, 20, 33), shards=(1, 160, 99)))
    path = tmp_path / "a.zarr/c/4/0/0"
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"at channel 'c4', rows 0–\d+, columns 0–\d+: RuntimeError: .*checksum"):
        blocks(a_plan(lazy))


@pytest.mark.parametrize("how", [{"chunks": (1, 50, 50)}, {"chunks": (1, 25, 50), "shards": (4, 100, 100)}])
def test_a_plan_of_one_block_is_small_and_reads_from_the_store_wherever_it_is_sent(tmp_path, how):
    plan = a_plan(lazily(write(tmp_path / "a.zarr", noise(shape=(5, 400, 400)), **how)), n=200)
    for block in patches.read(plan):
        sent = pickle.dumps(plan.only(block.index))
        assert len(sent) < 20_000  # the image is 1,600,000 bytes
        (alone,) = patches.read(pickle.loads(sent))
        np.testing.assert_array_equal(patches.crop(alone), patches.crop(block))


def test_chunk_reader_gives_chunks_by_their_position(tmp_path):
    labels = noise(shape=(150, 97))
    labels[:40, :33] = 0
    stored = write(tmp_path / "a.zarr", labels, chunks=(40, 33))
    large = write(tmp_path / "b.zarr", labels, chunks=(400, 300))
    memory = da.from_array(labels, chunks=(40, 33))
    for lazy in (lazily(stored), lazily(large), da.from_array(stored, chunks=(25, 50)), memory, memory + 0):
        read = chunk_reader(lazy)
        found = np.block([[read((i, j)) for j in range(lazy.numblocks[1])] for i in range(lazy.numblocks[0])])
        np.testing.assert_array_equal(found, labels)


def test_labels_read_from_many_threads_are_those_that_were_kept():
    labels = noise("int32", shape=(700, 600))
    image = LabelImage(labels.shape, labels.dtype)
    for y, x in ((0, 0), (0, 350), (333, 0), (333, 350)):  # chunks that are no multiples of a tile
        image.add(y, x, labels[y : 333 if y == 0 else 700, x : 350 if x == 0 else 600])
    corners = np.random.default_rng(0).integers(-80, 700, (60, 2)).tolist()
    padded = np.pad(labels, 100, constant_values=0)
    padded = np.pad(padded, ((0, 200), (0, 300)))
    read = in_threads(lambda corner: image.read(corner[0], corner[0] + 70, corner[1], corner[1] + 90), corners, 4)
    for (y, x), found in zip(corners, read, strict=True):
        np.testing.assert_array_equal(found, padded[y + 100 : y + 170, x + 100 : x + 190])


def test_threads_keep_the_order_and_do_not_run_away():
    begun = []

    def slow(item):
        begun.append(item)
        return item * 2

    results = in_threads(slow, range(50), 3)
    assert [next(results), next(results)] == [0, 2]
    assert len(begun) <= 2 + 3 + 1
    assert list(results) == [2 * n for n in range(2, 50)]
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda n: 1 // (n - 7), range(50), 3))


def test_no_more_is_made_than_may_wait():
    made = []
    release = threading.Event()

    def items():
        for n in range(10):
            made.append(n)
            if n == 2:
                release.set()
            yield n

    ahead = in_thread(items(), 1)
    assert next(ahead) == 0
    assert not release.wait(0.3)  # the item in hand and one that waits: the third is not begun
    assert next(ahead) == 1
    assert release.wait(120)
    ahead.close()
    assert len(made) == 3
