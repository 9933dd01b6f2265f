"""The value range of pixels: what becomes 1."""

from __future__ import annotations

import numpy as np

from kronos_sc._core.checks import positive_number

_FULL_SCALE = {"u1": 255.0, "u2": 65535.0}


def max_value(dtype: np.dtype, given: float | None, *, image: str) -> float:
    """Return the raw value that becomes 1: `given`, or the full scale of 8- and 16-bit images, or 1 for floats."""
    dtype = np.dtype(dtype)
    if given is not None:
        return positive_number(given, name="max_value")
    if dtype.kind == "f":
        return 1.0
    scale = _FULL_SCALE.get(f"{dtype.kind}{dtype.itemsize}")
    if scale is None:
        msg = (
            f"Image {image!r} has dtype {dtype}, whose full scale is not defined "
            "(uint8: 255, uint16: 65535, float: 1). Say which value is full scale with max_value=."
        )
        raise ValueError(msg)
    return scale


def check_range(pixels: np.ndarray, *, given: float | None, image: str) -> None:
    """Raise a ValueError for values that the scale does not cover.

    They are negative integers, and floats beyond [0, 1] without a scale.
    """
    is_float = pixels.dtype.kind == "f"
    if pixels.size == 0 or pixels.dtype.kind == "u" or (is_float and given is not None):
        return
    low, high = pixels.min(), pixels.max()
    if is_float and (low < 0 or high > 1):
        msg = (
            f"Image {image!r} holds floats from {low:.4g} to {high:.4g}; without a scale they must lie in [0, 1]. "
            "Say which value is full scale with max_value= (the brightest value of the instrument, not of this image)."
        )
        raise ValueError(msg)
    if low < 0:
        msg = f"Image {image!r} holds the negative value {low}. Subtract the offset and store it as uint16 first."
        raise ValueError(msg)
