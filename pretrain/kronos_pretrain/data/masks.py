"""What the student does not see of the global views: block-wise masks.

BEiT (Bao et al. 2022), iBOT (Zhou et al. 2022).
"""

# Shapes: B samples of a step, b those of this pass, r × c tokens of a view.
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from kronos_pretrain.data.batch import GLOBAL_VIEWS
from kronos_pretrain.rng import RngStream, generator
from kronos_sc._core.arrays import writable

if TYPE_CHECKING:
    from kronos_pretrain.config.schema import Masks

PROPOSALS = 64
SMALLEST = 4  # tokens of a block, unless fewer are left to hide
_STEP = 2**32  # index of what belongs to a whole step; crops have smaller numbers


def masks(
    config: Masks, *, seed: int, step: int, index: torch.Tensor, batch: int, grid: tuple[int, int]
) -> torch.Tensor:
    """Return the hidden positions of the global views (2 · b, r · c), bool, view 0 of every sample first.

    Exactly the asked fraction of the step's 2 · B views is masked. Each of those has a stratum of its own of the range
    of ratios (as in DINOv2, Oquab et al. 2023), and hides exactly the number of positions drawn there, at least one and
    not all.

    Parameters
    ----------
    config
        Settings.
    seed, step
        Of the run.
    index
        Numbers of this pass's samples within the step's batch (b,).
    batch
        Samples of the step over all processes, B.
    grid
        Rows and columns of tokens of a view.
    """
    # the place of a view decides whether it is masked, and which stratum of the ratios it has
    crops = GLOBAL_VIEWS * batch
    masked = round(config.fraction * crops)
    place = np.empty(crops, dtype=np.int64)
    place[generator(seed, RngStream.MASKS, step=step, index=_STEP).permutation(crops)] = np.arange(crops)

    numbers = (np.arange(GLOBAL_VIEWS)[:, None] * batch + index.cpu().numpy()).ravel()
    hidden = np.zeros((len(numbers), *grid), dtype=bool)
    low, high = config.ratio
    for row in np.flatnonzero(place[numbers] < masked).tolist():
        number = int(numbers[row])
        rng = generator(seed, RngStream.MASKS, step=step, index=number)
        ratio = low + (high - low) * (place[number] + rng.random()) / masked
        tokens = hidden[row].size
        cover(hidden[row], max(1, min(tokens - 1, round(ratio * tokens))), config.aspect, rng)
    return torch.from_numpy(writable(hidden.reshape(len(numbers), -1)))


def cover(hidden: np.ndarray, count: int, aspect: float, rng: np.random.Generator) -> None:
    """Hide exactly `count` positions of an empty mask (r, c), in place.

    Random blocks that add no more than is left, then single positions.

    Parameters
    ----------
    hidden
        The mask.
    count
        Positions to hide.
    aspect
        Least height over width of a block; the largest is its inverse.
    rng
        Source of random numbers.
    """
    rows, columns = hidden.shape
    remaining = count
    for size, shape, down, across in rng.random((PROPOSALS, 4)).tolist():
        if remaining < SMALLEST:
            break
        height, width = block_extent(size, shape, most=remaining, aspect=aspect)
        if height > rows or width > columns:
            continue
        top = int(down * (rows - height + 1))
        left = int(across * (columns - width + 1))
        block = hidden[top : top + height, left : left + width]
        new = height * width - int(np.count_nonzero(block))
        if new <= remaining:
            block[...] = True
            remaining -= new
    if remaining:
        free = np.flatnonzero(~hidden)
        hidden.ravel()[rng.choice(free, remaining, replace=False, shuffle=False)] = True


def block_extent(size: float, shape: float, *, most: int, aspect: float) -> tuple[int, int]:
    """Turn two uniform numbers into the height and width of a block.

    The area is uniform up to `most`, and so is the logarithm of the aspect.
    """
    area = SMALLEST + size * (most - SMALLEST)
    ratio = aspect ** (1 - 2 * shape)
    return round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
