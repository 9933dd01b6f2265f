"""The only inference loop: a block goes to the device once; windows are cut, scaled, masked and encoded there."""

# Shapes: b units, m markers, s source pixels, p patch pixels.
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from kronos_sc._core.arrays import writable
from kronos_sc._core.log import info
from kronos_sc.models.inference import instructions
from kronos_sc.models.inference.cpu_block import CpuBlock, InputBuffer, fits
from kronos_sc.models.inference.device_block import DeviceBlock, DeviceTransfer, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kronos_sc.models._model import Model

# Bytes of one number of every token of a pass. A processor is fastest while the activations stay in its cache
# (measured: 2,500 tokens in float32, 5,000 in bfloat16); a GPU wants enough work to fill it.
_PASS = {"cpu": 10_000, "cuda": 320_000, "mps": 40_000}
_INPUT = 2**23  # bytes of input of a pass on a processor, for models to which a unit is one token


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


@dataclass(frozen=True)
class Encoded:
    """Features of some units.

    Parameters
    ----------
    block
        Index of the loaded block that all of them belong to.
    units
        Positions in the plan (int64).
    features
        Float32 array (units, ·) per kind.
    pixels
        Pixels of the window that belong to each unit (int64).
    """

    block: int
    units: np.ndarray
    features: dict[str, np.ndarray]
    pixels: np.ndarray


def auto_batch(model: Model, patch_size: int, markers: int, *, device: torch.device, dtype: torch.dtype) -> int:
    """Return how many units one pass takes.

    On CUDA no more than half of the free memory holds, by a generous estimate.
    """
    tokens = model.tokens(patch_size, markers)
    size = _PASS.get(device.type, _PASS["mps"]) // (dtype.itemsize * tokens)
    if device.type == "cpu":
        size = min(size, _INPUT // (4 * markers * patch_size**2))
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own reserve
        size = min(size, free // 2 // _unit_bytes(tokens, model.width("cls", markers), markers * patch_size**2, dtype))
    return max(1, size)


def _unit_bytes(tokens: int, width: int, pixels: int, dtype: torch.dtype) -> int:
    """Return bytes that one unit takes at most: a block's activations with everything that is alive beside them, and its pixels."""
    return 16 * tokens * width * dtype.itemsize + 16 * pixels


def run(
    model: Model,
    blocks: Iterable[Any],
    config: PreprocessConfig,
    *,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int | None = None,
) -> Iterator[Encoded]:
    """Encode the units of all blocks, block by block: a batch never spans two, so features do not depend on what else is in a run.

    Parameters
    ----------
    model
        The encoder.
    blocks
        Loaded blocks of :mod:`kronos_sc.patches`.
    recipe
        How pixels become input.
    device, dtype
        Where and in which number format the network runs; pixels are prepared in float32.
    batch_size
        Units per pass; None lets the device decide.
    """
    model = model.at(device, dtype)
    transfer = DeviceTransfer(device)
    size = batch_size or auto_batch(model, config.patch_size, len(config.ids), device=device, dtype=dtype)
    prepare = Preprocessor(config, device, model.input_format)
    previous: PendingBatch | None = None
    for block in opened(blocks, prepare.opener(transfer), ahead=transfer.copy_stream is not None):
        start = 0
        while start < len(block.units):
            part = slice(start, min(start + size, len(block.units)))
            pending = _encoded(model, prepare, block, part, transfer, dtype)
            if pending is None:
                size = _halved(part, device)
                continue
            start = part.stop
            # results are fetched one batch late, so that a GPU works while the next batch is cut
            if previous is not None:
                yield previous.result()
            previous = pending
    if previous is not None:
        yield previous.result()


def _encoded(
    model: Model,
    prepare: Preprocessor,
    block: DeviceBlock | CpuBlock,
    part: slice,
    transfer: DeviceTransfer,
    dtype: torch.dtype,
) -> PendingBatch | None:
    """Return features of some units of a block, or None if they do not fit the device's memory."""
    try:
        with torch.inference_mode(), instructions.products(dtype, transfer.device):
            x_bmpp, mask_bpp, pixels = prepare.input(block, part)
            features = model.encode(x_bmpp, prepare.ids.expand(len(x_bmpp), -1), mask_bpp, prepare.config.features)
            return PendingBatch(
                block.index,
                block.units[part],
                {kind: prepare.kept(value) for kind, value in features.items()},
                pixels,
                transfer,
            )
    except torch.OutOfMemoryError as error:
        if part.stop - part.start == 1:
            error.add_note(
                f"Not even one unit fits the memory that is free on {transfer.device}. End what else runs there, "
                "choose device='cpu', or a smaller patch_size."
            )
            raise
    return None  # the error is gone by now, and with it what it held in memory


def _halved(part: slice, device: torch.device) -> int:
    size = (part.stop - part.start) // 2
    info(
        f"{part.stop - part.start} units at once do not fit the memory that is free on {device}: going on with {size} "
        f"(batch_size={size})"
    )
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return size


class PendingBatch:
    """Results on their way from the device."""

    def __init__(
        self,
        block: int,
        units: np.ndarray,
        features: dict[str, torch.Tensor],
        pixels: torch.Tensor,
        transfer: DeviceTransfer,
    ) -> None:
        self.block, self.units = block, units
        self.features = {kind: transfer.to_host(value) for kind, value in features.items()}
        self.pixels = transfer.to_host(pixels)
        self.event = transfer.fetched_event()

    def result(self) -> Encoded:
        """Return them once they are there."""
        if self.event is not None:
            self.event.synchronize()
        return Encoded(
            self.block, self.units, {kind: value.numpy() for kind, value in self.features.items()}, self.pixels.numpy()
        )


def _resampled(masks: torch.Tensor, size: int) -> torch.Tensor:
    """Return masks (b, size, size): pixels that the unit covers by half, and the best covered ones of a unit smaller than a pixel."""
    cover = F.adaptive_avg_pool2d(masks[:, None].float(), size)[:, 0]
    return (cover > 0) & (cover >= cover.amax((1, 2), keepdim=True).clamp_max(0.5))


class Preprocessor:
    """Raw windows → normalised input (spec: pixel / max_value, z-score, then the mask)."""

    def __init__(self, config: PreprocessConfig, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.config, self.device, self.dtype = config, device, dtype
        self.ids = torch.from_numpy(writable(config.ids, np.int64)).to(device)[None]
        mean, std = (
            torch.from_numpy(writable(values, np.float64))[:, None, None] for values in (config.mean, config.std)
        )
        self.gain = (1 / (config.max_value * std)).float().to(device)
        self.zero = (-mean / std).float().to(device)  # what a raw zero becomes
        self.buffer = InputBuffer(config, self.gain, self.zero, dtype) if device.type == "cpu" else None

    def opener(self, transfer: DeviceTransfer) -> Callable[[Any], DeviceBlock | CpuBlock]:
        """Return what makes a loaded block ready to be cut."""
        return lambda block: (
            CpuBlock(block, self.buffer)
            if fits(block, self.config, self.device, self.dtype)
            else DeviceBlock(block, transfer)
        )

    def input(self, block: DeviceBlock | CpuBlock, part: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return input (b, m, p, p), masks (b, p, p) and the number of raw pixels of each of some units (b)."""
        if isinstance(block, CpuBlock):
            return block.input(part)
        windows, masks = block.cut(part)
        return *self(windows, masks), masks.sum((1, 2))

    def kept(self, value: torch.Tensor) -> torch.Tensor:
        """Return a feature in float32 that the next batch leaves alone and that keeps nothing else in memory."""
        value = value.float()
        if self.buffer is None:
            return value
        # a class token is a view of all tokens, a model that returns its input one of the room for the next batch
        return (
            value.clone() if value.untyped_storage().nbytes() > value.nbytes or self.buffer.is_view_of(value) else value
        )

    def __call__(self, windows: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input (b, m, p, p) in float32 and masks (b, p, p)."""
        x = self._as_float(windows)
        size = self.config.patch_size
        if x.shape[-1] != size:
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
            masks = _resampled(masks, size)
        x = torch.addcmul(self.zero, x, self.gain, out=x)
        if self.config.mask_fill == "mean":
            x.mul_(masks[:, None])
        elif self.config.mask_fill == "zero":
            x = torch.where(masks[:, None], x, self.zero)
        return x, masks

    @staticmethod
    def _as_float(windows: torch.Tensor) -> torch.Tensor:
        if windows.dtype == torch.int16:  # 16-bit pixels travel as signed numbers
            windows = windows.view(torch.uint16)
        return windows.to(torch.float32, copy=True)
