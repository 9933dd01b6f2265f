"""Features of a store in the order of the table, read when they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.settings import settings
from kronos_sc._store import _arrays

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array as da
    import zarr


@dataclass(frozen=True, eq=False)
class Rows:
    """One kind of features as an array-like (rows of the table × width); rows without a unit are NaN.

    Parameters
    ----------
    path
        Of the store.
    kind
        Name of the array.
    position
        Stored row of each row of the table (int64), -1 for none.
    capacity
        Stored rows per block.
    """

    path: Path
    kind: str
    position: np.ndarray
    capacity: int

    @cached_property
    def _array(self) -> zarr.Array:
        import zarr

        return zarr.open_array(self.path / self.kind, mode="r")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of the table and width."""
        return len(self.position), int(self._array.shape[1])

    @property
    def dtype(self) -> np.dtype:
        """Of the features."""
        return self._array.dtype

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        position = self.position[rows]
        values = self._read(np.atleast_1d(position))[:, columns]
        return values if np.ndim(position) else values[0]

    def _read(self, position: np.ndarray) -> np.ndarray:
        """Return stored rows in any order, each file opened once."""
        out = np.full((len(position), self.shape[1]), np.nan, self.dtype)
        there = np.flatnonzero(position >= 0)
        order = there[np.argsort(position[there], kind="stable")]
        blocks = position[order] // self.capacity
        for members in np.split(order, np.flatnonzero(np.diff(blocks)) + 1) if len(order) else []:
            out[members] = self._block(position[members])
        return out

    def _block(self, position: np.ndarray) -> np.ndarray:
        """Return increasing stored rows of one block."""
        block, first, last = int(position[0]) // self.capacity, int(position[0]), int(position[-1])
        if not (self.path / _arrays.block_file(self.kind, block, 2)).exists():
            raise self._lost(block, "its file is missing")
        wanted = np.unique(position // self._array.chunks[0])
        # most of the chunks between the first row and the last are needed anyway: one read of all of them costs less than picking
        dense = 2 * len(wanted) > last // self._array.chunks[0] - first // self._array.chunks[0]
        try:
            return self._array[first : last + 1][position - first] if dense else self._array.oindex[position]
        except Exception as error:
            raise self._lost(block, f"{type(error).__name__}: {error}") from error

    def _lost(self, block: int, why: str) -> OSError:
        return OSError(
            f"Block {block} of {self.kind!r} in {self.path} cannot be read ({why}). Nothing else is harmed: make the call of tl.embed that "
            "wrote the store again, and only this block is computed anew."
        )

    def lazy(self) -> da.Array:
        """Return a dask array; each of its chunks holds `settings.block_memory` bytes of whole rows."""
        import dask.array as da
        from dask.tokenize import tokenize

        step = max(1, settings.block_memory // max(1, self.shape[1] * self.dtype.itemsize))
        name = f"embedding-{tokenize(str(self.path), self.kind, self.position, (self.path / 'zarr.json').stat().st_mtime_ns)}"
        return da.from_array(self, chunks=(step, -1), name=name, asarray=False, meta=np.empty((0, 0), self.dtype))
