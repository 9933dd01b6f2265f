"""The arrays of a store: one file per block in each of those that are written block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import zarr

_CHUNK = 2**18  # bytes that are read at once to get one row: less would be slow to write, more slow to pick rows from


def rows_per_chunk(capacity: int, row_bytes: int) -> int:
    """Return how many rows are compressed together: a power of two of some 256 KiB that divides `capacity`, itself one."""
    return min(capacity, max(1, 2 ** int(np.log2(max(1, _CHUNK // row_bytes)))))


def create(where: Any, name: str, *, blocks: int, capacity: int, width: int | None, dtype: str) -> zarr.Array:
    """Make an array of `blocks` · `capacity` rows: features (rows × `width`), or one value per row without a width."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    rows = blocks * capacity
    floating = np.dtype(dtype).kind == "f"
    features = width is not None
    chunk = rows_per_chunk(capacity, width * np.dtype(dtype).itemsize) if features else capacity
    return zarr.create_array(
        where,
        name=name,
        shape=(rows, width) if features else (rows,),
        chunks=(chunk, width) if features else (chunk,),
        shards=(capacity, width) if features else None,
        dtype=dtype,
        compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec()],
        fill_value=float("nan") if floating else -1,
        zarr_format=3,
    )


def encode(values: np.ndarray, *, capacity: int) -> bytes:
    """Return the file of one block: its rows, filled up to `capacity`, as :func:`create` lays them out."""
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    width = values.shape[1] if values.ndim == 2 else None
    array = create(MemoryStore(files), "block", blocks=1, capacity=capacity, width=width, dtype=values.dtype.name)
    step = array.chunks[0]
    short = -len(values) % step
    if short:  # whole chunks, so that nothing is read back to be merged
        filler = np.full((short, *values.shape[1:]), array.fill_value, values.dtype)
        values = np.concatenate([values, filler])
    array[: len(values)] = values
    return files[block_file("block", 0, values.ndim)].to_bytes()


def block_file(name: str, block: int, ndim: int) -> str:
    """Return the name of a block's file, relative to the store (Zarr's default chunk keys)."""
    return "/".join([name, "c", str(block), *["0"] * (ndim - 1)])
