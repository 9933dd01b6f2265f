"""Where features go while an embedding is made: block by block, in any order, from this machine or from many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from kronos_sc._store import FeatureBlock


class Sink(Protocol):
    """Takes blocks in two steps, and gives features back as a whole.

    In memory that is :class:`MemorySink`; on disk it is :class:`kronos_sc._store.EmbeddingStore` itself.
    """

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


def _unchanged(block: FeatureBlock) -> FeatureBlock:
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

    stager = staticmethod(_unchanged)

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
