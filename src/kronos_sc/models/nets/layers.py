"""Building blocks of the transformer; parameter names follow DINOv2's (Apache-2.0) so that checkpoints load by name."""

# Shapes: b images, t tokens, d width, h heads, e = d / h.
from __future__ import annotations

from typing import Protocol

import torch
from torch import nn
from torch.nn import functional as F

from kronos_sc.models.nets.fused import linear

LAYER_SCALE_INIT = 1e-5


class BlockShape(Protocol):
    """Shape of a transformer block; every configuration of a network has it."""

    @property
    def dim(self) -> int:
        """Width of a token."""

    @property
    def heads(self) -> int:
        """Attention heads."""

    @property
    def mlp_ratio(self) -> int:
        """Hidden width of the MLP over `dim`."""


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

    def _projection(self, which: int, heads: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight (h, e, d) and bias (h, e) of the queries (0), keys (1) or values (2) of some heads."""
        weight = self.qkv.weight.unflatten(0, (3, self.heads, -1))[which, heads]
        bias = self.qkv.bias.unflatten(0, (3, self.heads, -1))[which, heads]
        return weight, bias

    def first_row(self, x_btd: torch.Tensor, heads: slice = slice(None)) -> torch.Tensor:
        """Return how much the first token attends to each token (b, h, t; float32), from its query alone.

        Rows add up to 1.

        q · (W x + b) = (Wᵀ q) · x + q · b, and the softmax does not see the last term: the query goes to the width of
        the tokens, and neither keys nor an attention matrix are made.
        """
        to_query, bias = self._projection(0, heads)
        to_key, _ = self._projection(1, heads)
        q_bhe = torch.einsum("bd,hed->bhe", x_btd[:, 0].float(), to_query.float()) + bias.float()
        wide_q_bhd = torch.einsum("bhe,hed->bhd", q_bhe, to_key.float())
        return torch.softmax(wide_q_bhd @ x_btd.transpose(1, 2).float() * q_bhe.shape[-1] ** -0.5, dim=-1)

    def first_output(self, x_btd: torch.Tensor, row_bht: torch.Tensor) -> torch.Tensor:
        """Return what attention adds to the first token (b, d), given its row of attention.

        Differentiable in the row.
        """
        to_value, bias = self._projection(2, slice(None))
        row_bht = row_bht.to(x_btd.dtype)
        out_bhe = torch.einsum("bhd,hed->bhe", row_bht @ x_btd, to_value) + bias * row_bht.sum(-1, keepdim=True)
        return linear(self.proj, out_bhe.flatten(1))

    def passed_on(self, x_btd: torch.Tensor, weight_bt: torch.Tensor, heads: slice) -> torch.Tensor:
        """Return Σᵢ weightᵢ · Aᵢ (b, t; float32) with A the mean attention matrix of some heads."""
        to_query, query_bias = self._projection(0, heads)
        to_key, key_bias = self._projection(1, heads)
        q_bhte = torch.einsum("btd,hed->bhte", x_btd, to_query) + query_bias[:, None]
        k_bhte = torch.einsum("btd,hed->bhte", x_btd, to_key) + key_bias[:, None]
        return weighted_rows(q_bhte, k_bhte, weight_bt)


def weighted_rows(
    q_bhte: torch.Tensor, k_bhte: torch.Tensor, weight_bt: torch.Tensor, *, most: int = 2**24
) -> torch.Tensor:
    """Return Σᵢ weightᵢ · Aᵢ (b, t; float32) of the mean attention matrix of all heads.

    `most` of its numbers exist at a time.
    """
    b, h, t, e = q_bhte.shape
    keys_bhet = k_bhte.transpose(-1, -2).float()
    out_bht = torch.zeros(b, h, t, device=q_bhte.device)
    for rows in torch.arange(t, device=q_bhte.device).split(max(1, most // (b * h * t))):
        attention = torch.softmax(q_bhte[:, :, rows].float() @ keys_bhet * e**-0.5, dim=-1)
        out_bht += (weight_bt[:, None, None, rows] @ attention)[:, :, 0]
    return out_bht.mean(1)


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

    def __init__(self, config: BlockShape) -> None:
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
        # unfold + matrix product: the same sums as the convolution, faster for one input channel
        tiles = pixels_bmhw.unfold(2, patch, stride).unfold(3, patch, stride)
        rows, columns = tiles.shape[2:4]
        return F.linear(tiles.reshape(b, m, rows, columns, patch * patch), self.proj.weight.flatten(1), self.proj.bias)
