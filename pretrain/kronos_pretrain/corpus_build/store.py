"""Pixels of one image on disk: one chunked Zarr array, or one plain array."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from kronos_pretrain.corpus_build.source import EDGE

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 128
PIECE = 1 << 24  # bytes copied at a time
LEVEL = 3  # of zstd: more costs time and saves little on noise


class ZarrStore:
    """A Zarr v3 array (planes, rows, columns) of 128-pixel chunks of one marker, in shards of up to 2,048 pixels.

    Parameters
    ----------
    folder
        Where `pixels.zarr` goes.
    shape, dtype
        Of the array.
    """

    name = "pixels.zarr"

    def __init__(self, folder: Path, shape: tuple[int, int, int], dtype: np.dtype) -> None:
        import zarr
        from zarr.codecs import BytesCodec, ZstdCodec

        self.path = folder / self.name
        shards = (1, *(min(EDGE, -(-edge // CHUNK) * CHUNK) for edge in shape[1:]))
        self.array: Any = zarr.create_array(
            self.path,
            shape=shape,
            dtype=dtype,
            chunks=(1, CHUNK, CHUNK),
            shards=shards,
            serializer=BytesCodec(endian="little") if dtype.itemsize > 1 else "auto",
            compressors=ZstdCodec(level=LEVEL, checksum=True),
            fill_value=0,
            zarr_format=3,
            # chunks of zeros are written too: a shard that is missing is then a damaged corpus, and not darkness
            config={"write_empty_chunks": True},
        )

    def write(self, plane: int, y: int, x: int, pixels: np.ndarray) -> None:
        """Write one block of one plane; blocks are whole shards."""
        self.array[plane, y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels

    def keep(self, planes: list[int]) -> None:
        """Drop all planes but these; what stays moves up."""
        count = self.array.shape[0]
        for plane in sorted(set(range(count)) - set(planes)):
            shutil.rmtree(self.path / "c" / str(plane))
        for position, plane in enumerate(planes):
            if position != plane:
                (self.path / "c" / str(plane)).rename(self.path / "c" / str(position))
        if len(planes) < count:
            self.array.resize((len(planes), *self.array.shape[1:]))

    def close(self) -> None:
        """Nothing is held open."""


class NpyStore:
    """A plain array (planes, rows, columns) for memory mapping.

    Written as a file and not through a map: a full disk is then an error, where a map would end the process.

    Parameters
    ----------
    folder
        Where `pixels.npy` goes.
    shape, dtype
        Of the array.
    """

    name = "pixels.npy"

    def __init__(self, folder: Path, shape: tuple[int, int, int], dtype: np.dtype) -> None:
        self.path = folder / self.name
        self.shape = shape
        self.dtype = dtype
        self.file = self.path.open("w+b")
        self.start = _header(self.file, shape, dtype)

    def write(self, plane: int, y: int, x: int, pixels: np.ndarray) -> None:
        """Write one block of one plane."""
        height, width = self.shape[1:]
        # full rows lie one behind the other in the file, and are written at once
        parts = [pixels] if pixels.shape[1] == width else pixels
        for row, part in enumerate(parts):
            self.file.seek(self.start + ((plane * height + y + row) * width + x) * self.dtype.itemsize)
            self.file.write(np.ascontiguousarray(part).data)

    def keep(self, planes: list[int]) -> None:
        """Drop all planes but these; what stays moves up."""
        if len(planes) < self.shape[0]:
            part = self.path.with_suffix(".part")
            size = self.shape[1] * self.shape[2] * self.dtype.itemsize
            with part.open("wb") as target:
                _header(target, (len(planes), *self.shape[1:]), self.dtype)
                for plane in planes:
                    self.file.seek(self.start + plane * size)
                    for begin in range(0, size, PIECE):
                        target.write(self.file.read(min(PIECE, size - begin)))
            part.replace(self.path)
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _header(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Write the header of an array, and return where its pixels start."""
    np.lib.format.write_array_header_1_0(
        file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return file.tell()


STORES = {"zarr": ZarrStore, "npy": NpyStore}
