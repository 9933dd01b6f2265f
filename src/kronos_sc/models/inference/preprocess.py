"""From raw pixels to the input of a model: scaled, z-scored, resampled and masked."""

# Shapes: b units, m markers, s source pixels, p patch pixels.
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from kronos_sc._core.arrays import writable
from kronos_sc.models.inference.cpu_block import CpuBlock, InputBuffer, takes_compiled_path
from kronos_sc.models.inference.device_block import DeviceBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from kronos_sc.models.inference.device_block import DeviceTransfer


@dataclass(frozen=True)
class PreprocessConfig:
    """How raw pixels become the input of a model.

    Parameters
    ----------
    ids, mean, std
        One per marker, in panel order; statistics of pixels scaled to [0, 1].
    max_value
        Raw value that becomes 1.
    patch_size
        Edge of the model's input in pixels; windows of another size are resampled to it.
    mask_fill
        Pixels outside the unit become the marker's `"mean"`, raw `"zero"`, or are kept (None).
    features
        Kinds to compute.
    """

    ids: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    max_value: float
    patch_size: int
    mask_fill: str | None
    features: tuple[str, ...]


class Preprocessor:
    """Raw windows → normalised input (spec: pixel / max_value, z-score, then the mask)."""

    def __init__(self, config: PreprocessConfig, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.config = config
        self.device = device
        self.dtype = dtype
        self.ids = torch.from_numpy(writable(config.ids, np.int64)).to(device)[None]
        mean = torch.from_numpy(writable(config.mean, np.float64))[:, None, None]
        std = torch.from_numpy(writable(config.std, np.float64))[:, None, None]
        self.gain = (1 / (config.max_value * std)).float().to(device)
        self.zero = (-mean / std).float().to(device)  # what a raw zero becomes
        self.buffer = InputBuffer(config, self.gain, self.zero, dtype) if device.type == "cpu" else None

    def opener(self, transfer: DeviceTransfer) -> Callable[[Any], DeviceBlock | CpuBlock]:
        """Return what makes a loaded block ready to be cut."""
        buffer = self.buffer

        def open_block(block: Any) -> DeviceBlock | CpuBlock:
            if buffer is not None and takes_compiled_path(block, self.config, self.device, self.dtype):
                return CpuBlock(block, buffer)
            return DeviceBlock(block, transfer)

        return open_block

    def input(self, block: DeviceBlock | CpuBlock, part: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return input (b, m, p, p), masks (b, p, p) and the number of raw pixels of each of some units (b)."""
        if isinstance(block, CpuBlock):
            return block.input(part)
        windows, masks = block.cut(part)
        return *self(windows, masks), masks.sum((1, 2))

    def detached(self, feature: torch.Tensor) -> torch.Tensor:
        """Return a feature in float32 that the next batch leaves alone and that keeps nothing else in memory."""
        feature = feature.float()
        if self.buffer is None:
            return feature
        # a class token is a view of all tokens, and a model that returns its input returns the buffer of the next batch
        shares_memory = feature.untyped_storage().nbytes() > feature.nbytes or self.buffer.is_view_of(feature)
        return feature.clone() if shares_memory else feature

    def __call__(self, windows: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input (b, m, p, p) in float32 and masks (b, p, p)."""
        x = _as_float(windows)
        size = self.config.patch_size
        if x.shape[-1] != size:
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
            masks = resample_masks(masks, size)

        x = torch.addcmul(self.zero, x, self.gain, out=x)

        # after the z-score a marker's mean is 0, so a product with the mask fills with it
        if self.config.mask_fill == "mean":
            x.mul_(masks[:, None])
        elif self.config.mask_fill == "zero":
            x = torch.where(masks[:, None], x, self.zero)
        return x, masks


def _as_float(windows: torch.Tensor) -> torch.Tensor:
    if windows.dtype == torch.int16:  # 16-bit pixels travel as signed numbers
        windows = windows.view(torch.uint16)
    return windows.to(torch.float32, copy=True)


def resample_masks(masks: torch.Tensor, size: int) -> torch.Tensor:
    """Return masks (b, size, size).

    They hold the pixels that a unit covers by half, and the best covered ones of a unit smaller than a pixel.
    """
    cover = F.adaptive_avg_pool2d(masks[:, None].float(), size)[:, 0]
    return (cover > 0) & (cover >= cover.amax((1, 2), keepdim=True).clamp_max(0.5))
