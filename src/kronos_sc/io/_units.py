"""Lengths in micrometres, and pixel sizes that can be true of a microscope."""

from __future__ import annotations

import math
from numbers import Real

from kronos_sc._core.warn import warn

_MICROMETRES = {
    "µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "pm": 1e-6, "å": 1e-4, "inch": 25400.0, "in": 25400.0,
    '"': 25400.0, "ft": 304800.0, "pt": 25400 / 72, "mil": 25.4,
}  # fmt: skip
_SMALLEST, _LARGEST = 0.02, 20.0


def micrometres(unit: str) -> float | None:
    """Return how many micrometres a unit holds, or None if it is not a length (pixels, reference frames)."""
    return _MICROMETRES.get(unit.replace("\\u00B5", "µ").replace("μ", "µ").strip().lower())


def plausible(mpp: tuple[float, float]) -> bool:
    """Say whether a pixel of this size (µm) can come from a microscope or a mass spectrometer."""
    return all(_SMALLEST <= edge <= _LARGEST for edge in mpp)


def given_mpp(mpp: float | tuple[float, float]) -> tuple[float, float]:
    """Return the pixel size that a user gave as (y, x) in µm, or raise a ValueError."""
    pair = mpp
    if isinstance(mpp, Real) and not isinstance(mpp, bool):
        pair = (mpp, mpp)
    try:
        y, x = (float(edge) for edge in pair)  # type: ignore[union-attr]
    except (TypeError, ValueError):
        y = x = math.nan
    if not (math.isfinite(y) and math.isfinite(x) and y > 0 and x > 0):
        msg = (
            f"mpp={mpp!r} is not a pixel size. It is micrometres per pixel: one positive number, or two as (y, x), as "
            "in mpp=0.5."
        )
        raise ValueError(msg)
    if not plausible((y, x)):
        warn(
            f"mpp={mpp!r} means pixels of {y:g} × {x:g} µm, outside of {_SMALLEST:g}–{_LARGEST:g} µm, and is recorded "
            "as given. mpp is in micrometres: give 0.325 for 325 nm."
        )
    return y, x


def stored_size(mpp: tuple[float, float], origin: str, name: str) -> tuple[float, float] | None:
    """Return the pixel size that a file states, or warn and return None where it cannot be true."""
    if plausible(mpp):
        return mpp
    # resolution tags are often a printer's 72 or 300 dots per inch: no statement about tissue, so not worth a warning
    if origin != "resolution tags":
        warn(
            f"{name!r} states pixels of {mpp[0]:g} × {mpp[1]:g} µm ({origin}), outside of {_SMALLEST:g}–{_LARGEST:g} "
            "µm; no pixel size is recorded. Pass the true size with mpp=, in micrometres per pixel."
        )
    return None
