"""The files of a store: what zarr reads from them, which checksums they carry, and what stands where."""

import numpy as np
import pytest
import zarr

from kronos_sc import settings
from kronos_sc._store import EmbeddingStore, FeatureBlock, Spec
from kronos_sc._store.arrays import block_file, create, encode, rows_per_chunk

WIDTH, CAPACITY = 12, 8


@pytest.fixture
def spec():
    """Eleven units in three blocks of a table of thirteen rows; rows 5 and 12 belong to nobody."""
    rows = np.array([[3, 0, 7, 1, 11, -1, -1, -1], [2, 4, 6, 8, 9, -1, -1, -1], [10, -1, -1, -1, -1, -1, -1, -1]])
    return Spec(
        "kronos",
        {"marker": WIDTH, "cls": 3},
        "float32",
        rows,
        np.arange(13) % 4 == 0,
        np.array([f"cell {i}" for i in range(13)]),
        {},
    )


@pytest.fixture
def truth():
    rng = np.random.default_rng(1)
    return {"marker": rng.normal(size=(13, WIDTH)).astype("f4"), "cls": rng.normal(size=(13, 3)).astype("f4")}


def finished(spec, truth, number):
    rows = spec.rows[number][spec.rows[number] >= 0]
    return FeatureBlock(
        number,
        rows,
        {kind: values[rows] for kind, values in truth.items()},
        (rows * 10).astype(np.int32),
        0.25 * (number + 1),
    )


@pytest.fixture
def store(tmp_path, spec, truth):
    store = EmbeddingStore.create(tmp_path / "x.zarr", spec)
    for number in (2, 0, 1):
        store.accept(store.stager(finished(spec, truth, number)))
    return store


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
@pytest.mark.parametrize("rows", [1, 5, 64])
def test_an_encoded_block_is_what_zarr_writes(tmp_path, dtype, rows):
    values = np.random.default_rng(rows).normal(size=(rows, 33) if dtype != "int32" else rows).astype(dtype)
    place = tmp_path / block_file("block", 0, values.ndim)
    width = None if dtype == "int32" else 33
    array = create(tmp_path, "block", blocks=1, capacity=64, width=width, dtype=dtype)
    padded = np.full((-(-rows // array.chunks[0]) * array.chunks[0], *values.shape[1:]), array.fill_value, dtype)
    padded[:rows] = values
    array[: len(padded)] = padded
    assert encode(values, capacity=64) == place.read_bytes()
    again = zarr.open_array(tmp_path / "block", mode="r")
    np.testing.assert_array_equal(again[:rows], values)
    rest = again[rows:]
    assert np.isnan(rest).all() if array.dtype.kind == "f" else (rest == -1).all()
    assert [codec["name"] for codec in _inner(array)][-1] == "crc32c"


def _inner(array):
    codecs = array.metadata.to_dict()["codecs"]
    return codecs[0]["configuration"]["codecs"] if codecs[0]["name"] == "sharding_indexed" else codecs


@pytest.mark.parametrize(("row_bytes", "rows"), [(27_648, 8), (1536, 128), (10, 1024), (10**7, 1)])
def test_rows_that_are_compressed_together(row_bytes, rows):
    assert rows_per_chunk(1024, row_bytes) == rows


def test_plain_zarr_reads_rows_in_order_of_the_blocks(store, spec, truth):
    group = zarr.open_group(store.path, mode="r")
    row = group["row"][:]
    np.testing.assert_array_equal(group["marker"][:][row >= 0], truth["marker"][row[row >= 0]])
    np.testing.assert_array_equal(row.reshape(3, CAPACITY), spec.rows)
    assert np.isnan(group["marker"][:][row < 0]).all()
    assert group.attrs["format"] == "kronos-sc embedding/1"


def test_one_file_per_block(store):
    for name, ends in (("marker", "/0"), ("cls", "/0"), ("pixels", ""), ("brightest", "")):
        files = sorted(str(path.relative_to(store.path)) for path in (store.path / name).rglob("*") if path.is_file())
        assert files == [*(f"{name}/c/{i}{ends}" for i in range(3)), f"{name}/zarr.json"]


def test_features_come_in_the_order_of_the_table(store, spec, truth):
    for kind, values in truth.items():
        got = store.features(kind).compute()
        expected = values.copy()
        expected[[5, 12]] = np.nan
        np.testing.assert_array_equal(got, expected)
        rows = np.array([7, 7, 12, 0, 11])
        np.testing.assert_array_equal(store.features(kind, rows).compute(), expected[rows])
        lazy = store.features(kind)
        np.testing.assert_array_equal(lazy[[9, 2, 2], 1:3].compute(), expected[[9, 2, 2], 1:3])
        np.testing.assert_array_equal(lazy[3].compute(), expected[3])
        np.testing.assert_array_equal(lazy[-4:, 0].compute(), expected[-4:, 0])
    present = np.sort(spec.rows[spec.rows >= 0])
    np.testing.assert_array_equal(store.pixels()[present], present * 10)
    assert store.pixels()[5] == 0
    np.testing.assert_allclose(store.brightest()[[3, 2, 10]], [0.25, 0.5, 0.75])
    assert list(store.names()[:2]) == ["cell 0", "cell 1"]
    np.testing.assert_array_equal(store.edge(), spec.edge)


@pytest.mark.parametrize("row_bytes", [1, 10**9])
def test_chunks_of_the_lazy_array_follow_the_memory_setting(store, truth, monkeypatch, row_bytes):
    monkeypatch.setattr(settings, "block_memory", row_bytes)
    lazy = store.features("marker")
    assert lazy.numblocks == ((13, 1) if row_bytes == 1 else (1, 1))
    np.testing.assert_array_equal(lazy[:5].compute(), truth["marker"][:5])


def test_absent_blocks_are_not_complete_and_reading_them_is_an_error(tmp_path, spec, truth, monkeypatch):
    monkeypatch.setattr(settings, "block_memory", 1)  # a chunk of the lazy array is one row
    store = EmbeddingStore.create(tmp_path / "x.zarr", spec)
    store.accept(store.stager(finished(spec, truth, 1)))
    assert store.intact().tolist() == [False, True, False]
    assert store.complete() == 1
    np.testing.assert_array_equal(store.features("marker")[[4, 9]].compute(), truth["marker"][[4, 9]])
    with pytest.raises(OSError, match=r"Block 0 of 'marker'.*its file is missing.*make the call of tl.embed"):
        store.features("marker")[3].compute()


def test_what_is_staged_does_not_count(tmp_path, spec, truth):
    store = EmbeddingStore.create(tmp_path / "x.zarr", spec)
    staged = store.stager(finished(spec, truth, 0))
    assert not store.intact().any()
    store.accept(staged)
    assert store.intact().tolist() == [True, False, False]
    assert not list((store.path / ".parts").iterdir())


def test_the_record_makes_a_store_finished(store):
    assert store.record() is None
    store.finish({"model": {"name": "x"}, "seconds": 1.5})
    store.finish({"model": {"name": "y"}, "seconds": 2.5})
    assert store.record() == {"model": {"name": "y"}, "seconds": 2.5}
    store.tidy()
    assert not (store.path / ".parts").exists()


def test_a_new_store_replaces_the_old_one_whole(store, spec):
    store.finish({"model": {}})
    again = EmbeddingStore.create(store.path, spec)
    assert not again.intact().any()
    assert again.record() is None
