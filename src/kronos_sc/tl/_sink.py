"""Where features go while an embedding is made: one block after the other, in any order."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Sink(Protocol):
    """Takes features row by row and gives them back as a whole."""

    def write(self, kind: str, rows: np.ndarray, features: np.ndarray) -> None:
        """Put the features of some rows of the table."""

    def result(self, kind: str) -> np.ndarray:
        """Return all rows of one kind."""


class MemorySink:
    """Holds everything in memory; rows that are never written are NaN.

    Parameters
    ----------
    rows
        Of the table.
    widths
        Features per row, by kind.
    dtype
        `float32` or `float16`.
    """

    def __init__(self, rows: int, widths: dict[str, int], dtype: str) -> None:
        self._arrays = {kind: np.full((rows, width), np.nan, dtype) for kind, width in widths.items()}

    def write(self, kind: str, rows: np.ndarray, features: np.ndarray) -> None:
        """Put the features of some rows of the table."""
        self._arrays[kind][rows] = features

    def result(self, kind: str) -> np.ndarray:
        """Return all rows of one kind (rows × width)."""
        return self._arrays[kind]
