"""A draw with as many units of each group as there are, up to a number, and what is usual in it."""

from __future__ import annotations

import numpy as np


def sample_per_class(codes: np.ndarray, most: int | None, rng: np.random.Generator) -> np.ndarray:
    """Return rows (sorted, int64) with up to `most` of every class, at random; those of class −1 never."""
    order = rng.permutation(len(codes))
    members = [order[codes[order] == code] for code in range(int(codes.max(initial=-1)) + 1)]
    return np.sort(np.concatenate([part[:most] for part in members] or [np.zeros(0, np.int64)]))


def standardised(values: np.ndarray) -> np.ndarray:
    """Return values (units × markers) with mean 0 and standard deviation (n) 1 per marker.

    0 where a marker has no spread.
    """
    mean = values.mean(0, dtype=np.float64)
    sd = values.std(0, dtype=np.float64)
    # a marker that is the same everywhere still varies by the rounding of float32
    flat = sd <= 1e-6 * np.maximum(np.abs(mean), 1e-30)
    return np.where(flat, 0.0, (values - mean) / np.where(flat, 1.0, sd)).astype(np.float32)
