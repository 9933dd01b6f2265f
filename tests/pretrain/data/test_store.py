"""Pixels by window: the same as zarr-python's, from as few chunks as can be, and damage has a name."""

from __future__ import annotations

import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kronos_pretrain.data import shards
from kronos_pretrain.data.store import ArraySource, NpySource, ZarrSource

SHAPE = (5, 150, 131)


@pytest.fixture(scope="module")
def raw() -> np.ndarray:
    pixels = np.random.default_rng(1).integers(0, 60_000, SHAPE, dtype=np.uint16)
    pixels[2, 40:120] = 0
    return pixels


@pytest.fixture(scope="module")
def stored(raw, zarr_writer, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "image" / "pixels.zarr"
    return path, zarr_writer(path, raw)


@pytest.fixture
def source(stored) -> ZarrSource:
    return ZarrSource(stored[0], "lymph 7", tuple("ABCDE"))


@pytest.fixture
def decodes(monkeypatch) -> list[int]:
    """Sizes of the chunks unpacked while a test runs."""
    seen = []
    decode = shards.decode
    monkeypatch.setattr(shards, "decode", lambda raw: seen.append(len(raw)) or decode(raw))
    return seen


def _windows(count: int):
    rng = np.random.default_rng(2)
    for _ in range(count):
        size = int(rng.integers(1, 100))
        yield (
            rng.choice(5, rng.integers(1, 5), replace=False),
            int(rng.integers(0, 151 - size)),
            int(rng.integers(0, 132 - size)),
            size,
        )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_windows_are_those_of_zarr_python(raw, zarr_writer, tmp_path, dtype) -> None:
    array = zarr_writer(tmp_path / "pixels.zarr", (raw // 256).astype(dtype), empty=False)
    source = ZarrSource(tmp_path / "pixels.zarr")
    assert (source.shape, source.dtype) == (array.shape, array.dtype)
    for planes, row, column, size in _windows(60):
        expected = np.stack([array[plane, row : row + size, column : column + size] for plane in planes])
        pixels = source.read(planes, row, column, size)
        assert pixels.dtype == expected.dtype
        np.testing.assert_array_equal(pixels, expected)


def test_all_sources_read_the_same(raw, source, tmp_path) -> None:
    np.save(tmp_path / "pixels.npy", raw)
    for planes, row, column, size in _windows(20):
        expected = source.read(planes, row, column, size)
        for other in (ArraySource(raw), NpySource(tmp_path / "pixels.npy")):
            np.testing.assert_array_equal(other.read(planes, row, column, size), expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_what_the_builder_writes_is_read(dtype, tmp_path) -> None:
    from kronos_pretrain.corpus_build.store import STORES

    pixels = np.random.default_rng(5).integers(0, 250, (3, 200, 140)).astype(dtype)
    pixels[1, :128, :128] = 0
    for kind, source in (("zarr", ZarrSource), ("npy", NpySource)):
        folder = tmp_path / kind
        folder.mkdir()
        store = STORES[kind](folder, pixels.shape, pixels.dtype)
        for plane in range(3):
            store.write(plane, 0, 0, pixels[plane])
        store.keep([0, 1])
        read = source(folder / store.name, "x")
        assert (read.shape, read.dtype) == ((2, 200, 140), np.dtype(dtype))
        np.testing.assert_array_equal(read.read([1, 0], 7, 0, 140), pixels[[1, 0], 7:147])


def test_a_patch_on_the_grid_unpacks_four_chunks_per_marker(source, decodes) -> None:
    source.read([0, 3, 4], 48, 32, 32)
    assert len(decodes) == 3 * 4


def test_a_patch_off_the_grid_unpacks_what_it_touches(source, decodes) -> None:
    source.read([1], 47, 32, 32)
    assert len(decodes) == 3 * 2
    decodes.clear()
    source.read([1], 149, 130, 1)
    assert len(decodes) == 1


def test_chunks_that_were_never_written_are_zero(raw, zarr_writer, tmp_path, decodes) -> None:
    zarr_writer(tmp_path / "pixels.zarr", raw, empty=False)
    assert not ZarrSource(tmp_path / "pixels.zarr").read([2], 48, 16, 64).any()
    assert not decodes


def test_sources_travel_between_processes_and_hold_no_file(raw, source, tmp_path) -> None:
    np.save(tmp_path / "pixels.npy", raw)
    for one in (source, NpySource(tmp_path / "pixels.npy", "x")):
        one.read([0], 0, 0, 8)
        sent = pickle.dumps(one)
        assert len(sent) < 2000
        np.testing.assert_array_equal(pickle.loads(sent).read([1], 5, 6, 7), raw[1:2, 5:12, 6:13])


def test_threads_do_not_mix_their_windows(raw, source) -> None:
    windows = list(_windows(200))
    with ThreadPoolExecutor(8) as pool:
        windows_read = list(pool.map(lambda w: source.read(*w), windows))
    for (planes, row, column, size), got in zip(windows, windows_read, strict=True):
        np.testing.assert_array_equal(got, raw[planes, row : row + size, column : column + size])


def test_a_window_that_is_not_inside_is_refused(raw, source) -> None:
    for one in (source, ArraySource(raw)):
        for planes, row, column, size in (
            ([0], 120, 0, 31),
            ([0], 0, -1, 8),
            ([5], 0, 0, 8),
            ([-1], 0, 0, 8),
            ([0], 0, 0, 0),
        ):
            with pytest.raises(IndexError, match="not inside"):
                one.read(planes, row, column, size)


def _damaged(raw, zarr_writer, tmp_path) -> tuple[ZarrSource, Path]:
    path = tmp_path / "0007-lymph" / "pixels.zarr"
    zarr_writer(path, raw)
    return ZarrSource(path, "lymph 7", tuple("ABCDE")), path / "c/3/1/0"


def test_a_truncated_shard_is_named(raw, zarr_writer, tmp_path) -> None:
    source, file = _damaged(raw, zarr_writer, tmp_path)
    source.read([3], 70, 0, 16)  # its table is known by then, and must not be trusted any more
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(
        OSError,
        match=(
            r"Image 'lymph 7', marker 'D' \(plane 3\), chunk \(4, 0\).*c/3/1/0.*table of chunks"
            r".*Delete '.*0007-lymph'"
        ),
    ):
        source.read([3], 70, 0, 16)
    file.write_bytes(b"PK")
    with pytest.raises(OSError, match="2 bytes, fewer than its table"):
        source.read([3], 70, 0, 16)
    np.testing.assert_array_equal(source.read([3], 0, 0, 64), raw[3:4, :64, :64])


def test_a_flipped_byte_is_noticed_in_its_chunk_alone(raw, zarr_writer, tmp_path) -> None:
    source, file = _damaged(raw, zarr_writer, tmp_path)
    content = bytearray(file.read_bytes())
    table = np.frombuffer(bytes(content[-(16 * 16 + 4) : -4]), "<u8").reshape(4, 4, 2)
    content[int(table[1, 2, 0] + table[1, 2, 1] // 2)] ^= 16
    file.write_bytes(content)
    with pytest.raises(OSError, match=r"marker 'D' \(plane 3\), chunk \(5, 2\).*does not unpack"):
        source.read([3], 64, 0, 64)
    np.testing.assert_array_equal(source.read([3], 64, 0, 16), raw[3:4, 64:80, :16])


def test_a_chunk_beyond_the_end_and_a_missing_shard_are_damage(raw, zarr_writer, tmp_path) -> None:
    source, file = _damaged(raw, zarr_writer, tmp_path)
    content = file.read_bytes()
    body = np.frombuffer(content[-(16 * 16 + 4) : -4], "<u8").copy()
    body[0] = len(content) - 10
    file.write_bytes(content[: -(16 * 16 + 4)] + body.tobytes() + shards.crc32c(body.tobytes()).to_bytes(4, "little"))
    with pytest.raises(OSError, match=r"chunk \(4, 0\).*ends \d+ bytes before the chunk does"):
        source.read([3], 64, 0, 16)
    file.unlink()
    with pytest.raises(OSError, match=r"marker 'D'.*No such file"):
        source.read([3], 64, 0, 16)


def test_the_checksum_is_castagnolis() -> None:
    """RFC 3720, appendix B.4."""
    assert shards.crc32c(bytes(32)) == 0x8A9136AA
    assert shards.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert shards.crc32c(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"zarr_format": 2}, "zarr_format 2"),
        ({"fill_value": 7}, "fill_value 7"),
        ({"data_type": "complex64"}, "data_type 'complex64'"),
        ({"chunk_key_encoding": {"name": "v2"}}, "chunk keys"),
        ({"codecs": [{"name": "bytes"}, {"name": "gzip"}]}, "codecs"),
        ({"shape": [4, 4]}, "shape"),
    ],
)
def test_any_other_layout_is_refused(stored, tmp_path, change, found) -> None:
    record = json.loads((stored[0] / "zarr.json").read_text())
    (tmp_path / "zarr.json").write_text(json.dumps(record | change))
    with pytest.raises(ValueError, match=f"{found}.*corpus build"):
        ZarrSource(tmp_path)


def test_other_codecs_within_shards_are_refused(tmp_path) -> None:
    import zarr

    zarr.create_array(
        tmp_path / "a",
        shape=SHAPE,
        dtype="u2",
        chunks=(1, 16, 16),
        shards=(1, 64, 64),
        compressors=zarr.codecs.GzipCodec(),
    )
    with pytest.raises(ValueError, match=r"codecs in shards .*gzip"):
        ZarrSource(tmp_path / "a")


def test_an_array_that_is_not_there_or_no_json_is_named(tmp_path) -> None:
    with pytest.raises(OSError, match=r"image 'lymph 7' cannot be read.*corpus build"):
        ZarrSource(tmp_path / "none", "lymph 7")
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        ZarrSource(tmp_path)


def test_without_numcodecs_it_says_what_to_install(stored, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "numcodecs.zstd", None)
    with pytest.raises(ImportError, match=r"pip install numcodecs.*\.npy"):
        ZarrSource(stored[0])


def test_a_short_npy_is_named_and_objects_are_refused(raw, tmp_path) -> None:
    path = tmp_path / "0001-spleen" / "pixels.npy"
    path.parent.mkdir()
    np.save(path, raw)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(OSError, match=r"image 'spleen' cannot be read.*Delete '.*0001-spleen'"):
        NpySource(path, "spleen").read([0], 0, 0, 4)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(OSError, match="spleen"):
        _ = NpySource(path, "spleen").shape
    np.save(path, raw[0])
    with pytest.raises(ValueError, match=r"numbers \(planes, height, width\)"):
        _ = NpySource(path, "spleen").shape
