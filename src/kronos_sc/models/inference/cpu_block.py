"""Blocks on a processor: windows become the model's input in one compiled pass."""

# Shapes: b units, m markers, s pixels.
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kronos_sc._core.arrays import writable

if TYPE_CHECKING:
    from kronos_sc.models.inference.runner import Recipe

PIXELS = frozenset({"uint8", "uint16", "float32"})
FORMATS = {torch.float32: (torch.int32, np.uint32), torch.bfloat16: (torch.int16, np.uint16)}


class Desk:
    """Room for one batch, used again and again: fresh memory for each costs as much as filling it.

    Parameters
    ----------
    recipe
        How pixels become input.
    gain, zero
        Float32 per marker: input = pixel · gain + zero.
    dtype
        Float32 or bfloat16, rounded once, after the same sums in float32.
    """

    def __init__(self, recipe: Recipe, gain: torch.Tensor, zero: torch.Tensor, dtype: torch.dtype) -> None:
        self.fill, self.dtype, self.markers = recipe.mask_fill, dtype, len(recipe.ids)
        gain, zero = gain.flatten().numpy(), zero.flatten().numpy()
        self.scale = gain, zero, (zero if recipe.mask_fill == "zero" else np.zeros_like(zero))
        self.room(0, 0)

    def room(self, units: int, size: int) -> None:
        """Make room for so many windows."""
        self.size = units, size
        self.input = torch.empty((units, self.markers, size, size), dtype=self.dtype)
        signed, unsigned = FORMATS[self.dtype]
        self.bits = self.input.view(signed).numpy().view(unsigned)
        self.masks = np.empty((units, size, size), bool)
        self.ends = np.empty((2, units, size), np.int64)
        self.whole = np.ones((units, size, size), bool), np.full((units, size), 0), np.full((units, size), size)

    def owns(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is a view of this room, which the next batch overwrites."""
        start = tensor.untyped_storage().data_ptr()
        return tensor.numel() > 0 and start in (self.input.untyped_storage().data_ptr(), self.masks.ctypes.data)


class Filled:
    """One block, from which batches of ready input are made.

    Parameters
    ----------
    block
        A loaded block of :mod:`kronos_sc.patches`.
    desk
        Where to.
    """

    def __init__(self, block: Any, desk: Desk) -> None:
        self.block, self.desk = block, desk
        self.index, self.units = block.index, block.units

    def input(self, part: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return input (b, m, s, s), masks (b, s, s) and the pixels of each unit (b, int64) of some units."""
        from kronos_sc.models.inference import fill

        block, desk = self.block, self.desk
        y, x = (writable(corner[part], np.int64) for corner in (block.y, block.x))
        count = len(y)
        if desk.size[0] < count or desk.size[1] != block.size:
            desk.room(count, block.size)
        masks, pixels = desk.masks[:count], np.empty(count, np.int64)
        self._masks(part, y, x, masks)
        first, last = desk.ends[0, :count], desk.ends[1, :count]
        fill.spans(masks, first, last, pixels)
        seen, first, last = (array[:count] for array in desk.whole) if desk.fill is None else (masks, first, last)
        fill.fill(block.pixels, (y, x), desk.scale, seen, (first, last), desk.bits[:count])
        return desk.input[:count], torch.from_numpy(writable(masks)), torch.from_numpy(writable(pixels))

    def _masks(self, part: slice, y: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
        """Write masks: the unit's label, or the part of a box that lies on the image."""
        block, size = self.block, self.block.size
        if block.labels is not None:
            ids = block.ids[part].astype(block.labels.dtype)
            for mask, label, i, j in zip(out, ids, y.tolist(), x.tolist(), strict=True):
                np.equal(block.labels[i : i + size, j : j + size], label, out=mask)
            return
        top, bottom, left, right = block.inside
        rows, columns = (np.arange(size) + start[:, None] for start in (y, x))
        np.logical_and(((rows >= top) & (rows < bottom))[:, :, None], ((columns >= left) & (columns < right))[:, None, :], out=out)


def fits(block: Any, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a block can go the compiled way: on a processor, windows as large as the input, common number formats.

    Compiled code checks no bounds: a block whose windows leave it goes torch's way, which raises an error.
    """
    if device.type != "cpu" or block.size != recipe.patch_size or dtype not in FORMATS:
        return False
    if block.pixels.dtype.name not in PIXELS or not block.pixels.dtype.isnative or len(block.pixels) != len(recipe.ids):
        return False
    ends = ((start, extent - block.size) for start, extent in zip((block.y, block.x), block.pixels.shape[1:], strict=True))
    return all(len(start) == 0 or (start.min() >= 0 and start.max() <= most) for start, most in ends)
