"""The only inference loop: a block goes to the device once; windows are cut, scaled, masked and encoded there."""

# Shapes: b units, m markers, p patch pixels.
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from kronos_sc._core.log import info
from kronos_sc.models.inference import instructions
from kronos_sc.models.inference.device_block import DeviceTransfer, open_blocks
from kronos_sc.models.inference.preprocess import Preprocessor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from kronos_sc.models._model import Model
    from kronos_sc.models.inference.cpu_block import CpuBlock
    from kronos_sc.models.inference.device_block import DeviceBlock
    from kronos_sc.models.inference.preprocess import PreprocessConfig

# Bytes of one number of every token of a pass. A processor is fastest while the activations stay in its cache
# (measured: 2,500 tokens in float32, 5,000 in bfloat16); a GPU wants enough work to fill it.
_TOKEN_BYTES = {"cpu": 10_000, "cuda": 320_000, "mps": 40_000}
_INPUT_BYTES = 2**23  # input of a pass on a processor, for models to which a unit is one token


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
    size = _TOKEN_BYTES.get(device.type, _TOKEN_BYTES["mps"]) // (dtype.itemsize * tokens)
    if device.type == "cpu":
        size = min(size, _INPUT_BYTES // (4 * markers * patch_size**2))
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own reserve
        unit_bytes = _unit_bytes(tokens, model.width("cls", markers), markers * patch_size**2, dtype)
        size = min(size, free // 2 // unit_bytes)
    return max(1, size)


def _unit_bytes(tokens: int, width: int, pixels: int, dtype: torch.dtype) -> int:
    """Return the bytes that one unit takes at most.

    They are a block's activations with everything that is alive beside them, and the unit's pixels.
    """
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
    """Encode the units of all blocks, block by block.

    A batch never spans two blocks, so features do not depend on what else is in a run.

    Parameters
    ----------
    model
        The encoder.
    blocks
        Loaded blocks of :mod:`kronos_sc.patches`.
    config
        How pixels become input.
    device, dtype
        Where and in which number format the network runs; pixels are prepared in float32.
    batch_size
        Units per pass; None lets the device decide.
    """
    model = model.at(device, dtype)
    transfer = DeviceTransfer(device)
    size = batch_size or auto_batch(model, config.patch_size, len(config.ids), device=device, dtype=dtype)
    preprocessor = Preprocessor(config, device, model.input_format)
    previous: PendingBatch | None = None
    for block in open_blocks(blocks, preprocessor.opener(transfer), ahead=transfer.copy_stream is not None):
        start = 0
        while start < len(block.units):
            part = slice(start, min(start + size, len(block.units)))
            pending = _encode_batch(model, preprocessor, block, part, transfer, dtype)
            if pending is None:
                size = _halve_batch(part, device)
                continue
            start = part.stop

            # results are fetched one batch late, so that a GPU works while the next batch is cut
            if previous is not None:
                yield previous.result()
            previous = pending
    if previous is not None:
        yield previous.result()


def _encode_batch(
    model: Model,
    preprocessor: Preprocessor,
    block: DeviceBlock | CpuBlock,
    part: slice,
    transfer: DeviceTransfer,
    dtype: torch.dtype,
) -> PendingBatch | None:
    """Return features of some units of a block, or None if they do not fit the device's memory."""
    try:
        with torch.inference_mode(), instructions.products(dtype, transfer.device):
            x_bmpp, mask_bpp, pixels = preprocessor.input(block, part)
            ids_bm = preprocessor.ids.expand(len(x_bmpp), -1)
            features = model.encode(x_bmpp, ids_bm, mask_bpp, preprocessor.config.features)
            features = {kind: preprocessor.detached(value) for kind, value in features.items()}
            return PendingBatch(block.index, block.units[part], features, pixels, transfer)
    except torch.OutOfMemoryError as error:
        if part.stop - part.start == 1:
            error.add_note(
                f"Not even one unit fits the memory that is free on {transfer.device}. End what else runs there, "
                "choose device='cpu', or a smaller patch_size."
            )
            raise
    return None  # out here the error is gone, and with it what it held in memory


def _halve_batch(part: slice, device: torch.device) -> int:
    """Return half the size of a batch that did not fit, and say so."""
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
        self.block = block
        self.units = units
        self.features = {kind: transfer.to_host(value) for kind, value in features.items()}
        self.pixels = transfer.to_host(pixels)
        self.event = transfer.fetched_event()

    def result(self) -> Encoded:
        """Return them once they are there."""
        if self.event is not None:
            self.event.synchronize()
        features = {kind: value.numpy() for kind, value in self.features.items()}
        return Encoded(self.block, self.units, features, self.pixels.numpy())
