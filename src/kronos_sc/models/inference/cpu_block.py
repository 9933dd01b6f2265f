"""Blocks on a processor: windows become the model's input in one compiled pass."""

# Shapes: b units, m markers, s pixels.
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kronos_sc._core.arrays import writable

if TYPE_CHECKING:
    from kronos_sc.models.inference.preprocess import PreprocessConfig

PIXEL_TYPES = frozenset({"uint8", "uint16", "float32"})
# input format: signed and unsigned integers of the same width, because NumPy has no bfloat16
FORMATS = {torch.float32: (torch.int32, np.uint32), torch.bfloat16: (torch.int16, np.uint16)}


class InputBuffer:
    """Memory for the input of one batch, used again and again: fresh memory for each costs as much as filling it.

    Parameters
    ----------
    config
        How pixels become input.
    gain, zero
        Float32 per marker: input = pixel · gain + zero.
    dtype
        Float32 or bfloat16, rounded once, after the same sums in float32.
    """

    def __init__(self, config: PreprocessConfig, gain: torch.Tensor, zero: torch.Tensor, dtype: torch.dtype) -> None:
        self.mask_fill = config.mask_fill
        self.dtype = dtype
        self.n_markers = len(config.ids)
        zero_m = zero.flatten().numpy()
        outside_m = zero_m if config.mask_fill == "zero" else np.zeros_like(zero_m)
        self.scale = gain.flatten().numpy(), zero_m, outside_m
        self.allocate(0, 0)

    def allocate(self, units: int, size: int) -> None:
        """Allocate memory for so many windows of so many pixels."""
        self.shape = units, size
        self.input = torch.empty((units, self.n_markers, size, size), dtype=self.dtype)
        signed, unsigned = FORMATS[self.dtype]
        self.bits = self.input.view(signed).numpy().view(unsigned)
        self.masks = np.empty((units, size, size), bool)
        self.ends = np.empty((2, units, size), np.int64)
        # masks that cover whole windows, for input that keeps what lies outside the unit
        self.full_masks = np.ones((units, size, size), bool)
        self.full_ends = np.full((units, size), 0), np.full((units, size), size)

    def is_view_of(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is a view of this memory, which the next batch overwrites."""
        start = tensor.untyped_storage().data_ptr()
        own = (self.input.untyped_storage().data_ptr(), self.masks.ctypes.data)
        return tensor.numel() > 0 and start in own


class CpuBlock:
    """One block, from which batches of ready input are made.

    Parameters
    ----------
    block
        A loaded block of :mod:`kronos_sc.patches`.
    buffer
        Where the input is written.
    """

    def __init__(self, block: Any, buffer: InputBuffer) -> None:
        self.block = block
        self.buffer = buffer
        self.index = block.index
        self.units = block.units

    def input(self, part: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return input (b, m, s, s), masks (b, s, s) and the pixels of each unit (b, int64) of some units."""
        from kronos_sc.models.inference import fill  # compiled when it is first needed

        block = self.block
        buffer = self.buffer
        y, x = (writable(corner[part], np.int64) for corner in (block.y, block.x))
        count = len(y)
        allocated, size = buffer.shape
        if allocated < count or size != block.size:
            buffer.allocate(count, block.size)

        masks = buffer.masks[:count]
        self._write_masks(part, y, x, masks)
        first, last = buffer.ends[:, :count]
        pixels = np.empty(count, np.int64)
        fill.spans(masks, first, last, pixels)

        # pixels are counted inside the unit, whatever is kept outside of it
        if buffer.mask_fill is None:
            fill_masks = buffer.full_masks[:count]
            first, last = (ends[:count] for ends in buffer.full_ends)
        else:
            fill_masks = masks
        fill.fill(block.pixels, (y, x), buffer.scale, fill_masks, (first, last), buffer.bits[:count])
        return buffer.input[:count], torch.from_numpy(writable(masks)), torch.from_numpy(writable(pixels))

    def _write_masks(self, part: slice, y: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
        """Write masks: the unit's label, or the part of a box that lies on the image."""
        block = self.block
        size = block.size
        if block.labels is not None:
            ids = block.ids[part].astype(block.labels.dtype)
            for mask, label, i, j in zip(out, ids, y.tolist(), x.tolist(), strict=True):
                np.equal(block.labels[i : i + size, j : j + size], label, out=mask)
            return
        top, bottom, left, right = block.inside
        rows, columns = (np.arange(size) + start[:, None] for start in (y, x))
        inside_y = (rows >= top) & (rows < bottom)
        inside_x = (columns >= left) & (columns < right)
        np.logical_and(inside_y[:, :, None], inside_x[:, None, :], out=out)


def takes_compiled_path(block: Any, config: PreprocessConfig, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a block can take the compiled path: on a processor, windows as large as the input, common number formats.

    Compiled code checks no bounds: a block whose windows leave it takes torch's path, which raises an error.
    """
    if device.type != "cpu" or block.size != config.patch_size or dtype not in FORMATS:
        return False
    pixels = block.pixels
    if pixels.dtype.name not in PIXEL_TYPES or not pixels.dtype.isnative or len(pixels) != len(config.ids):
        return False
    for start, extent in zip((block.y, block.x), pixels.shape[1:], strict=True):
        if len(start) and (start.min() < 0 or start.max() > extent - block.size):
            return False
    return True
