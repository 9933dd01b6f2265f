"""Pictures of what tokens hold: their first three principal components as colours (Oquab et al. 2023, figure 1)."""

# Shapes: n patches, m markers, h × w pixels, r × c tokens per marker, d width, k = 3 components.
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from kronos_pretrain.evaluate.features import Encode, EvaluationPanel, normalised

if TYPE_CHECKING:
    from kronos_pretrain.evaluate.labelled import Labelled

EDGE = 128  # least pixels of a tile
GAP = 4
CUT = 0.02  # share of values that may saturate at either end
COLUMNS = 2  # patches side by side, each with its tokens


def chosen(labelled: Labelled, count: int) -> np.ndarray:
    """Return the patches to draw: tested ones, of as many classes as there is room for; always the same."""
    rows = labelled.part("test")
    codes = labelled.codes[rows]
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], codes[order], side="left")
    rank = np.arange(len(order)) - starts  # the first patch of every class, then the second of every class, …
    return rows[order[np.lexsort((codes[order], rank))][:count]]


@torch.no_grad()
def pictures(
    encode: Encode, labelled: Labelled, panel: EvaluationPanel, *, count: int = 4, device: torch.device | str = "cpu"
) -> np.ndarray:
    """Return a picture (H, W, 3), uint8: patches in false colour, and beside each its tokens, averaged over markers.

    Patches are not masked. Colours are components over the tokens of all patches shown. A component's sign is that with
    which it grows with the intensity under the token, so pictures of successive steps can be compared.

    Parameters
    ----------
    encode
        As for :func:`kronos_pretrain.evaluate.features.frozen`; every process of a run calls it.
    labelled, panel
        Patches and their markers.
    count
        Patches to draw.
    device
        Where the network is.
    """
    rows = chosen(labelled, count)
    pixels, ids = normalised(labelled, panel, rows, device, masked=False)
    tokens_nrcd = encode(pixels, ids).tokens.float().mean(1)
    n, r, c, d = tokens_nrcd.shape
    intensity = F.adaptive_avg_pool2d(pixels.mean(1, keepdim=True), (r, c)).flatten()
    colors = components(tokens_nrcd.reshape(-1, d), intensity).reshape(n, r, c, 3).cpu().numpy()
    images = false_color(pixels.cpu().numpy(), panel.nuclear)
    edge = max(EDGE, images.shape[1])
    pairs = [
        np.concatenate([_tile(image, edge), _gap(edge), _tile(color, edge)], axis=1)
        for image, color in zip(images, colors, strict=True)
    ]
    return np.rint(_grid(pairs) * 255).astype(np.uint8)


def components(tokens_td: torch.Tensor, intensity_t: torch.Tensor) -> torch.Tensor:
    """Return the first three principal components of tokens (t, 3), each stretched to 0 … 1.

    0.5 where there is no spread.
    """
    centred = tokens_td - tokens_td.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    values_tk = centred @ axes[:3].T
    values_tk = F.pad(values_tk, (0, 3 - values_tk.shape[1]))
    # the sign of a component is arbitrary; tied to the intensity, colours do not flip from step to step
    sign = torch.sign((values_tk * (intensity_t - intensity_t.mean())[:, None]).sum(0))
    values_tk = values_tk * torch.where(sign == 0, 1.0, sign)
    low, high = (values_tk.quantile(share, dim=0) for share in (CUT, 1 - CUT))
    flat = high - low <= 1e-6 * centred.abs().amax().clamp(min=1e-30)
    stretched = ((values_tk - low) / torch.where(flat, 1.0, high - low)).clamp(0, 1)
    return torch.where(flat, 0.5, stretched)


def false_color(pixels_nmhw: np.ndarray, nuclear_m: np.ndarray) -> np.ndarray:
    """Return patches (n, h, w, 3) in 0 … 1: nuclei blue, the other marker that varies most red, the next one green."""
    spread = pixels_nmhw.std((0, 2, 3)) * ~nuclear_m
    others = [int(plane) for plane in np.argsort(-spread, kind="stable")[:2] if not nuclear_m[plane]]
    plane_of_color = dict(enumerate(others))  # red, then green
    if nuclear_m.any():
        plane_of_color[2] = int(np.argmax(nuclear_m))

    picture = np.zeros((len(pixels_nmhw), *pixels_nmhw.shape[2:], 3), np.float32)
    for color, plane in plane_of_color.items():
        low, high = np.quantile(pixels_nmhw[:, plane], [CUT, 1 - CUT])
        picture[..., color] = np.clip((pixels_nmhw[:, plane] - low) / max(high - low, 1e-6), 0, 1)
    return picture


def _tile(image: np.ndarray, edge: int) -> np.ndarray:
    """Return an image enlarged to `edge` pixels, each of its pixels a block."""
    rows, columns = (np.arange(edge) * size // edge for size in image.shape[:2])
    return image[rows][:, columns]


def _gap(height: int, width: int = GAP) -> np.ndarray:
    return np.ones((height, width, 3), np.float32)


def _grid(tiles: list[np.ndarray]) -> np.ndarray:
    """Return tiles in two columns with white between them."""
    if len(tiles) > 1:  # a single tile stands alone
        tiles = tiles + [np.ones_like(tiles[0])] * (-len(tiles) % COLUMNS)
    lines = [_joined(tiles[start : start + COLUMNS], axis=1) for start in range(0, len(tiles), COLUMNS)]
    return _joined(lines, axis=0)


def _joined(parts: list[np.ndarray], axis: int) -> np.ndarray:
    """Return pictures of one size side by side or one below the other, with white between them."""
    height, width = parts[0].shape[:2]
    gap = _gap(height, 3 * GAP) if axis == 1 else _gap(3 * GAP, width)
    spaced = [piece for part in parts for piece in (part, gap)]
    return np.concatenate(spaced[:-1], axis=axis)
