"""Looks at pixels as they pass: values outside the scale stop the run, suspicious ones are warned about."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.intensity import check_range
from kronos_sc._core.warn import warn
from kronos_sc.patches import covered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kronos_sc._embedding.jobs import RegionJob
    from kronos_sc.patches import PixelBlock, Units

_DIM = 256 / 65536  # an 8-bit signal in a 16-bit container
# windows of a block, every second pixel: enough for a 99.9th percentile, and a GPU does not wait for it
_N_WINDOWS = 16


def require_on_scale(blocks: Iterator[PixelBlock], job: RegionJob, brightest: dict[int, float]) -> Iterator[PixelBlock]:
    """Yield blocks unchanged and note how bright each one is, as a share of full scale.

    Raise for values outside the scale.
    """
    for block in blocks:
        try:
            check_range(block.pixels, given=job.given_max, image=job.plan.image.name)
        except ValueError:
            # what lies between the windows depends on the size of blocks, and nobody sees it
            check_range(block.pixels[:, covered(block)], given=job.given_max, image=job.plan.image.name)
        brightest[block.index] = _brightness_of(block) / job.max_value
        yield block


def warn_if_dim(job: RegionJob, brightest: float) -> None:
    """Warn about an image on whose scale even bright pixels are nearly zero."""
    if brightest < _DIM:
        image = job.plan.image
        warn(
            f"Image {image.name!r} is almost empty on its scale: the 99.9th percentile of its brightest channel is "
            f"{brightest:.2g} of full scale ({job.max_value:g}). Counts in a {image.data.dtype} container? Say which "
            "value is full scale with max_value=."
        )


def _brightness_of(block: PixelBlock) -> float:
    """Return the largest 99.9th percentile of any channel in evenly spaced windows."""
    sampled = np.linspace(0, len(block.units) - 1, min(_N_WINDOWS, len(block.units))).astype(int)
    corners = zip(block.y[sampled].tolist(), block.x[sampled].tolist(), strict=True)
    windows = [
        block.pixels[:, y : y + block.size : 2, x : x + block.size : 2].reshape(len(block.pixels), -1)
        for y, x in corners
    ]
    pixels = np.concatenate(windows, axis=1)
    rank = math.ceil(0.999 * (pixels.shape[1] - 1))
    return float(np.partition(pixels, rank, axis=1)[:, rank].max())


def warn_if_cut(units: Units, inside: np.ndarray) -> None:
    """Warn about cells of which a good part lies beyond their window."""
    if units.area is None or units.labels is None:
        return
    is_empty = inside == 0
    if is_empty.any():
        warn(
            f"{int(is_empty.sum())} of {len(units)} cells of {units.region!r} have no pixel of theirs in their window, "
            "so their features describe nothing. They vanish at a coarse scale=, or spatial_key= does "
            "not hold x and y in pixels of the image."
        )
    expected = units.area * units.labels.affine.area
    slack = 0
    if not units.labels.affine.identity:  # pixels of the outline, on another grid
        slack = 2 * np.sqrt(expected) + 1
    is_cut = ~is_empty & (inside < 0.9 * expected - slack)
    if is_cut.any():
        warn(
            f"{int(is_cut.sum())} of {len(units)} cells of {units.region!r} have more than a tenth of their pixels "
            f"beyond the window of {units.size} pixels. Choose a larger patch_size, or a coarser mpp."
        )
