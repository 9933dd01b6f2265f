"""Sharded Zarr arrays of the one layout that a corpus has, read with numcodecs alone.

A shard is a file of compressed chunks with a table at its end (Zarr v3, "sharding_indexed"): where each chunk begins
and how long it is. Only the table and the chunks asked for are read. zarr-python reads the same files; here it is the
reference of the tests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from io import FileIO

MISSING = 2**64 - 1  # a chunk that was never written: all of it is the fill value, 0
DTYPES = ("uint8", "uint16", "uint32", "float32", "float64")
CACHED = 16_384  # tables kept per process: 64 MiB of the usual 256 chunks each


@dataclass(frozen=True)
class Layout:
    """How an array (planes, height, width) lies in files.

    Parameters
    ----------
    shape
        Of the array.
    dtype
        Of its values, little-endian on disk.
    shard, chunk
        Height and width of the part of a plane that is one file, and of the part that is compressed on its own.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    shard: tuple[int, int]
    chunk: tuple[int, int]

    @property
    def chunks(self) -> tuple[int, int]:
        """Rows and columns of chunks in a shard."""
        return self.shard[0] // self.chunk[0], self.shard[1] // self.chunk[1]


def layout(folder: Path) -> Layout:
    """Read the layout of the array in `folder`.

    One that this reader does not know is a ValueError that says what differs.
    """
    _require_codec()
    path = folder / "zarr.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = (
            f"{str(path)!r} is not JSON ({error}); it describes the pixels of an image. Delete the folder of this "
            "image and build the corpus again."
        )
        raise ValueError(msg) from error
    try:
        return _parsed(record)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        difference = f"no {error}" if isinstance(error, KeyError) else error
        msg = (
            f"The array {str(folder)!r} has {difference}; a corpus holds Zarr v3 arrays (planes, height, width) in "
            "shards of one plane, with chunks of one plane inside, compressed by zstd, fill value 0. Write it with "
            "`python -m kronos_pretrain corpus build`, or store the pixels as .npy."
        )
        raise ValueError(msg) from error


def _require_codec() -> None:
    """Say early if the codec is not installed; and workers that are forked need not import it one by one."""
    try:
        import numcodecs.zstd  # noqa: F401
    except ImportError as error:
        msg = (
            "The pixels of this corpus are compressed by zstd, and numcodecs, which unpacks them, is not installed. "
            "Install it (`pip install numcodecs`), or build the corpus with .npy pixels, which need numpy alone."
        )
        raise ImportError(msg) from error


def _parsed(record: dict[str, Any]) -> Layout:
    """Return the layout; what this reader does not know is a ValueError that names it."""
    grid = record["chunk_grid"]
    encoding = record["chunk_key_encoding"]
    sharding = record["codecs"][0].get("configuration", {})
    separator = encoding.get("configuration", {}).get("separator", "/")
    _require(record, "zarr_format", (3,))
    _require(record, "node_type", ("array",))
    _require(record, "data_type", DTYPES)
    _require(record, "fill_value", (0,))
    _require({"storage_transformers": record.get("storage_transformers") or []}, "storage_transformers", ([],))
    _require({"chunk grid": grid["name"]}, "chunk grid", ("regular",))
    _require({"chunk keys": (encoding["name"], separator)}, "chunk keys", (("default", "/"),))
    _require({"codecs": _named(record["codecs"])}, "codecs", (["sharding_indexed"],))
    _require({"index_location": sharding.get("index_location", "end")}, "index_location", ("end",))

    # the chunks, and the table of where they lie
    dtype = np.dtype(record["data_type"]).newbyteorder("<")
    for key, names, size in (("codecs", ["bytes", "zstd"], dtype.itemsize), ("index_codecs", ["bytes", "crc32c"], 8)):
        _require({f"{key} in shards": _named(sharding[key])}, f"{key} in shards", (names,))
        endian = sharding[key][0].get("configuration", {}).get("endian")
        orders = ("little",) if size > 1 else ("little", None)  # single bytes have no order
        _require({"byte order": endian}, "byte order", orders)

    shape = record["shape"]
    outer = grid["configuration"]["chunk_shape"]
    inner = sharding["chunk_shape"]
    if len(shape) != 3 or outer[0] != 1 or inner[0] != 1 or any(o % i for o, i in zip(outer, inner, strict=True)):
        msg = f"shape {shape}, shards {outer} and chunks {inner}"
        raise ValueError(msg)
    return Layout(tuple(shape), dtype, tuple(outer[1:]), tuple(inner[1:]))


def _named(codecs: list[dict[str, Any]]) -> list[str]:
    return [codec["name"] for codec in codecs]


def _require(record: dict[str, Any], key: str, known: tuple[object, ...]) -> None:
    if record[key] not in known:
        msg = f"{key} {record[key]!r}"
        raise ValueError(msg)


def table(file: FileIO, path: str, count: int) -> np.ndarray:
    """Return where the chunks of an open shard lie: (count, 2) of offset and length, uint64.

    Its checksum is checked.
    """
    import os

    state = os.fstat(file.fileno())
    # size and time are part of the key, so that a file changed meanwhile is read anew
    return _table(path, state.st_size, state.st_mtime_ns, count)


@lru_cache(maxsize=CACHED)
def _table(path: str, size: int, _changed: int, count: int) -> np.ndarray:
    length = 16 * count + 4
    if size < length:
        msg = f"it has {size} bytes, fewer than its table of chunks"
        raise ValueError(msg)
    with Path(path).open("rb", buffering=0) as file:
        file.seek(size - length)
        raw = file.read(length)
    if crc32c(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        msg = "the checksum of its table of chunks is wrong"
        raise ValueError(msg)
    return np.frombuffer(raw[:-4], "<u8").reshape(count, 2)


def chunk(file: FileIO, offset: int, length: int, layout: Layout) -> np.ndarray:
    """Return one chunk of an open shard; a ValueError says why it cannot be had."""
    file.seek(offset)
    raw = file.read(length)
    if len(raw) < length:
        msg = f"it ends {length - len(raw)} bytes before the chunk does"
        raise ValueError(msg)
    try:
        return np.frombuffer(decode(raw), layout.dtype).reshape(layout.chunk)
    except (RuntimeError, ValueError) as error:
        msg = f"the chunk does not unpack ({error})"
        raise ValueError(msg) from error


def decode(raw: bytes) -> bytes:
    """Unpack a zstd frame; its checksum is checked, and other threads run meanwhile."""
    from numcodecs.zstd import decompress

    return decompress(raw)


@lru_cache(maxsize=1)
def _remainders() -> tuple[int, ...]:
    """Return the remainder of every byte."""
    remainders = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ 0x82F63B78 * (value & 1)
        remainders.append(value)
    return tuple(remainders)


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli; RFC 3720, appendix B.4) of a few thousand bytes, which needs no package."""
    remainders = _remainders()
    value = 0xFFFFFFFF
    for byte in data:
        value = remainders[(value ^ byte) & 255] ^ value >> 8
    return value ^ 0xFFFFFFFF
