"""The marker-aware vision transformer of KRONOS, written from its described behaviour."""

# Shapes: b images, m markers, h × w pixels, r × c tokens per marker, n = r·c, t = 1 + registers + m·n tokens, d width.
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from kronos_sc._core.arrays import writable
from kronos_sc.models.nets.config import ViTConfig
from kronos_sc.models.nets.layers import Block, PatchEmbed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MARKER_IDS = 512


class Features(NamedTuple):
    """Output of one forward pass.

    Parameters
    ----------
    cls
        Class token (b, d).
    markers
        Mean of each marker's tokens (b, m, d).
    tokens
        Every token on its grid (b, m, r, c, d).
    """

    cls: torch.Tensor
    markers: torch.Tensor
    tokens: torch.Tensor


def features_by_kind(features: Features, kinds: Iterable[str]) -> dict[str, torch.Tensor]:
    """Return what an encoder gives: one row per image for each kind of feature asked for."""
    rows: dict[str, Callable[[], torch.Tensor]] = {
        "marker": lambda: features.markers.flatten(1),
        "cls": lambda: features.cls,
        "token": lambda: features.tokens.permute(0, 2, 3, 1, 4).flatten(1),
    }
    return {kind: rows[kind]() for kind in kinds}


def marker_encoding(dim: int) -> torch.Tensor:
    """Return the sinusoidal table (512, d): sines in the first half, cosines in the second (paper, Online Methods)."""
    frequency = 10000.0 ** (-2 * np.arange(dim // 2) / dim)
    angle = np.arange(MARKER_IDS)[:, None] * frequency
    return torch.from_numpy(writable(np.concatenate([np.sin(angle), np.cos(angle)], axis=1), np.float32))


class KronosViT(nn.Module):
    """Vision transformer over the tokens of all markers of a patch.

    Every marker is cut into tokens by the same convolution; a token carries a learned position, shared by the markers,
    and a sinusoidal encoding of its marker's id. Attention runs over all markers and positions at once, so any panel
    fits.

    Parameters
    ----------
    config
        Shape of the network.
    blocks
        `"all"`, or `"official"`: the first block of each chunk, as the released package runs them.
    token_overlap
        Cut tokens every half token instead of every token: about four times as many.
    """

    marker_table: torch.Tensor

    def __init__(self, config: ViTConfig | None = None, *, blocks: str = "all", token_overlap: bool = False) -> None:
        super().__init__()
        self.config = config = config or ViTConfig()
        self.token_overlap = token_overlap
        self.set_blocks(blocks)
        self.patch_embed = PatchEmbed(config.dim, config.patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + config.grid**2, config.dim))
        self.register_tokens = nn.Parameter(torch.empty(1, config.registers, config.dim))
        self.mask_token = nn.Parameter(torch.zeros(1, config.dim))
        per_chunk = config.depth // config.chunks
        self.blocks = nn.ModuleList(
            nn.ModuleDict({str(i): Block(config) for i in range(chunk * per_chunk, (chunk + 1) * per_chunk)})
            for chunk in range(config.chunks)
        )
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.register_buffer("marker_table", marker_encoding(config.dim), persistent=False)
        self.reset()

    def set_blocks(self, blocks: str) -> None:
        """Choose which blocks run: `"official"` or `"all"`."""
        self.running = self.config.blocks_run(blocks)
        self.blocks_mode = blocks

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights: truncated normal of 0.02, and normal of 1e-6 for class and register tokens."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed, std=0.02, generator=generator)
        for token in (self.cls_token, self.register_tokens):
            nn.init.normal_(token, std=1e-6, generator=generator)
        nn.init.zeros_(self.mask_token)

    @property
    def stride(self) -> int:
        """Pixels from one token to the next."""
        return self.config.patch // 2 if self.token_overlap else self.config.patch

    def block(self, index: int) -> Block:
        """Return a block by its global index."""
        per_chunk = self.config.depth // self.config.chunks
        chunk = cast("nn.ModuleDict", self.blocks[index // per_chunk])
        return cast("Block", chunk[str(index)])

    def position(self, rows: int, columns: int) -> torch.Tensor:
        """Return the positional table (r, c, d) for a grid of tokens, interpolated as the released model does."""
        grid = self.config.grid
        table = self.pos_embed[:, 1:].view(1, grid, grid, -1)
        if rows == columns == grid:
            return table[0]
        scale = ((rows + 0.1) / grid, (columns + 0.1) / grid)
        planes = F.interpolate(
            table.permute(0, 3, 1, 2).float(), scale_factor=scale, mode="bicubic", align_corners=False
        )
        return planes[0].permute(1, 2, 0).to(table.dtype)

    def embed(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """Return the sequence before the first block (b, t, d) and the grid (r, c)."""
        _check_input(pixels_bmhw, marker_ids_bm, self.config.patch)
        b, m = marker_ids_bm.shape
        tok_bmrcd = self.patch_embed(pixels_bmhw, self.stride)
        rows, columns = tok_bmrcd.shape[2:4]
        tok_bmrcd = tok_bmrcd + self.marker_table[marker_ids_bm][:, :, None, None].to(tok_bmrcd.dtype)
        if mask is not None:  # a masked token keeps its position and loses its marker
            hidden = mask.reshape(b, -1, rows, columns, 1).expand(b, m, rows, columns, 1)
            tok_bmrcd = torch.where(hidden, self.mask_token.to(tok_bmrcd.dtype), tok_bmrcd)
        tok_bmrcd = tok_bmrcd + self.position(rows, columns).to(tok_bmrcd.dtype)
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(b, -1, -1).to(tok_bmrcd.dtype)
        registers = self.register_tokens.expand(b, -1, -1).to(tok_bmrcd.dtype)
        return torch.cat([cls, registers, tok_bmrcd.flatten(1, 3)], dim=1), (rows, columns)

    def forward(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask: torch.Tensor | None = None
    ) -> Features:
        """Encode patches.

        Parameters
        ----------
        pixels_bmhw
            Normalised pixels (b, m, h, w); h and w are multiples of the token size.
        marker_ids_bm
            Marker ids (b, m), 0 to 511.
        mask
            Positions to hide (bool), (b, r·c) for the same ones on every marker or (b, m, r·c).
        """
        x_btd, (rows, columns) = self.embed(pixels_bmhw, marker_ids_bm, mask)
        for index in self.running:
            x_btd = self.block(index)(x_btd)
        x_btd = self.norm(x_btd)
        tokens = x_btd[:, 1 + self.config.registers :].unflatten(1, (marker_ids_bm.shape[1], rows, columns))
        return Features(x_btd[:, 0], tokens.mean((2, 3), dtype=torch.float32), tokens)


def _check_input(pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, patch: int) -> None:
    """Raise a ValueError for pixels or ids that the network cannot take."""
    shape = tuple(pixels_bmhw.shape)
    if len(shape) != 4 or shape[2] % patch or shape[3] % patch or shape[2] < patch:
        msg = (
            f"Pixels must be (images, markers, rows, columns) with rows and columns multiples of {patch}, got {shape}."
        )
        raise ValueError(msg)
    if tuple(marker_ids_bm.shape) != shape[:2]:
        msg = f"Marker ids must be {shape[:2]}, one per image and marker, got {tuple(marker_ids_bm.shape)}."
        raise ValueError(msg)

    # to look at ids on a CUDA device would make the processor wait for it
    if pixels_bmhw.is_cuda or not marker_ids_bm.numel():
        return
    lowest = int(marker_ids_bm.min())
    highest = int(marker_ids_bm.max())
    if lowest < 0 or highest >= MARKER_IDS:
        msg = f"Marker ids must lie between 0 and {MARKER_IDS - 1}, got {lowest} to {highest}."
        raise ValueError(msg)
