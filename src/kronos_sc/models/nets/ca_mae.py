"""CA-MAE: a channel-agnostic encoder of fluorescence microscopy, written from its published description.

None of its code is run.
"""

# Shapes: b images, m channels, h × w pixels, r × c tokens per channel, t = 1 + m·r·c tokens, d width, e = d / heads.
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from kronos_sc.models.nets.fused import linear
from kronos_sc.models.nets.layers import LayerScale, PatchEmbed
from kronos_sc.models.nets.vit import Features


class ParallelBlock(nn.Module):
    """Attention and MLP side by side, from one normalisation and one product.

    Queries and keys are normalised (Dehghani et al. 2023).

    Parameters are named as those of timm's `ParallelScalingBlock` (Apache-2.0) without bias of queries, keys and
    values.
    """

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.parts = (hidden, dim, dim, dim)  # widths of the MLP, queries, keys and values in one product
        self.in_norm = nn.LayerNorm(dim, eps=1e-6)
        self.in_proj = nn.Linear(dim, sum(self.parts), bias=False)
        self.mlp_bias = nn.Parameter(torch.zeros(hidden))
        self.q_norm = nn.LayerNorm(dim // heads, eps=1e-6)
        self.k_norm = nn.LayerNorm(dim // heads, eps=1e-6)
        self.attn_out_proj = nn.Linear(dim, dim)
        self.mlp_out_proj = nn.Linear(hidden, dim)
        self.ls = LayerScale(dim)

    def forward(self, x_btd: torch.Tensor) -> torch.Tensor:
        """Add what attention and MLP make of the tokens."""
        mlp, *qkv = linear(self.in_proj, self.in_norm(x_btd)).split(self.parts, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in qkv)
        q = self.q_norm(q).transpose(1, 2)
        k = self.k_norm(k).transpose(1, 2)
        attended = F.scaled_dot_product_attention(q, k, v.transpose(1, 2))
        attention_btd = linear(self.attn_out_proj, attended.transpose(1, 2).flatten(2))
        mlp_btd = linear(self.mlp_out_proj, F.gelu(mlp + self.mlp_bias))
        return self.ls(x_btd, attention_btd + mlp_btd)


class ChannelViT(nn.Module):
    """Vision transformer over the tokens of all channels.

    There is one projection and one positional table for every channel, and no channel identity.

    Parameters
    ----------
    dim, depth, heads, hidden
        Width of a token, blocks, attention heads, hidden width of the MLP.
    patch
        Edge of a token in pixels.
    grid
        Rows and columns of the positional table.
    normed
        Whether a normalisation follows the last block.
    """

    def __init__(
        self,
        *,
        dim: int = 384,
        depth: int = 12,
        heads: int = 6,
        hidden: int = 1536,
        patch: int = 16,
        grid: int = 16,
        normed: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.patch = patch
        self.grid = grid
        self.patch_embed = PatchEmbed(dim, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, dim))
        self.blocks = nn.ModuleList(ParallelBlock(dim, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6) if normed else nn.Identity()

    def position(self, rows: int, columns: int) -> torch.Tensor:
        """Return the positional table (r, c, d) for a grid of tokens.

        A smaller grid takes the middle of the table, a larger one a bicubic enlargement of it. A masked autoencoder
        learned from parts of the table at its own spacing, so a part of it is what the network knows; one squeezed
        together is not.
        """
        table = self.pos_embed[0, 1:].unflatten(0, (self.grid, self.grid))
        if rows <= self.grid and columns <= self.grid:
            return _middle(table, rows, columns)
        size = (max(rows, self.grid), max(columns, self.grid))
        planes = F.interpolate(table.permute(2, 0, 1)[None].float(), size, mode="bicubic", align_corners=False)
        return _middle(planes[0].permute(1, 2, 0), rows, columns).to(table.dtype)

    def forward(self, pixels_bmhw: torch.Tensor) -> Features:
        """Encode images (b, m, h, w), h and w multiples of the token size."""
        if pixels_bmhw.ndim != 4 or any(extent < self.patch or extent % self.patch for extent in pixels_bmhw.shape[2:]):
            msg = (
                f"Pixels must be (images, channels, rows, columns) with rows and columns multiples of {self.patch}, "
                f"got {tuple(pixels_bmhw.shape)}."
            )
            raise ValueError(msg)
        tok_bmrcd = self.patch_embed(pixels_bmhw, self.patch)
        grid = tok_bmrcd.shape[1:4]
        tok_bmrcd = tok_bmrcd + self.position(*grid[1:])
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(pixels_bmhw), -1, -1)
        x_btd = torch.cat([cls, tok_bmrcd.flatten(1, 3)], dim=1)
        for block in self.blocks:
            x_btd = block(x_btd)
        x_btd = self.norm(x_btd)
        tokens = x_btd[:, 1:].unflatten(1, grid)
        return Features(x_btd[:, 0], tokens.mean((2, 3), dtype=torch.float32), tokens)


def _middle(table_rcd: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return the middle of a positional table."""
    top = (table_rcd.shape[0] - rows) // 2
    left = (table_rcd.shape[1] - columns) // 2
    return table_rcd[top : top + rows, left : left + columns]
