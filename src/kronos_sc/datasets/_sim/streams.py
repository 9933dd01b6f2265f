"""Named random streams and smooth random fields."""

from __future__ import annotations

import math
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Streams:
    """Independent generators, one per name, all from one number.

    A generator depends on the entropy and its own name only, so that adding a channel or an image leaves all others as
    they were.
    """

    entropy: int

    @classmethod
    def start(cls, rng: int | np.random.Generator | None) -> Streams:
        """Draw the entropy of a simulation from the user's `rng`."""
        return cls(int(np.random.default_rng(rng).integers(2**63)))

    def get(self, *names: str | int) -> np.random.Generator:
        """Return the generator called `names`, always from its beginning."""
        words = [crc32(str(name).encode()) for name in names]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.entropy, *words])))


def upsample(field: np.ndarray, step: float, shape: tuple[int, int]) -> np.ndarray:
    """Interpolate a coarse field, whose cells are `step` pixels wide, linearly at the pixels of `shape`."""
    for axis, length in enumerate(shape):
        place = np.clip((np.arange(length) + 0.5) / step - 0.5, 0, field.shape[axis] - 1)
        low = np.minimum(place.astype(np.int64), max(field.shape[axis] - 2, 0))
        high = np.minimum(low + 1, field.shape[axis] - 1)
        weight = (place - low).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        lower = np.take(field, low, axis=axis)
        field = lower + (np.take(field, high, axis=axis) - lower) * weight
    return field


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Return a float32 Gaussian random field of zero mean and unit variance with correlation length `sigma` pixels.

    Long correlations are drawn on a coarse grid and interpolated, so that the cost does not grow with `sigma`.
    """
    step = max(1, int(sigma // 3))
    inner = sigma / step
    pad = math.ceil(3 * inner) + 1
    coarse = tuple(math.ceil(side / step) + 2 * pad for side in shape)
    white = rng.standard_normal(coarse, dtype=np.float32)
    # White noise through a Gaussian of width s has variance 1 / (4 π s²).
    field = ndimage.gaussian_filter(white, inner, truncate=3.0) * np.float32(2 * inner * math.sqrt(math.pi))
    field = field[pad:-pad, pad:-pad]
    return field if step == 1 else upsample(field, step, shape)
