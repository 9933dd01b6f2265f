"""Pixels on disk: what is written is what is read, in the layout that the trainer relies on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kronos_pretrain.corpus_build.store import STORES, NpyStore, ZarrStore


def _filled(kind: str, folder, pixels: np.ndarray):
    store = STORES[kind](folder, pixels.shape, pixels.dtype)
    for plane, each in enumerate(pixels):
        for y in range(0, pixels.shape[1], 2048):
            for x in range(0, pixels.shape[2], 2048):
                store.write(plane, y, x, each[y : y + 2048, x : x + 2048])
    return store


def _read(kind: str, folder) -> np.ndarray:
    if kind == "npy":
        return np.load(folder / "pixels.npy", allow_pickle=False)
    import zarr

    return zarr.open_array(folder / "pixels.zarr", mode="r")[...]


@pytest.mark.parametrize("kind", ["zarr", "npy"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_written_is_read(kind, dtype, tmp_path) -> None:
    pixels = (np.random.default_rng(0).random((3, 200, 300)) * 200).astype(dtype)
    store = _filled(kind, tmp_path, pixels)
    store.keep([0, 1, 2])
    store.close()
    np.testing.assert_array_equal(_read(kind, tmp_path), pixels)


@pytest.mark.parametrize("kind", ["zarr", "npy"])
def test_planes_are_dropped_without_a_trace(kind, tmp_path) -> None:
    pixels = (np.random.default_rng(0).random((5, 130, 150)) * 200).astype(np.uint16)
    pixels[3] = 0
    store = _filled(kind, tmp_path, pixels)
    store.keep([1, 3, 4])
    store.close()
    np.testing.assert_array_equal(_read(kind, tmp_path), pixels[[1, 3, 4]])
    assert [each.name for each in tmp_path.iterdir()] == [store.name]


def test_blocks_of_a_wide_plain_array(tmp_path) -> None:
    """Blocks that are not as wide as the image go row by row."""
    pixels = np.arange(2 * 20 * 2100, dtype=np.uint32).reshape(2, 20, 2100)
    store = _filled("npy", tmp_path, pixels)
    store.keep([0, 1])
    np.testing.assert_array_equal(_read("npy", tmp_path), pixels)


def test_the_layout_is_that_of_the_contract(tmp_path) -> None:
    ZarrStore(tmp_path, (2, 300, 5000), np.dtype("uint16"))
    record = json.loads((tmp_path / "pixels.zarr" / "zarr.json").read_text())
    (codec,) = record["codecs"]
    assert record["chunk_grid"]["configuration"]["chunk_shape"] == [1, 384, 2048]
    assert codec["name"] == "sharding_indexed"
    how = codec["configuration"]
    assert how["chunk_shape"] == [1, 128, 128]
    assert how["index_location"] == "end"
    assert [each["name"] for each in how["codecs"]] == ["bytes", "zstd"]
    assert how["codecs"][1]["configuration"] == {"level": 3, "checksum": True}
    assert [each["name"] for each in how["index_codecs"]] == ["bytes", "crc32c"]
    assert record["fill_value"] == 0


def test_darkness_is_written_too(tmp_path) -> None:
    """So that a missing shard is damage, and never silence."""
    _filled("zarr", tmp_path, np.zeros((1, 256, 256), np.uint8)).keep([0])
    assert (tmp_path / "pixels.zarr" / "c" / "0" / "0" / "0").is_file()


def test_plain_arrays_can_be_mapped(tmp_path) -> None:
    store = NpyStore(tmp_path, (1, 8, 8), np.dtype("float32"))
    store.write(0, 0, 0, np.ones((8, 8), np.float32))
    store.keep([0])
    assert np.load(tmp_path / "pixels.npy", mmap_mode="r", allow_pickle=False).sum() == 64
