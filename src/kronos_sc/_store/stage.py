"""One block on its way into a store.

It is compressed and written under a passing name anywhere, and renamed by the one who holds the lock.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._storage.files import write_whole
from kronos_sc._store import arrays as _arrays

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PARTS = ".parts"
PIXELS = "pixels"
BRIGHTEST = "brightest"


@dataclass(frozen=True)
class FeatureBlock:
    """One block, embedded.

    Parameters
    ----------
    number
        Of the block within the call.
    rows
        Rows of the table (int64).
    features
        Array (rows, ·) per kind.
    pixels
        Pixels of each unit inside its window (int32).
    brightest
        Brightest pixels of the block as a share of full scale.
    """

    number: int
    rows: np.ndarray
    features: Mapping[str, np.ndarray]
    pixels: np.ndarray
    brightest: float


@dataclass(frozen=True)
class StagedBlock:
    """A block whose files are whole on disk, under passing names.

    Parameters
    ----------
    number
        Of the block.
    files
        Final name → passing name, both relative to the store; in the order in which they take their places.
    """

    number: int
    files: dict[str, str]


@dataclass(frozen=True)
class BlockWriter:
    """Writes finished blocks to disk where nobody counts them yet.

    Can be sent to other machines that see the same path.

    Parameters
    ----------
    path
        Of the store.
    capacity
        Rows of a block's file.
    dtype
        Of features.
    """

    path: Path
    capacity: int
    dtype: str

    def __call__(self, block: FeatureBlock) -> StagedBlock:
        """Compress the arrays of a block and write their files."""
        arrays = {kind: np.asarray(values, self.dtype) for kind, values in block.features.items()}
        arrays[PIXELS] = np.asarray(block.pixels, np.int32)
        files = {}
        for name, values in arrays.items():
            encoded = _arrays.encode(values, capacity=self.capacity)
            files[_arrays.block_file(name, block.number, values.ndim)] = self._write(encoded)
        last = _arrays.encode(np.asarray([block.brightest], np.float32), capacity=1)
        files[_arrays.block_file(BRIGHTEST, block.number, 1)] = self._write(last)
        return StagedBlock(block.number, files)

    def _write(self, data: bytes) -> str:
        name = f"{PARTS}/{secrets.token_hex(8)}"
        write_whole(self.path / name, data)
        return name
