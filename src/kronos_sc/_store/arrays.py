"""The arrays of a store: one file per block in each of those that are written block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import zarr

_CHUNK = 2**18  # bytes that are read at once to get one row: less would be slow to write, more slow to pick rows from

# bit shuffle before it: as small as zstd makes features, at twice the speed and more
_CODEC = "lz4"
_LEVEL = 1
_ABSENT = 2**64 - 1
_FILL = {"f": float("nan"), "i": -1, "b": False}  # of rows that nobody has written


def rows_per_chunk(capacity: int, row_bytes: int) -> int:
    """Return how many rows are compressed together.

    A power of two of some 256 KiB that divides `capacity`, itself one.
    """
    return min(capacity, max(1, 2 ** int(np.log2(max(1, _CHUNK // row_bytes)))))


def create(store: Any, name: str, *, blocks: int, capacity: int, width: int | None, dtype: str) -> zarr.Array:
    """Make an array of `blocks` · `capacity` rows: features (rows × `width`), or one value per row without a width."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    rows = blocks * capacity
    shape: tuple[int, ...] = (rows,)
    chunks: tuple[int, ...] = (capacity,)
    shards = None
    if width is not None:
        # one shard per block, so that a block is one file; small chunks in it, so that a few rows are read soon
        shape = (rows, width)
        chunks = (rows_per_chunk(capacity, width * np.dtype(dtype).itemsize), width)
        shards = (capacity, width)
    return zarr.create_array(
        store,
        name=name,
        shape=shape,
        chunks=chunks,
        shards=shards,
        dtype=dtype,
        compressors=[BloscCodec(cname=_CODEC, clevel=_LEVEL, shuffle="bitshuffle"), Crc32cCodec()],
        fill_value=_FILL[np.dtype(dtype).kind],
        config={"write_empty_chunks": True},  # a model may give what looks empty
        zarr_format=3,
    )


def encode(values: np.ndarray, *, capacity: int) -> bytes:
    """Return the file of one block, as :func:`create` lays it out.

    These are the bytes that Zarr would write, in half its time and in any thread.

    Features are a shard (Zarr sharding codec 1.0): compressed chunks one after the other, then where each one begins
    and how long it is. Rows are filled up to a whole chunk, values of one number per row up to `capacity`.
    """
    from numcodecs import CRC32C, Blosc

    blosc = Blosc(_CODEC, _LEVEL, Blosc.BITSHUFFLE)
    checksum = CRC32C(location="end")
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    if values.ndim == 1:
        return bytes(checksum.encode(blosc.encode(_padded(values, capacity))))
    step = rows_per_chunk(capacity, values.shape[1] * values.itemsize)
    index = np.full((capacity // step, 2), _ABSENT, "<u8")
    chunks: list[bytes] = []
    end = 0
    for number, start in enumerate(range(0, len(values), step)):
        chunks.append(bytes(checksum.encode(blosc.encode(_padded(values[start : start + step], step)))))
        index[number] = end, len(chunks[-1])
        end += len(chunks[-1])
    return b"".join([*chunks, bytes(checksum.encode(index))])


def _padded(values: np.ndarray, rows: int) -> np.ndarray:
    """Return contiguous values with rows of fill behind them."""
    if len(values) == rows:
        return np.ascontiguousarray(values)
    filler = np.full((rows - len(values), *values.shape[1:]), _FILL[values.dtype.kind], values.dtype)
    return np.concatenate([values, filler])


def block_file(name: str, block: int, ndim: int) -> str:
    """Return the name of a block's file, relative to the store (Zarr's default chunk keys)."""
    return "/".join([name, "c", str(block), *["0"] * (ndim - 1)])
