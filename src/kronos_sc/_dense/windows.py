"""Overlapping windows over an image, and the one grid that all their tokens lie on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc import patches
from kronos_sc._core.warn import warn
from kronos_sc._embedding.window import check_patch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kronos_sc.models import Model
    from kronos_sc.models._model import TokenGrid


@dataclass(frozen=True)
class Tiling:
    """Windows whose origins are multiples of the token step, so that tokens of all windows coincide.

    Token (i, j) of the map covers `step` pixels along each axis, from `corner + i · step` on.

    Parameters
    ----------
    shape
        Of the image in pixels.
    size
        Edge of a window in pixels.
    grid
        Tokens of one window.
    stride
        Pixels from one window to the next, a multiple of the step.
    """

    shape: tuple[int, int]
    size: int
    grid: TokenGrid
    stride: int

    @property
    def margin(self) -> float:
        """Pixels from the border of a window to the part of the image that its first token stands for."""
        return self.grid.first - self.grid.step / 2

    @property
    def start(self) -> int:
        """First row and column of the first window; negative where the first token would leave pixels uncovered."""
        return -self.grid.step * max(0, ceil(self.margin / self.grid.step))

    @property
    def corner(self) -> float:
        """Pixels from the image's corner to that of the map."""
        return self.start + self.margin

    @cached_property
    def origins(self) -> tuple[np.ndarray, np.ndarray]:
        """Origins of windows along each axis (int64).

        The last is moved so that less than one token lies beyond the border.
        """
        return tuple(self._along(edge) for edge in self.shape)

    def _along(self, edge: int) -> np.ndarray:
        step = self.grid.step
        last = max(self.start, step * ceil((edge - self.margin - self.grid.count * step) / step))
        return np.append(np.arange(self.start, last, self.stride, dtype=np.int64), np.int64(last))

    @property
    def map_shape(self) -> tuple[int, int]:
        """Rows and columns of the map: tokens that stand for at least a part of the image."""
        return tuple(ceil((edge - self.corner) / self.grid.step) for edge in self.shape)

    def units(self, region: str, pick: np.ndarray | None = None) -> patches.Units:
        """Return all windows, row by row, or some of them (positions), as units without masks."""
        ys, xs = self.origins
        if pick is None:
            pick = np.arange(len(ys) * len(xs))
        return patches.Units(region, np.arange(len(pick)), ys[pick // len(xs)], xs[pick % len(xs)], self.size)

    def first_token(self, units: patches.Units) -> tuple[np.ndarray, np.ndarray]:
        """Return row and column on the map of the first token of each unit (int64)."""
        return (units.y - self.start) // self.grid.step, (units.x - self.start) // self.grid.step

    def centres(self, axis: int) -> np.ndarray:
        """Return the centres of the map's tokens along an axis, in pixels of the image."""
        return self.corner + (np.arange(self.map_shape[axis]) + 0.5) * self.grid.step

    def home(self, axis: int) -> np.ndarray:
        """Return, for each token along an axis, the window in which it lies most central (position along that axis)."""
        first = (self.origins[axis] - self.start) // self.grid.step
        token = np.arange(self.map_shape[axis])
        off_centre = np.abs(token[:, None] - first - (self.grid.count - 1) / 2)  # smallest in windows that hold it
        return off_centre.argmin(axis=1)

    def weights(self) -> np.ndarray:
        """Return what a token counts by its place in the window (count × count, float32).

        A raised cosine, positive everywhere.
        """
        along = np.sin(np.pi * (np.arange(self.grid.count) + 0.5) / self.grid.count) ** 2
        return np.outer(along, along).astype(np.float32)


SAME_SIZE = 1.1
"""Pixel sizes that differ by no more than this factor count as one."""


def pixel_size_of(images: Sequence[patches.Raster]) -> float | None:
    """Return the micrometres per pixel of training images (their median), None where none records it.

    A warning if they differ.
    """
    sizes = {image.name: size for image in images if (size := patches.pixel_size(image)) is not None}
    if not sizes:
        return None
    small = min(sizes, key=sizes.__getitem__)
    large = max(sizes, key=sizes.__getitem__)
    if sizes[large] > SAME_SIZE * sizes[small]:
        warn(
            f"Images of different pixel sizes train one probe: {small!r} has {sizes[small]:g} µm per pixel, {large!r} "
            f"{sizes[large]:g}. Tokens are counted in pixels and show different lengths: train on images of one size, "
            "or resample them first."
        )
    return float(np.median(list(sizes.values())))


def window_size(patch_size: int | None, model: Model, default: int) -> int:
    """Return the edge of the windows: as told, if the model takes it, or the default rounded to what it takes."""
    if patch_size is None:
        multiple = model.card.patch_multiple
        return max(1, default // multiple) * multiple
    check_patch(patch_size, model)
    return patch_size


def tiling(image: patches.Raster, model: Model, size: int, overlap: float) -> Tiling:
    """Return the windows over an image; a ValueError if it is smaller than one."""
    grid = model.token_grid(size)
    if min(image.shape) < size:
        multiple = model.card.patch_multiple
        largest = min(image.shape) // multiple * multiple
        fix = f"The largest window that fits is patch_size={largest}." if largest else "No window of this model fits."
        msg = (
            f"Image {image.name!r} ({image.shape[0]} × {image.shape[1]} pixels) is smaller than a window of {size} "
            f"pixels. {fix}"
        )
        raise ValueError(msg)
    # in whole tokens, at least one, and never so many that tokens between windows are lost
    steps = min(max(1, round(size * (1 - overlap) / grid.step)), grid.count)
    stride = steps * grid.step
    return Tiling(image.shape, size, grid, stride)
