"""Building blocks of the transformer; parameter names follow DINOv2's (Apache-2.0) so that checkpoints load by name."""

# Shapes: b images, t tokens, d width, h heads, e = d / h.
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from kronos_sc.models._fused import linear

if TYPE_CHECKING:
    from kronos_sc.models._config import ViTConfig

LAYER_SCALE_INIT = 1e-5


class LayerScale(nn.Module):
    """Adds a branch to its input with one learned gain per channel (Touvron et al. 2021)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), LAYER_SCALE_INIT))

    def forward(self, x_btd: torch.Tensor, branch_btd: torch.Tensor) -> torch.Tensor:
        """Return x + γ · branch, in one pass."""
        return torch.addcmul(x_btd, branch_btd, self.gamma)


class Attention(nn.Module):
    """Multi-head self-attention over all tokens, fused (no attention matrix in memory)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def split(self, x_btd: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return queries, keys and values, each (b, h, t, e)."""
        b, t, d = x_btd.shape
        q, k, v = linear(self.qkv, x_btd).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def forward(self, x_btd: torch.Tensor) -> torch.Tensor:
        """Attend."""
        out_bhte = F.scaled_dot_product_attention(*self.split(x_btd))
        return linear(self.proj, out_bhte.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear maps with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x_btd: torch.Tensor) -> torch.Tensor:
        """Transform each token."""
        return linear(self.fc2, linear(self.fc1, x_btd, gelu=True))


class Block(nn.Module):
    """Pre-norm transformer block with LayerScale."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=1e-6)
        self.attn = Attention(config.dim, config.heads)
        self.ls1 = LayerScale(config.dim)
        self.norm2 = nn.LayerNorm(config.dim, eps=1e-6)
        self.mlp = Mlp(config.dim, config.dim * config.mlp_ratio)
        self.ls2 = LayerScale(config.dim)

    def forward(self, x_btd: torch.Tensor) -> torch.Tensor:
        """Run attention and MLP, each added to its input."""
        x_btd = self.ls1(x_btd, self.attn(self.norm1(x_btd)))
        return self.ls2(x_btd, self.mlp(self.norm2(x_btd)))


class PatchEmbed(nn.Module):
    """One convolution shared by all markers: pixels of one marker → tokens."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, patch, patch)

    def forward(self, pixels_bmhw: torch.Tensor, stride: int) -> torch.Tensor:
        """Return tokens (b, m, rows, columns, d), one grid per marker."""
        b, m, _h, _w = pixels_bmhw.shape
        patch = self.proj.kernel_size[0]
        # unfold + matrix product: the same sums as the convolution, at the speed of the matrix product for one input channel
        tiles = pixels_bmhw.unfold(2, patch, stride).unfold(3, patch, stride)
        rows, columns = tiles.shape[2:4]
        return F.linear(tiles.reshape(b, m, rows, columns, patch * patch), self.proj.weight.flatten(1), self.proj.bias)
