"""Every kind of image gives the same pixels, block by block."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from kronos_pretrain.corpus_build.manifest import Entry
from kronos_pretrain.corpus_build.source import EDGE, open_source, read_ahead, stamp

NAMES = ("DAPI", "CD3", "CD8", "CD4")


def _entry(path: Path, **how) -> Entry:
    return Entry(path=path, subset="s", name="a", **how)


def _whole(source, positions, budget=1 << 30) -> np.ndarray:
    out = np.zeros((len(positions), *source.shape), source.dtype)
    ends = []
    for group, (y0, y1, x0, x1), pixels, last in read_ahead(source, positions, budget):
        out[[positions.index(each) for each in group], y0:y1, x0:x1] = pixels
        ends += group if last else []
    assert ends == positions
    return out


@pytest.fixture(params=["tiff", "folder", "npy", "zarr", "zarr-thick"])
def source(request, tmp_path, tiff, noise, make):
    """The same four planes as a file, a folder, an array, and as stores of thin and of thick chunks."""
    pixels = noise((70, 90), 4)
    kind = request.param
    if kind == "tiff":
        tiff("a.ome.tif", list(NAMES), pixels=pixels)
        return open_source(_entry(tmp_path / "a.ome.tif")), pixels
    if kind == "folder":
        import tifffile

        (tmp_path / "f").mkdir()
        for name, plane in zip(NAMES, pixels, strict=True):
            tifffile.imwrite(tmp_path / "f" / f"{name}.tif", plane)
        return open_source(_entry(tmp_path / "f")), pixels
    if kind == "npy":
        np.save(tmp_path / "a.npy", pixels)
        return open_source(_entry(tmp_path / "a.npy", names=NAMES)), pixels
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*autosharding.*")
        chunks = (1, 32, 32) if kind == "zarr" else (3, 70, 90)
        make(
            image=pixels, channels=NAMES, chunks=chunks, label_chunks=(70, 90), labels=np.eye(70, 90, dtype=np.int32)
        ).write(tmp_path / "a.zarr")
    return open_source(_entry(tmp_path / "a.zarr", image="image")), pixels


def test_pixels_are_those_stored(source, monkeypatch) -> None:
    source, pixels = source
    assert (source.shape, source.dtype) == ((70, 90), np.dtype("uint16"))
    positions = sorted(source.channels.index(name) for name in ("DAPI", "CD8", "CD4"))
    expected = pixels[[NAMES.index(source.channels[position]) for position in positions]]
    np.testing.assert_array_equal(_whole(source, positions), expected)
    monkeypatch.setattr("kronos_pretrain.corpus_build.source.EDGE", 32)
    np.testing.assert_array_equal(_whole(source, positions, budget=1), expected)


def test_blocks_are_whole_shards_within_the_budget(tmp_path) -> None:
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint16, (3, 5000, 9000)).flush()
    source = open_source(_entry(tmp_path / "a.npy", names=("DAPI", "CD3", "CD8")))
    for budget, across in ((1, EDGE), (2 * EDGE * EDGE * 2, 2 * EDGE), (1 << 30, 9000)):
        blocks = source.blocks([0], budget)
        assert all(y0 % EDGE == 0 and x0 % EDGE == 0 for y0, _, x0, _ in blocks)
        assert max(x1 - x0 for _, _, x0, x1 in blocks) == across
        assert sum((y1 - y0) * (x1 - x0) for y0, y1, x0, x1 in blocks) == 5000 * 9000


def test_channels_that_are_stored_together_are_read_together(tmp_path, make) -> None:
    import dask.array as da

    from kronos_pretrain.corpus_build.source import Source

    data = da.zeros((5, 8, 8), chunks=((2, 3), 8, 8))
    assert Source("a", data, tuple("abcde"), "").groups([0, 2, 3, 4]) == [[0], [2, 3, 4]]


def test_floats_become_single_and_native(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.ones((1, 8, 8), ">f8"))
    source = open_source(_entry(tmp_path / "a.npy", names=("DAPI",)))
    assert source.dtype == np.dtype("<f4")
    assert _whole(source, [0]).dtype == np.dtype("<f4")


def test_stamps_change_with_the_files(tmp_path) -> None:
    import os

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    first = stamp(tmp_path / "a")
    (tmp_path / "a" / "x").write_text("2")
    os.utime(tmp_path / "a" / "x", ns=(1, 1))
    assert stamp(tmp_path / "a") != first
    (tmp_path / "a" / "y").write_text("")
    assert stamp(tmp_path / "a").startswith("2 ")


def test_what_is_no_image(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="names = 1 channels"):
        open_source(_entry(tmp_path / "a.npy", names=("DAPI",)))
    with pytest.raises(ValueError, match="same name: 'DAPI'"):
        open_source(_entry(tmp_path / "a.npy", names=("DAPI", "DAPI")))
    np.save(tmp_path / "b.npy", np.zeros((1, 8, 8), bool))
    with pytest.raises(ValueError, match="holds bool"):
        open_source(_entry(tmp_path / "b.npy", names=("DAPI",)))
    (tmp_path / "c.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-5])
    with pytest.raises(OSError, match="is cut off"):
        open_source(_entry(tmp_path / "c.npy", names=("DAPI", "CD3")))
