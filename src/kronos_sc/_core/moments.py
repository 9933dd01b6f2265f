"""Mean and spread of a stream of numbers, in one pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of a stream of numbers (Chan, Golub & LeVeque 1983)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: np.ndarray) -> None:
        """Take in an array; whole numbers are summed exactly."""
        n = values.size
        if n == 0:
            return
        if values.dtype.kind in "ui" and values.dtype.itemsize <= 2:
            # int64 holds the squares of 2**31 pixels of 16 bits; the rest is Python's exact whole numbers
            whole = values.astype(np.int64, copy=False).ravel()
            total = int(whole.sum())
            squared = int(np.dot(whole, whole))
            mean = total / n
            squares = (squared * n - total * total) / n
        else:
            mean = float(values.mean(dtype=np.float64))
            squares = float(np.square(values.astype(np.float64) - mean).sum())
        self.merge(Moments(n, mean, squares))

    def merge(self, other: Moments, *, scale: float = 1.0) -> None:
        """Take in the moments of other numbers, each divided by `scale`."""
        if other.count == 0:
            return
        delta = other.mean / scale - self.mean
        total = self.count + other.count
        self.squares += other.squares / scale**2 + delta * delta * self.count * other.count / total
        self.mean += delta * other.count / total
        self.count = total

    @property
    def std(self) -> float:
        """Population standard deviation; NaN of nothing."""
        return math.sqrt(self.squares / self.count) if self.count else math.nan
