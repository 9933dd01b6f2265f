"""How rows of attention are read off the networks whose tokens of all markers form one sequence."""

# Shapes: b images, m markers, h heads, r × c tokens per marker, t tokens in all, d width, e = d / heads.
from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import functional as F

from kronos_sc.models.nets.ca_mae import ChannelViT
from kronos_sc.models.nets.layers import weighted_rows
from kronos_sc.models.nets.vit import KronosViT

if TYPE_CHECKING:
    from kronos_sc.models.nets.ca_mae import ParallelBlock
    from kronos_sc.models.nets.layers import Block


class KronosRows:
    """Rows of attention of KRONOS.

    Attributes
    ----------
    heads
        Heads of a block.
    prefix
        Tokens before those of the markers.
    patch, step
        Edge of a token, and pixels from one to the next.
    running
        Numbers of the blocks that run.
    blocks
        These blocks.
    """

    def __init__(self, net: KronosViT) -> None:
        self.net = net
        self.heads = net.config.heads
        self.prefix = 1 + net.config.registers
        self.patch = net.config.patch
        self.step = net.stride
        self.running = tuple(net.running)
        self.blocks = [net.block(index) for index in net.running]

    def sequence(self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """Return the sequence before the first block (b, t, d) and the grid (r, c)."""
        return self.net.embed(pixels_bmhw, marker_ids_bm)

    @staticmethod
    def first_row(block: Block, x_btd: torch.Tensor, heads: slice) -> torch.Tensor:
        """Return the attention of the class token in a block (b, h, t; float32)."""
        return block.attn.first_row(block.norm1(x_btd), heads)

    @staticmethod
    def passed_on(block: Block, x_btd: torch.Tensor, weight_bt: torch.Tensor, heads: slice) -> torch.Tensor:
        """Return Σᵢ weightᵢ · Aᵢ of a block (b, t; float32), mean over heads."""
        return block.attn.passed_on(block.norm1(x_btd), weight_bt, heads)


class ChannelRows:
    """Rows of attention of CA-MAE; attributes as those of :class:`KronosRows`."""

    def __init__(self, net: ChannelViT) -> None:
        self.net = net
        self.blocks = cast("list[ParallelBlock]", list(net.blocks))
        self.heads = self.blocks[0].heads
        self.prefix = 1
        self.patch = self.step = net.patch
        self.running = tuple(range(len(self.blocks)))

    def sequence(self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """Return the sequence before the first block (b, t, d) and the grid (r, c); this network has no marker ids."""
        net = self.net
        tok_bmrcd = net.patch_embed(pixels_bmhw, net.patch)
        rows, columns = tok_bmrcd.shape[2:4]
        cls = (net.cls_token + net.pos_embed[:, :1]).expand(len(pixels_bmhw), -1, -1)
        x_btd = torch.cat([cls, (tok_bmrcd + net.position(rows, columns)).flatten(1, 3)], dim=1)
        return x_btd, (rows, columns)

    def first_row(self, block: ParallelBlock, x_btd: torch.Tensor, heads: slice) -> torch.Tensor:
        """Return the attention of the class token in a block (b, h, t; float32)."""
        q_bhte, k_bhte = self._queries_and_keys(block, x_btd, heads, first=True)
        return torch.softmax(q_bhte @ k_bhte.transpose(-1, -2) * q_bhte.shape[-1] ** -0.5, dim=-1)[:, :, 0]

    def passed_on(
        self, block: ParallelBlock, x_btd: torch.Tensor, weight_bt: torch.Tensor, heads: slice
    ) -> torch.Tensor:
        """Return Σᵢ weightᵢ · Aᵢ of a block (b, t; float32), mean over heads."""
        return weighted_rows(*self._queries_and_keys(block, x_btd, heads, first=False), weight_bt)

    @staticmethod
    def _queries_and_keys(
        block: ParallelBlock, x_btd: torch.Tensor, heads: slice, *, first: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return queries, of the class token alone if `first`, and keys (b, h, t, e; float32), normalised per head."""
        normed_btd = block.in_norm(x_btd)
        _, to_query, to_key, _ = block.in_proj.weight.split(block.parts)
        asking_btd = normed_btd[:, :1] if first else normed_btd
        q_bthe = F.linear(asking_btd, to_query).unflatten(-1, (block.heads, -1))[:, :, heads]
        k_bthe = F.linear(normed_btd, to_key).unflatten(-1, (block.heads, -1))[:, :, heads]
        q_bthe = block.q_norm(q_bthe)
        k_bthe = block.k_norm(k_bthe)
        return q_bthe.transpose(1, 2).float(), k_bthe.transpose(1, 2).float()


def rows_of(net: Any) -> KronosRows | ChannelRows | None:
    """Return how rows are read off a network; None for one whose markers do not share a sequence."""
    if isinstance(net, KronosViT):
        return KronosRows(net)
    if isinstance(net, ChannelViT):
        return ChannelRows(net)
    return None
