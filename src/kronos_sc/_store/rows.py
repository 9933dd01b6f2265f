"""Features of a store in the order of the table, read when they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.settings import settings
from kronos_sc._storage.chunks import direct
from kronos_sc._store.folder import identifier

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
    identifier
        Of the store: another one at the same path has its rows elsewhere.
    """

    path: Path
    kind: str
    position: np.ndarray
    capacity: int
    identifier: str

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
        self._require_same()
        values = self._read(np.atleast_1d(position))[:, columns]
        self._require_same()  # nor was it replaced in the meantime
        return values if np.ndim(position) else values[0]

    def _require_same(self) -> None:
        if identifier(self.path) != self.identifier:
            msg = (
                f"{self.path} is not the embedding any more that this array was made of; it was moved, or written "
                "anew. Attach what is there with io.read_embedding(table, path)."
            )
            raise OSError(msg)

    def _read(self, position: np.ndarray) -> np.ndarray:
        """Return stored rows in any order, each file opened once."""
        values = np.full((len(position), self.shape[1]), np.nan, self.dtype)
        # in stored order: rows of one block follow each other, so that its file is opened once
        stored = np.flatnonzero(position >= 0)
        order = stored[np.argsort(position[stored], kind="stable")]
        blocks = position[order] // self.capacity
        for members in np.split(order, np.flatnonzero(np.diff(blocks)) + 1) if len(order) else []:
            values[members] = self._block(position[members])
        return values

    def _block(self, position: np.ndarray) -> np.ndarray:
        """Return increasing stored rows of one block, each chunk decoded once."""
        read = direct(self._array)  # anew: what it knows of a file ends with the file
        chunks, rows = np.divmod(position, self._array.chunks[0])
        values = np.empty((len(position), self.shape[1]), self.dtype)
        for members in np.split(np.arange(len(position)), np.flatnonzero(np.diff(chunks)) + 1):
            chunk = int(chunks[members[0]])
            try:
                chunk_values = read((chunk, 0))
            except Exception as error:
                raise self._unreadable(int(position[0]) // self.capacity, f"{type(error).__name__}: {error}") from error
            if chunk_values is None:
                raise self._unreadable(int(position[0]) // self.capacity, "its file is missing")
            values[members] = chunk_values[rows[members]]
        return values

    def _unreadable(self, block: int, why: str) -> OSError:
        return OSError(
            f"Block {block} of {self.kind!r} in {self.path} cannot be read ({why}). Nothing else is harmed: make the "
            "call of tl.embed that wrote the store again, and only this block is computed anew."
        )

    def lazy(self) -> da.Array:
        """Return a dask array; each of its chunks holds `settings.block_memory` bytes of whole rows."""
        import dask.array as da
        from dask.tokenize import tokenize

        step = max(1, settings.block_memory // max(1, self.shape[1] * self.dtype.itemsize))
        name = f"embedding-{tokenize(str(self.path), self.kind, self.position, self.identifier, step)}"
        return da.from_array(self, chunks=(step, -1), name=name, asarray=False, meta=np.empty((0, 0), self.dtype))
