"""Chunks of a Zarr array in a folder, decoded in the calling thread.

Through Zarr's event loop the same takes twice the time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import zarr

    Decode = Callable[[bytes], Any]

# Codecs of Zarr v3 that numcodecs decodes without knowing how they were configured.
_SAME = {
    "blosc": {"id": "blosc"},
    "zstd": {"id": "zstd"},
    "gzip": {"id": "gzip"},
    "crc32c": {"id": "crc32c", "location": "end"},
}
_BYTE_ORDER: dict[str, Literal["<", ">"]] = {"little": "<", "big": ">"}
_NONE = 2**64 - 1  # offset and length of a chunk that a shard does not hold (Zarr sharding codec 1.0)


def direct(array: zarr.Array) -> Chunks | Shards | None:
    """Return a reader of chunks by key.

    None where the array is not in a folder, or has codecs that Zarr should apply itself.
    """
    from zarr.storage import LocalStore

    store = array.store_path.store
    metadata: dict[str, Any] = array.metadata.to_dict()
    if type(store) is not LocalStore or array.dtype.kind not in "biuf":
        return None
    folder = Path(store.root) / array.store_path.path
    file_name = array.metadata.encode_chunk_key
    if metadata["zarr_format"] == 2:
        steps = _version_2(metadata)
        if steps is None:
            return None
        return Chunks(folder, file_name, array.chunks, array.dtype, steps)
    if metadata["chunk_grid"]["name"] != "regular":
        return None

    codecs = list(metadata["codecs"])
    sharding = None
    if len(codecs) == 1 and codecs[0]["name"] == "sharding_indexed":
        sharding = codecs[0]["configuration"]
        codecs = sharding["codecs"]
    decoding = _version_3(codecs, array.dtype)
    if decoding is None:
        return None
    chunks = Chunks(folder, file_name, array.chunks, *decoding)
    if sharding is None:
        return chunks

    index = _version_3(sharding["index_codecs"], np.dtype(np.uint64))
    if array.shards is None or index is None:
        return None
    # of an index that is compressed, nobody could tell how many bytes it takes
    if any(codec["name"] != "crc32c" for codec in sharding["index_codecs"][1:]):
        return None
    place = sharding.get("index_location") or "end"
    return Shards(chunks, array.shards, index, first=getattr(place, "value", place) == "start")


def _version_2(metadata: dict[str, Any]) -> list[Decode] | None:
    """Return how chunks of a Zarr v2 array are decompressed, or None."""
    compressor = metadata["compressor"]
    if metadata["filters"] or metadata["order"] != "C":
        return None
    if compressor is None:
        return []
    if not isinstance(compressor, dict):
        compressor = compressor.get_config()
    return _decoders([compressor])


def _version_3(codecs: Sequence[dict[str, Any]], dtype: np.dtype) -> tuple[np.dtype, list[Decode]] | None:
    """Return how chunks of a Zarr v3 array are decoded (the dtype of the bytes, and what comes before), or None."""
    first, *rest = codecs
    if first["name"] != "bytes" or any(codec["name"] not in _SAME for codec in rest):
        return None
    endian = (first.get("configuration") or {}).get("endian") or "little"
    order = _BYTE_ORDER[getattr(endian, "value", endian)]
    steps = _decoders([_SAME[codec["name"]] for codec in reversed(rest)])
    if steps is None:
        return None
    return dtype.newbyteorder(order), steps


def _decoders(configs: Sequence[dict[str, Any]]) -> list[Decode] | None:
    """Return how each codec decodes, or None if one is not installed."""
    import numcodecs

    try:
        codecs = [numcodecs.get_codec(config) for config in configs]
    except (ValueError, TypeError):
        return None
    return [_blosc if codec.codec_id == "blosc" else codec.decode for codec in codecs]


def _blosc(raw: bytes) -> bytes:
    """Decompress; Blosc does not look whether its input is all there, and may give noise where it is not."""
    from numcodecs import Blosc

    size = 16  # of the header, which says how many bytes follow
    if len(raw) >= size:
        size = int.from_bytes(raw[12:16], "little")
    if len(raw) < size:
        msg = f"{len(raw):,} bytes of a Blosc chunk of {size:,} or more: it was cut short"
        raise ValueError(msg)
    return Blosc().decode(raw)


class Chunks:
    """One file per chunk.

    Parameters
    ----------
    folder
        Of the array.
    name
        Path of a chunk inside the folder, by its key.
    shape
        Of a chunk.
    dtype
        Of the pixels as they are stored.
    steps
        From the bytes of a file to pixels.
    """

    def __init__(
        self,
        folder: Path,
        name: Callable[[tuple[int, ...]], str],
        shape: tuple[int, ...],
        dtype: np.dtype,
        steps: list[Decode],
    ) -> None:
        self.folder = folder
        self.name = name
        self.shape = shape
        self._dtype = dtype
        self._steps = steps

    def __call__(self, key: tuple[int, ...]) -> np.ndarray | None:
        """Return a chunk, whole even at the edge of the image, or None if it was never written."""
        raw = stored_bytes(self.folder / self.name(key))
        return None if raw is None else self.decoded(raw)

    def decoded(self, raw: bytes) -> np.ndarray:
        """Return pixels."""
        for step in self._steps:
            raw = step(raw)
        return np.frombuffer(raw, self._dtype).reshape(self.shape)


class Shards:
    """Many chunks in a file, with an index of where each one lies.

    Parameters
    ----------
    chunks
        How a chunk is decoded, once its bytes are there.
    shape
        Of a shard.
    index
        How the index is decoded.
    first
        Whether the index comes before the chunks.
    """

    def __init__(
        self, chunks: Chunks, shape: tuple[int, ...], index: tuple[np.dtype, list[Decode]], *, first: bool
    ) -> None:
        self._chunks = chunks
        self._first = first
        self._per_shard = tuple(whole // edge for whole, edge in zip(shape, chunks.shape, strict=True))
        self._dtype, self._steps = index
        self._bytes = 16 * int(np.prod(self._per_shard)) + 4 * len(self._steps)  # the steps check sums of four bytes
        self._known: dict[tuple[int, ...], np.ndarray | None] = {}

    def __call__(self, key: tuple[int, ...]) -> np.ndarray | None:
        """Return a chunk, whole even at the edge of the image, or None if it was never written."""
        places = (divmod(index, count) for index, count in zip(key, self._per_shard, strict=True))
        shard, inside = zip(*places, strict=True)
        path = self._chunks.folder / self._chunks.name(shard)
        if shard not in self._known:  # two threads may both read it: the same answer
            self._known[shard] = self._index(path)
        index = self._known[shard]
        if index is None:
            return None
        offset, length = (int(value) for value in index[inside])
        if offset == length == _NONE:
            return None
        return self._chunks.decoded(stored_bytes(path, offset, length) or b"")

    def _index(self, path: Path) -> np.ndarray | None:
        """Return offset and length of each chunk of a shard."""
        raw = stored_bytes(path, 0 if self._first else -self._bytes, self._bytes)
        if raw is None:
            return None
        for step in self._steps:
            raw = step(raw)
        return np.frombuffer(raw, self._dtype).reshape(*self._per_shard, 2)


def stored_bytes(path: Path, start: int = 0, length: int = -1) -> bytes | None:
    """Return bytes of a file, or None if there is no such file.

    All of them by default; counted from its end if `start` is negative.
    """
    try:
        with path.open("rb", buffering=0) as file:
            if start:
                file.seek(start if start > 0 else max(0, os.fstat(file.fileno()).st_size + start))
            return file.read(length)
    # what Zarr takes for a chunk that was never written
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
