"""Where features go while an embedding is made: block by block, in any order, from this machine or from many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kronos_sc._store import BlockWriter, EmbeddingStore, FeatureBlock, StagedBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    import dask.array as da


class Sink(Protocol):
    """Takes blocks in two steps, and gives features back as a whole."""

    @property
    def stager(self) -> Callable[[FeatureBlock], Any]:
        """The costly step: may run anywhere, and nothing counts before the second."""

    def accept(self, staged: Any) -> None:
        """Make a staged block count."""

    def features(self, kind: str) -> Any:
        """Return all rows of one kind (rows of the table × width); rows of no block are NaN."""

    def pixels(self) -> np.ndarray:
        """Return the pixels of each unit inside its window, by row of the table (int64)."""

    def brightest(self) -> np.ndarray:
        """Return the brightest pixels around each unit, as a share of full scale, by row of the table."""


def as_it_is(block: FeatureBlock) -> FeatureBlock:
    """Hand a block on."""
    return block


class MemorySink:
    """Holds everything in memory.

    Parameters
    ----------
    rows
        Of the table.
    widths
        Features per row, by kind.
    dtype
        `float32` or `float16`.
    """

    stager = staticmethod(as_it_is)

    def __init__(self, rows: int, widths: dict[str, int], dtype: str) -> None:
        self._features = {kind: np.full((rows, width), np.nan, dtype) for kind, width in widths.items()}
        self._pixels = np.zeros(rows, np.int64)
        self._brightest = np.zeros(rows, np.float32)

    def accept(self, staged: FeatureBlock) -> None:
        """Copy a block into its rows."""
        for kind, values in staged.features.items():
            self._features[kind][staged.rows] = values
        self._pixels[staged.rows] = staged.pixels
        self._brightest[staged.rows] = staged.brightest

    def features(self, kind: str) -> np.ndarray:
        """Return all rows of one kind."""
        return self._features[kind]

    def pixels(self) -> np.ndarray:
        """Return the pixels of each unit inside its window."""
        return self._pixels

    def brightest(self) -> np.ndarray:
        """Return the brightest pixels around each unit."""
        return self._brightest


class StoreSink:
    """Writes to an embedding on disk, whose lock the caller holds.

    Parameters
    ----------
    store
        Where to.
    """

    def __init__(self, store: EmbeddingStore) -> None:
        self.store = store

    @property
    def stager(self) -> BlockWriter:
        """Compresses a block and writes it under a passing name."""
        return self.store.stager

    def accept(self, staged: StagedBlock) -> None:
        """Put the files of a block in their places."""
        self.store.accept(staged)

    def features(self, kind: str) -> da.Array:
        """Return all rows of one kind, lazily."""
        return self.store.features(kind)

    def pixels(self) -> np.ndarray:
        """Return the pixels of each unit inside its window."""
        return self.store.pixels()

    def brightest(self) -> np.ndarray:
        """Return the brightest pixels around each unit."""
        return self.store.brightest()
