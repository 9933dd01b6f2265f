"""Global and local views of a sample: random resized crops, flips and quarter turns, on the sample's device."""

# Shapes: b samples, t sets of markers, m markers, h × w pixels of a sample, v views, n = v · b crops, s × s pixels of a
# view.
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from kronos_pretrain.data import augment, resample
from kronos_pretrain.data.batch import GLOBAL_VIEWS, Crops, Samples
from kronos_pretrain.rng import RngStream, generator
from kronos_sc._core.arrays import writable

if TYPE_CHECKING:
    from kronos_pretrain.config.schema import Config

TRIES = 10
_DRAWS = 2 * TRIES + 5


class Boxes(NamedTuple):
    """Where views lie in their samples and how they are turned, (views, samples) each.

    Parameters
    ----------
    top, left, height, width
        In pixels of the sample.
    flip_rows, flip_columns
        Mirrored first, …
    turns
        … then turned by as many quarters, counter-clockwise.
    """

    top: np.ndarray
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray
    flip_rows: np.ndarray
    flip_columns: np.ndarray
    turns: np.ndarray


def views(samples: Samples, config: Config, *, seed: int) -> tuple[Crops, Crops]:
    """Return the global and the local views of samples.

    Crops are drawn as in Inception's training (Szegedy et al. 2015): area uniform in the asked range, logarithm of the
    aspect uniform, place uniform; they are resized by antialiased bicubic interpolation. View i shows set i modulo t of
    the sample's markers. All choices are drawn from (seed, step, sample number), so neither processes nor micro-batches
    change them.

    Parameters
    ----------
    samples
        Normalised samples; the views are made on their device.
    config
        Settings of the run: `views` and `augment`.
    seed
        Seed of the run.
    """
    b, _t, m, height, width = samples.pixels.shape
    c = config.views
    count = GLOBAL_VIEWS + c.local_count
    changing = augment.used(config.augment)

    # boxes first, then changes of intensity, so that switching these on does not move the boxes
    draws_bvd = np.empty((b, count, _DRAWS))
    intensity_draws = []
    for row, index in enumerate(samples.index.tolist()):
        rng = generator(seed, RngStream.VIEWS, step=samples.step, index=index)
        rng.random(out=draws_bvd[row])
        if changing:
            intensity_draws.append(augment.draw(rng, views=count, markers=m))
    changes = None
    if changing:
        changes = augment.stack(intensity_draws, config.augment, device=samples.pixels.device)

    def crops(part: slice, scale: tuple[float, float], size: int) -> Crops:
        draws_vbd = draws_bvd.swapaxes(0, 1)[part]
        placed = boxes(draws_vbd, (height, width), scale=scale, aspect=c.aspect, flip=c.flip, rotate=c.rotate)
        return _crops(samples, placed, size, changes.part(part) if changes else None)

    large = crops(slice(GLOBAL_VIEWS), c.global_scale, c.global_size)
    small = crops(slice(GLOBAL_VIEWS, None), c.local_scale, c.local_size)
    return large, small


def boxes(
    draws: np.ndarray,
    extent: tuple[int, int],
    *,
    scale: tuple[float, float],
    aspect: tuple[float, float],
    flip: bool,
    rotate: bool,
) -> Boxes:
    """Turn uniform numbers (…, 25) into boxes.

    The first of ten proposals that fits, else the largest centred crop of allowed aspect.
    """
    height, width = extent
    area = height * width * (scale[0] + (scale[1] - scale[0]) * draws[..., :TRIES])
    low, high = np.log(aspect)
    ratio = np.exp(low + (high - low) * draws[..., TRIES : 2 * TRIES])
    widths = np.rint(np.sqrt(area * ratio)).astype(np.int64)
    heights = np.rint(np.sqrt(area / ratio)).astype(np.int64)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.argmax(-1)[..., None]
    any_fits = fits.any(-1)

    largest = _largest(extent, aspect)
    h = np.where(any_fits, np.take_along_axis(heights, first, -1)[..., 0], largest[0])
    w = np.where(any_fits, np.take_along_axis(widths, first, -1)[..., 0], largest[1])
    place_h, place_w, flip_h, flip_w, quarter = np.moveaxis(draws[..., 2 * TRIES :], -1, 0)
    top = np.where(any_fits, (place_h * (height - h + 1)).astype(np.int64), (height - h) // 2)
    left = np.where(any_fits, (place_w * (width - w + 1)).astype(np.int64), (width - w) // 2)
    turns = (quarter * 4).astype(np.int64) * rotate
    return Boxes(top, left, h, w, flip & (flip_h < 0.5), flip & (flip_w < 0.5), turns)


def _largest(extent: tuple[int, int], aspect: tuple[float, float]) -> tuple[int, int]:
    height, width = extent
    if width / height < aspect[0]:
        return min(height, round(width / aspect[0])), width
    if width / height > aspect[1]:
        return height, min(width, round(height * aspect[1]))
    return height, width


def _crops(samples: Samples, placed: Boxes, size: int, changes: augment.Changes | None) -> Crops:
    """Cut the views of one size.

    A quarter turn is a mirrored axis and a transposition, so the matrices do most of it.
    """
    count = len(placed.top)
    b, t, m, height, width = samples.pixels.shape
    device = samples.pixels.device
    on_device = torch.from_numpy(writable(np.stack(placed))).to(device, non_blocking=True)  # in one copy
    top, left, h, w, flip_rows, flip_columns, turns = on_device
    rows = resample.weights(top, h, flip_rows.bool() ^ (turns >= 2), size=size, extent=height)
    columns = resample.weights(left, w, flip_columns.bool() ^ ((turns == 1) | (turns == 2)), size=size, extent=width)
    if changes is not None and changes.sigma is not None:
        blur = resample.blur(changes.sigma, size)
        rows = blur @ rows
        columns = blur @ columns
    turned = turns % 2 == 1

    if t == 1:
        pixels = resample.apply(samples.pixels[:, 0], rows, columns, turned)
    else:
        pixels = samples.pixels.new_empty((count, b, m, size, size))
        for marker_set in range(t):
            shown = slice(marker_set, None, t)  # the views of this set
            pixels[shown] = resample.apply(samples.pixels[:, marker_set], rows[shown], columns[shown], turned[shown])
    ids = samples.marker_ids.to(device).transpose(0, 1)[torch.arange(count, device=device) % t]
    if changes is not None:
        pixels = augment.apply(pixels, changes, samples.zero)
    return Crops(pixels.flatten(0, 1), ids.flatten(0, 1), count)
