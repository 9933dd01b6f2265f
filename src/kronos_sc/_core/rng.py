"""Randomness: one generator at the boundary, a child of its own for each unit of work."""

from __future__ import annotations

import numpy as np

Seed = int | np.random.Generator | None


def start(rng: Seed) -> np.random.Generator:
    """Return the generator of one call."""
    return np.random.default_rng(rng)


def seed(rng: Seed) -> int | str:
    """Return what the record says of it: the seed, or that it was not one."""
    if isinstance(rng, int | np.integer):
        return int(rng)
    return "none" if rng is None else "generator"


def integer(rng: np.random.Generator) -> int:
    """Return a seed for a library that takes integers."""
    return int(rng.integers(2**31 - 1))
