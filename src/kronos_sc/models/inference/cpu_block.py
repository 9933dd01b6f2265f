"""Blocks on a processor: windows become the model's input in one compiled pass."""

# Shapes: b units, m markers, s pixels.
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kronos_sc._core.arrays import writable

if TYPE_CHECKING:
    from kronos_sc.models.inference.runner import PreprocessConfig

PIXELS = frozenset({"uint8", "uint16", "float32"})
FORMATS = {torch.float32: (torch.int32, np.uint32), torch.bfloat16: (torch.int16, np.uint16)}


class InputBuffer:
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

    def __init__(self, config: PreprocessConfig, gain: torch.Tensor, zero: torch.Tensor, dtype: torch.dtype) -> None:
        self.fill, self.dtype, self.markers = config.mask_fill, dtype, len(config.ids)
        gain, zero = gain.flatten().numpy(), zero.flatten().numpy()
        self.scale = gain, zero, (zero if config.mask_fill == "zero" else np.zeros_like(zero))
        self.allocate(0, 0)

    def allocate(self, units: int, size: int) -> None:
        """Make room for so many windows."""
        self.size = units, size
        self.input = torch.empty((units, self.markers, size, size), dtype=self.dtype)
        signed, unsigned = FORMATS[self.dtype]
        self.bits = self.input.view(signed).numpy().view(unsigned)
        self.masks = np.empty((units, size, size), bool)
        self.ends = np.empty((2, units, size), np.int64)
        self.whole = np.ones((units, size, size), bool), np.full((units, size), 0), np.full((units, size), size)

    def is_view_of(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is a view of this room, which the next batch overwrites."""
        start = tensor.untyped_storage().data_ptr()
        return tensor.numel() > 0 and start in (self.input.untyped_storage().data_ptr(), self.masks.ctypes.data)


class CpuBlock:
    """One block, from which batches of ready input are made.

    Parameters
    ----------
    block
        A loaded block of :mod:`kronos_sc.patches`.
    desk
        Where to.
    """

    def __init__(self, block: Any, buffer: InputBuffer) -> None:
        self.block, self.buffer = block, buffer
        self.index, self.units = block.index, block.units

    def input(self, part: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return input (b, m, s, s), masks (b, s, s) and the pixels of each unit (b, int64) of some units."""
        from kronos_sc.models.inference import fill

        block, buffer = self.block, self.buffer
        y, x = (writable(corner[part], np.int64) for corner in (block.y, block.x))
        count = len(y)
        if buffer.size[0] < count or buffer.size[1] != block.size:
            buffer.allocate(count, block.size)
        masks, pixels = buffer.masks[:count], np.empty(count, np.int64)
        self._masks(part, y, x, masks)
        first, last = buffer.ends[0, :count], buffer.ends[1, :count]
        fill.spans(masks, first, last, pixels)
        seen, first, last = (array[:count] for array in buffer.whole) if buffer.fill is None else (masks, first, last)
        fill.fill(block.pixels, (y, x), buffer.scale, seen, (first, last), buffer.bits[:count])
        return buffer.input[:count], torch.from_numpy(writable(masks)), torch.from_numpy(writable(pixels))

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
        np.logical_and(
            ((rows >= top) & (rows < bottom))[:, :, None], ((columns >= left) & (columns < right))[:, None, :], out=out
        )


def fits(block: Any, config: PreprocessConfig, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a block can go the compiled way: on a processor, windows as large as the input, common number formats.

    Compiled code checks no bounds: a block whose windows leave it goes torch's way, which raises an error.
    """
    if device.type != "cpu" or block.size != config.patch_size or dtype not in FORMATS:
        return False
    if block.pixels.dtype.name not in PIXELS or not block.pixels.dtype.isnative or len(block.pixels) != len(config.ids):
        return False
    ends = (
        (start, extent - block.size) for start, extent in zip((block.y, block.x), block.pixels.shape[1:], strict=True)
    )
    return all(len(start) == 0 or (start.min() >= 0 and start.max() <= most) for start, most in ends)
