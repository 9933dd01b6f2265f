"""The plain vision transformer of DINOv2 and its kin, for images of one marker each."""

# Shapes: n images, h × w pixels, r × c tokens, t = 1 + registers + r·c, d width.
from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional as F

from kronos_sc.models.nets.fused import linear
from kronos_sc.models.nets.layers import Block, PatchEmbed

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRAINING_ONLY = ("mask_token",)


@dataclass(frozen=True)
class PlainConfig:
    """Shape of a plain vision transformer.

    Parameters
    ----------
    dim
        Width of a token.
    depth
        Transformer blocks.
    heads
        Attention heads; divides `dim`.
    patch
        Edge of a token in pixels.
    grid
        Rows and columns of the learned positional table.
    registers
        Register tokens.
    mlp_ratio
        Hidden width of the MLP over `dim`.
    """

    dim: int
    depth: int
    heads: int
    patch: int
    grid: int
    registers: int = 0
    mlp_ratio: int = 4

    def adapted_to(self, state: Mapping[str, torch.Tensor]) -> PlainConfig:
        """Return this shape with the table and the registers that a file of weights has."""
        table = state.get("pos_embed")
        registers = state.get("register_tokens", state.get("reg_token"))
        shape = replace(self, registers=0 if registers is None else registers.shape[1])
        if table is None or table.ndim != 3:
            return shape
        return replace(shape, grid=isqrt(table.shape[1]))


class PlainViT(nn.Module):
    """Vision transformer over the tokens of one image of one channel.

    Parameter names are those of the release of DINOv2 :cite:p:`Oquab2024`. The network was trained on RGB; with three
    equal channels the convolution that makes tokens is, exactly, one of a single channel with the kernels summed
    (:func:`adapted`).

    Parameters
    ----------
    config
        Shape of the network.
    """

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = self.token_dim = config.dim
        self.step = config.patch
        self.prefix = 1 + config.registers
        self.patch_embed = PatchEmbed(config.dim, config.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid**2, config.dim))
        self.register_tokens: nn.Parameter | None = None
        if config.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, config.dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)

    def position(self, rows: int, columns: int) -> torch.Tensor:
        """Return the positional table (1, r · c, d) for a grid of tokens.

        Bicubic interpolation with antialiasing to exactly that grid, which is timm's rule and that of DINOv2's models
        with registers; the first release of DINOv2 samples the table without antialiasing, which differs where the grid
        is far smaller than the table.
        """
        grid = self.config.grid
        table = self.pos_embed[:, 1:]
        if rows == columns == grid:
            return table
        planes = table.reshape(1, grid, grid, -1).permute(0, 3, 1, 2).float()
        planes = F.interpolate(planes, (rows, columns), mode="bicubic", antialias=True, align_corners=False)
        return planes.flatten(2).transpose(1, 2).to(table.dtype)

    def embed(self, pixels_nhw: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """Return the sequence before the first block (n, t, d) and the grid (r, c)."""
        tok_nrcd = self.patch_embed(pixels_nhw[:, None], self.config.patch)[:, 0]
        rows, columns = tok_nrcd.shape[1:3]
        prefix = [self.cls_token + self.pos_embed[:, :1]]
        if self.register_tokens is not None:
            prefix.append(self.register_tokens)
        parts = [part.expand(len(tok_nrcd), -1, -1) for part in prefix]
        x_ntd = torch.cat([*parts, tok_nrcd.flatten(1, 2) + self.position(rows, columns)], dim=1)
        return x_ntd, (rows, columns)

    def forward(self, pixels_nhw: torch.Tensor, *, tokens: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode images of one marker each.

        Parameters
        ----------
        pixels_nhw
            Normalised pixels; h and w are multiples of the patch.
        tokens
            Return every token besides the class token.

        Returns
        -------
        Class tokens (n, d), and tokens (n, r, c, d) or None, after the final norm.
        """
        x_ntd, grid = self.embed(pixels_nhw)
        for block in self.blocks[:-1]:
            x_ntd = block(x_ntd)
        last = cast("Block", self.blocks[-1])
        if not tokens:
            return self.norm(_class_only(last, x_ntd))[:, 0], None
        x_ntd = self.norm(last(x_ntd))
        return x_ntd[:, 0], x_ntd[:, self.prefix :].unflatten(1, grid)


def _class_only(block: Block, x_ntd: torch.Tensor) -> torch.Tensor:
    """Return the class token (n, 1, d) after a block; nothing that only other tokens need is computed."""
    q, k, v = block.attn.split(block.norm1(x_ntd))
    out_n1d = F.scaled_dot_product_attention(q[:, :, :1], k, v).transpose(1, 2).flatten(2)
    x_n1d = block.ls1(x_ntd[:, :1], linear(block.attn.proj, out_n1d))
    return block.ls2(x_n1d, block.mlp(block.norm2(x_n1d)))


def adapted(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights in the naming of DINOv2's release or of timm as :class:`PlainViT` takes them.

    The kernels of the three colours are summed; timm's positional table of a model with registers has no row for the
    class token, whose position is part of the token there.
    """
    renamed = {key: value for key, value in state.items() if key not in _TRAINING_ONLY}
    if "reg_token" in renamed:
        renamed["register_tokens"] = renamed.pop("reg_token")
    kernel = renamed.get("patch_embed.proj.weight")
    if kernel is not None and kernel.ndim == 4 and kernel.shape[1] == 3:
        renamed["patch_embed.proj.weight"] = kernel.float().sum(1, keepdim=True)
    table = renamed.get("pos_embed")
    if table is not None and table.ndim == 3 and isqrt(table.shape[1]) ** 2 == table.shape[1]:
        renamed["pos_embed"] = F.pad(table, (0, 0, 1, 0))
    return renamed
