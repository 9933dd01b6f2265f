"""Looks at pixels as they pass: values outside the scale stop the run, suspicious ones are warned about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.intensity import check_range
from kronos_sc._core.warn import warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kronos_sc.patches import LoadedBlock, Plan, Units

_DIM = 256 / 65536  # an 8-bit signal in a 16-bit container
_SAMPLES = 200_000  # per channel; enough for a 99.9th percentile


def watched(blocks: Iterator[LoadedBlock], plan: Plan, max_value: float, given: float | None) -> Iterator[LoadedBlock]:
    """Yield blocks unchanged; raise for values outside the scale, warn once if even bright pixels are nearly zero on it."""
    brightest = 0.0
    for block in blocks:
        check_range(block.pixels, given=given, image=plan.image.name)
        brightest = max(brightest, _bright(block.pixels) / max_value)
        yield block
    if plan.blocks and brightest < _DIM:
        warn(
            f"Image {plan.image.name!r} is almost empty on its scale: the 99.9th percentile of its brightest channel is {brightest:.2g} of full scale "
            f"({max_value:g}). Counts in a {plan.image.data.dtype} container? Say which value is full scale with max_value=."
        )


def _bright(pixels: np.ndarray) -> float:
    """Return the largest 99.9th percentile of any channel, from evenly spaced pixels."""
    flat = pixels.reshape(len(pixels), -1)
    step = max(1, flat.shape[1] // _SAMPLES)
    return float(np.percentile(flat[:, ::step], 99.9, axis=1).max()) if flat.size else 0.0


def warn_if_cut(units: Units, inside: np.ndarray) -> None:
    """Warn about cells of which a good part lies beyond their window."""
    if units.area is None or units.labels is None:
        return
    scale = units.labels.affine.scale
    cut = inside < 0.9 * units.area * scale[0] * scale[1]
    if cut.any():
        warn(
            f"{int(cut.sum())} of {len(units)} cells of {units.region!r} have more than a tenth of their pixels beyond the window of {units.size} pixels. "
            "Choose a larger patch_size, or a coarser mpp."
        )
