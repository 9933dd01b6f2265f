"""Stored chunks: each decoded once per embedding, only of matched channels; corrupt and missing ones are named."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from zarr.storage import LocalStore

import kronos_sc as ks
from kronos_sc._storage import chunks as chunks


@pytest.fixture
def reads(monkeypatch):
    """Count what is read from stores on disk, by file."""
    seen = Counter()
    plain = LocalStore.get
    plain_bytes = chunks.stored_bytes

    async def counted(self, key, *args, **kwargs):
        seen[str(self.root / key)] += 1
        return await plain(self, key, *args, **kwargs)

    def counted_bytes(path, *args):
        seen[str(path)] += 1
        return plain_bytes(path, *args)

    monkeypatch.setattr(LocalStore, "get", counted)
    monkeypatch.setattr(chunks, "stored_bytes", counted_bytes)
    return seen


def chunks_of(seen, kind):
    """Return counts by (channel, row, column) or (row, column) of the full-resolution chunks of one kind."""
    pattern = re.compile(rf"/{kind}/[^/]+/(?:0|s0)/c/([\d/]+)$")
    return {tuple(map(int, hit[1].split("/"))): n for key, n in seen.items() if (hit := pattern.search(key))}


@pytest.mark.parametrize("memory", [1, 40_000, 10**9])
@pytest.mark.parametrize("per_chunk", [1, 5])
def test_each_chunk_is_decoded_once_and_only_matched_channels(
    stored, tiny, tmp_path, reads, monkeypatch, memory, per_chunk
):
    channels = ("DAPI", "Empty", "CD8", "Background", "CD3")
    sdata = stored(tmp_path / "a.zarr", channels=channels, chunks=(per_chunk, 64, 64))
    monkeypatch.setattr(ks.settings, "block_memory", memory)
    reads.clear()
    ks.tl.embed(sdata, model=tiny, precision="float32")
    images = chunks_of(reads, "images")
    labels = chunks_of(reads, "labels")
    assert set(images.values()) == {1}
    assert set(labels.values()) == {1}
    assert {key[0] for key in images} == ({0, 2, 4} if per_chunk == 1 else {0})
    grid = {(y, x) for y in range(3) for x in range(3)}
    assert {key[1:] for key in images} == grid
    assert set(labels) == grid


def test_chunks_without_units_are_not_read(stored, tiny, tmp_path, reads):
    labels = np.zeros((64, 640), np.int32)
    labels[20:30, 20:30] = 1
    labels[20:30, 600:610] = 2
    sdata = stored(
        tmp_path / "a.zarr", image=np.full((2, 64, 640), 900, np.uint16), labels=labels, channels=("DAPI", "CD3")
    )
    reads.clear()
    ks.tl.embed(sdata, model=tiny)
    assert {key[2] for key in chunks_of(reads, "images")} == {0, 8, 9}


def chunk_file(root: Path, kind: str, *key: int) -> Path:
    tail = "/".join(map(str, key))
    (path,) = (p for p in root.glob(f"{kind}/*/*/c/{tail}") if p.parts[-2 - len(key)] in ("0", "s0"))
    return path


def test_corrupt_image_chunk_is_named(stored, tiny, tmp_path, state, unchanged):
    sdata = stored(tmp_path / "a.zarr")
    path = chunk_file(tmp_path / "a.zarr", "images", 2, 1, 1)
    path.write_bytes(path.read_bytes()[:20])
    before = state(sdata)
    message = (
        r"Image 'image' could not be decoded at channel 'CD8', rows \d+–\d+, columns \d+–\d+: "
        r".*The SpatialData is as it was. Restore that chunk"
    )
    with pytest.raises(OSError, match=message):
        ks.tl.embed(sdata, model=tiny)
    unchanged(before, state(sdata))
    ks.tl.embed(sdata, model=tiny, channels=["DAPI", "CD3"])  # other channels are unharmed


def test_missing_image_chunk_is_named(stored, tiny, tmp_path, state, unchanged):
    sdata = stored(tmp_path / "a.zarr")
    chunk_file(tmp_path / "a.zarr", "images", 1, 0, 2).unlink()
    before = state(sdata)
    message = (
        r"Image 'image' has no stored chunk under some units: channel 'CD3' rows 0–64 columns 128–190. "
        r"The SpatialData is as it was. Restore.*nan='zero'"
    )
    with pytest.raises(OSError, match=message):
        ks.tl.embed(sdata, model=tiny)
    with pytest.raises(OSError, match=message):
        ks.get.patches(sdata, sdata["table"].obs_names[:500])
    unchanged(before, state(sdata))
    ks.tl.embed(sdata, model=tiny, nan="zero")
    ks.tl.embed(sdata, model=tiny, channels=["DAPI", "CD8"])


def test_corrupt_labels_chunk_is_named(stored, tiny, tmp_path, state, unchanged):
    sdata = stored(tmp_path / "a.zarr")
    path = chunk_file(tmp_path / "a.zarr", "labels", 1, 2)
    path.write_bytes(b"\x00" * 9)
    before = state(sdata)
    message = (
        r"Labels 'cells' could not be decoded at rows 64–128, columns 128–190: "
        r".*The SpatialData is as it was. Restore that chunk"
    )
    with pytest.raises(OSError, match=message):
        ks.tl.embed(sdata, model=tiny)
    with pytest.raises(OSError, match=message):
        ks.pp.label_table(sdata, key_added="again")
    unchanged(before, state(sdata))


def test_missing_labels_chunk_that_held_whole_cells_is_named(stored, tiny, tmp_path, state, unchanged):
    sdata = stored(tmp_path / "a.zarr")
    chunk_file(tmp_path / "a.zarr", "labels", 1, 1).unlink()
    before = state(sdata)
    message = (
        r"\d+ rows of the table have no pixels in labels 'cells': "
        r".*Its store has no chunk at rows 64–128 columns 64–128: restore it"
    )
    with pytest.raises(ValueError, match=message):
        ks.tl.embed(sdata, model=tiny)
    unchanged(before, state(sdata))


def test_chunks_without_any_label_are_sound(stored, tiny, tmp_path):
    labels = np.zeros((128, 128), np.int32)
    labels[10:20, 10:20] = 1
    labels[40:50, 55:64] = 2  # the second ends where the chunk does
    sdata = stored(tmp_path / "a.zarr", image=np.full((1, 128, 128), 900, np.uint16), labels=labels, channels=("DAPI",))
    assert not list((tmp_path / "a.zarr" / "labels").rglob("c/0/1"))  # Zarr leaves out chunks of background
    assert list((tmp_path / "a.zarr" / "labels").rglob("c/0/0"))
    ks.tl.embed(sdata, model=tiny)
    assert np.isfinite(sdata["table"].obsm["X_kronos"]).all()


def test_windows_may_reach_into_empty_chunks(stored, tiny, tmp_path):
    labels = np.zeros((128, 128), np.int32)
    labels[10:20, 50:60] = 1
    image = np.zeros((1, 128, 128), np.uint16)
    image[:, :, :64] = 900
    sdata = stored(tmp_path / "a.zarr", image=image, labels=labels, channels=("DAPI",))
    assert not list((tmp_path / "a.zarr" / "images").rglob("c/0/0/1"))
    assert (ks.get.patches(sdata, ["1"]).to_numpy()[0, 0, :, -23:] == 0).all()
    ks.tl.embed(sdata, model=tiny)
