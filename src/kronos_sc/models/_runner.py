"""The only inference loop: a block goes to the device once; windows are cut, scaled, masked and encoded there."""

# Shapes: b units, m markers, s source pixels, p patch pixels.
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kronos_sc.models._model import Model

# Bytes of one number of every token of a pass. A processor is fastest while the activations stay in its cache (measured: 2,500 tokens
# in float32, 5,000 in bfloat16); a GPU wants enough work to fill it.
_PASS = {"cpu": 10_000, "cuda": 320_000, "mps": 40_000}


@dataclass(frozen=True)
class Recipe:
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
    units
        Positions in the plan (int64).
    features
        Float32 array (units, ·) per kind.
    pixels
        Pixels of the window that belong to each unit (int64).
    """

    units: np.ndarray
    features: dict[str, np.ndarray]
    pixels: np.ndarray


def auto_batch(model: Model, patch_size: int, markers: int, *, device: torch.device, dtype: torch.dtype) -> int:
    """Return how many units one pass takes."""
    return max(1, _PASS.get(device.type, _PASS["mps"]) // (dtype.itemsize * model.tokens(patch_size, markers)))


def run(
    model: Model, blocks: Iterable[Any], recipe: Recipe, *, device: torch.device, dtype: torch.dtype, batch_size: int | None = None
) -> Iterator[Encoded]:
    """Encode the units of all blocks, in batches that may span blocks.

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
    size = batch_size or auto_batch(model, recipe.patch_size, len(recipe.ids), device=device, dtype=dtype)
    prepare = _Preparation(recipe, device)
    waiting: tuple[np.ndarray, dict[str, torch.Tensor], torch.Tensor] | None = None
    for units, windows, masks in _batches(blocks, size, device):
        with torch.inference_mode():
            x_bmpp, mask_bpp = prepare(windows, masks)
            features = model.encode(x_bmpp, prepare.ids.expand(len(units), -1), mask_bpp, recipe.features)
            done = units, features, masks.sum((1, 2))
        # results are fetched one batch late, so that a GPU works while the next batch is cut
        if waiting is not None:
            yield _fetch(*waiting)
        waiting = done
    if waiting is not None:
        yield _fetch(*waiting)


def _fetch(units: np.ndarray, features: dict[str, torch.Tensor], pixels: torch.Tensor) -> Encoded:
    return Encoded(units, {kind: value.float().cpu().numpy() for kind, value in features.items()}, pixels.cpu().numpy())


def _batches(blocks: Iterable[Any], size: int, device: torch.device) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.Tensor]]:
    """Yield units with their raw windows (b, m, s, s) and masks (b, s, s), always `size` of them but for the last batch."""
    pending: list[tuple[np.ndarray, torch.Tensor, torch.Tensor]] = []
    count = 0
    for block in blocks:
        pixels = _to_device(block.pixels.astype(np.int64) if block.pixels.dtype == np.uint32 else block.pixels, device)
        labels = None if block.labels is None else _to_device(block.labels, device)
        start = 0
        while start < len(block.units):
            stop = min(len(block.units), start + size - count)
            part = slice(start, stop)
            pending.append((block.units[part], _cut(pixels, block, part), _masks(labels, block, part, device)))
            count += stop - start
            start = stop
            if count == size:
                yield _joined(pending)
                pending, count = [], 0
    if pending:
        yield _joined(pending)


def _joined(pending: list[tuple[np.ndarray, torch.Tensor, torch.Tensor]]) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    if len(pending) == 1:
        return pending[0]
    units, windows, masks = zip(*pending, strict=True)
    return np.concatenate(units), torch.cat(windows), torch.cat(masks)


def _to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Move an array; unsigned numbers travel as signed ones of the same width, whose operations exist everywhere."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.view(array.dtype.str.replace("u", "i"))
    if array.dtype == np.float64:  # half the bytes, and all that the network sees
        array = array.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _cut(plane: torch.Tensor, block: Any, part: slice) -> torch.Tensor:
    """Return windows (b, m, s, s) of a block's pixels (m, h, w), or (b, s, s) of its labels."""
    size, ys, xs = block.size, block.y[part], block.x[part]
    if plane.device.type != "cuda":
        return torch.stack([plane[..., y : y + size, x : x + size] for y, x in zip(ys.tolist(), xs.tolist(), strict=True)])
    # one gather for all windows: a view of every possible window, indexed by the corners
    height, width = plane.shape[-2:]
    lead = plane.shape[:-2]
    strides = (width, 1, *plane.stride()[:-2], width, 1)
    windows = plane.as_strided((height - size + 1, width - size + 1, *lead, size, size), strides)
    return windows[torch.from_numpy(ys).to(plane.device), torch.from_numpy(xs).to(plane.device)]


def _masks(labels: torch.Tensor | None, block: Any, part: slice, device: torch.device) -> torch.Tensor:
    """Return which pixels of each window belong to the unit (b, s, s): its label, or the part of a box on the image."""
    if labels is not None:
        ids = _to_device(block.ids[part].astype(block.labels.dtype), device)
        return _cut(labels, block, part) == ids[:, None, None]
    top, bottom, left, right = block.inside
    grid = torch.arange(block.size, device=device)
    rows, columns = (grid + torch.from_numpy(start[part]).to(device)[:, None] for start in (block.y, block.x))
    return ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None, :]


def _resampled(masks: torch.Tensor, size: int) -> torch.Tensor:
    """Return masks (b, size, size): pixels that the unit covers by half, and the best covered ones of a unit smaller than a pixel."""
    cover = F.adaptive_avg_pool2d(masks[:, None].float(), size)[:, 0]
    return (cover > 0) & (cover >= cover.amax((1, 2), keepdim=True).clamp_max(0.5))


class _Preparation:
    """Raw windows → normalised input (spec: pixel / max_value, z-score, then the mask)."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe = recipe
        self.ids = torch.as_tensor(recipe.ids, device=device).long()[None]
        mean, std = (torch.as_tensor(values, dtype=torch.float64)[:, None, None] for values in (recipe.mean, recipe.std))
        self.gain = (1 / (recipe.max_value * std)).float().to(device)
        self.zero = (-mean / std).float().to(device)  # what a raw zero becomes

    def __call__(self, windows: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input (b, m, p, p) in float32 and masks (b, p, p)."""
        x = self._as_float(windows)
        size = self.recipe.patch_size
        if x.shape[-1] != size:
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
            masks = _resampled(masks, size)
        x = torch.addcmul(self.zero, x, self.gain, out=x)
        if self.recipe.mask_fill == "mean":
            x.mul_(masks[:, None])
        elif self.recipe.mask_fill == "zero":
            x = torch.where(masks[:, None], x, self.zero)
        return x, masks

    @staticmethod
    def _as_float(windows: torch.Tensor) -> torch.Tensor:
        if windows.dtype == torch.int16:  # 16-bit pixels travel as signed numbers
            windows = windows.view(torch.uint16)
        return windows.to(torch.float32, copy=True)
