"""Sizes: which part of an image becomes one input of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kronos_sc import patches

if TYPE_CHECKING:
    from kronos_sc.models import Model


@dataclass(frozen=True)
class WindowSize:
    """Size of the windows of one region.

    Parameters
    ----------
    patch
        Edge of the model's input in pixels.
    source
        Edge of the window on the image in pixels; None while the boxes' own size is to be taken.
    """

    patch: int | None
    source: int | None


def window(image: patches.Raster, *, patch_size: int | None, mpp: float | None, boxes: bool) -> WindowSize:
    """Return the window of a region; with `mpp` the image is resampled to that many micrometres per pixel."""
    patch = patch_size
    if patch is None and not boxes:  # cells have no size of their own that all of them fit
        patch = 64
    if mpp is None:
        return WindowSize(patch, patch)
    size = patches.pixel_size(image)
    if size is None:
        msg = (
            f"mpp={mpp} was asked for, but image {image.name!r} does not record its pixel size. Record it with "
            "io.set_pixel_size(sdata, µm per pixel)."
        )
        raise ValueError(msg)
    if not mpp > 0:
        msg = f"mpp must be a positive number of micrometres per pixel, got {mpp!r}."
        raise ValueError(msg)
    source = None if patch is None else max(1, round(patch * mpp / size))
    return WindowSize(patch, source)


def for_boxes(source: int, image: patches.Raster, model: Model, mpp: float | None) -> WindowSize:
    """Return the window of boxes of `source` pixels whose size the user left open.

    Their own size, or the nearest one that the model takes at `mpp`.
    """
    size = patches.pixel_size(image)
    if mpp is None or size is None:
        return WindowSize(source, source)
    multiple = model.card.patch_multiple
    patch = max(1, round(source * size / mpp / multiple)) * multiple
    return WindowSize(patch, max(1, round(patch * mpp / size)))


def check_patch(size: int, model: Model) -> None:
    """Raise a ValueError unless the model takes patches of this size."""
    multiple = model.card.patch_multiple
    if size < multiple or size % multiple:
        lower = max(multiple, size // multiple * multiple)
        msg = (
            f"patch_size={size!r} does not fit {model.card.name!r}, which takes multiples of {multiple} pixels. "
            f"Nearest: {lower} or {lower + multiple}."
        )
        raise ValueError(msg)
    model.tokens(size, 1)  # a model that fits windows to its patches by itself says which are too small
