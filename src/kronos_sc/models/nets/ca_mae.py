"""CA-MAE: a channel-agnostic encoder of fluorescence microscopy, written from its published description.

None of its code is run.
"""

# Shapes: b images, m channels, h × w pixels, r × c tokens per channel, t = 1 + m·r·c tokens, d width, e = d / heads.
from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from kronos_sc._core.checks import listed
from kronos_sc.markers import paper_vocabulary
from kronos_sc.models import _state, _weights
from kronos_sc.models._card import Card
from kronos_sc.models._model import Model, TokenGrid
from kronos_sc.models.nets.fused import linear
from kronos_sc.models.nets.layers import LayerScale, PatchEmbed
from kronos_sc.models.nets.vit import Features

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

CA_MAE_HUB = "recursionpharma/OpenPhenom"
CA_MAE = Card(
    name="ca-mae",
    title="CA-MAE (OpenPhenom), a channel-agnostic ViT-S/16 for fluorescence microscopy of cells",
    licence="non-commercial, see its page",
    source=f"hf-hub:{CA_MAE_HUB}",
    architecture="ViT-S/16, one input channel, attention over the tokens of all channels; no marker identity",
    citation="Kraus et al. 2024, CVPR (Masked Autoencoders for Microscopy are Scalable Learners of Cellular Biology)",
    training_data="Cell Painting of cultured cells, RxRx3 and JUMP-CP",
    resolution="crops of 256 px, high-content screening objectives",
    notes=(
        "Tested here with synthetic weights only: the layout of the published file could not be checked offline. "
        f"Terms and access: https://huggingface.co/{CA_MAE_HUB} (no gate was known when this was written). Pixels are "
        "z-scored per marker, as the KRONOS paper runs it; the published pipeline instead standardises every channel "
        "of every image by itself."
    ),
)
_BACKBONE = "vit_backbone."


class ParallelBlock(nn.Module):
    """Attention and MLP side by side, from one normalisation and one product.

    Queries and keys are normalised (Dehghani et al. 2023).

    Parameters are named as those of timm's `ParallelScalingBlock` (Apache-2.0) without bias of queries, keys and
    values.
    """

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.parts = heads, (hidden, dim, dim, dim)
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
        attended = F.scaled_dot_product_attention(
            *(part.transpose(1, 2) for part in (self.q_norm(q), self.k_norm(k), v))
        )
        branch = linear(self.attn_out_proj, attended.transpose(1, 2).flatten(2)) + linear(
            self.mlp_out_proj, F.gelu(mlp + self.mlp_bias)
        )
        return self.ls(x_btd, branch)


class ChannelViT(nn.Module):
    """Vision transformer over the tokens of all channels: one projection and one positional table for every channel, no channel identity.

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
        self.dim, self.patch, self.grid = dim, patch, grid
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
            top, left = (self.grid - rows) // 2, (self.grid - columns) // 2
            return table[top : top + rows, left : left + columns]
        size = (max(rows, self.grid), max(columns, self.grid))
        planes = F.interpolate(table.permute(2, 0, 1)[None].float(), size, mode="bicubic", align_corners=False)
        return (
            planes[0]
            .permute(1, 2, 0)[(size[0] - rows) // 2 :, (size[1] - columns) // 2 :][:rows, :columns]
            .to(table.dtype)
        )

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


def backbone(state: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Return the encoder's tensors out of a published file, under the names of :class:`ChannelViT`.

    ============================================== ==================================================================
    in the file                                    here
    ============================================== ==================================================================
    `{anything}encoder.vit_backbone.{name}`        `{name}`; names are those of timm's vision transformer
    bare timm names                                as they are
    everything else (decoder, projections, losses) left out
    `pos_embed` (1, 1 + k · n, d)                  the first 1 + n: k channels with one table, which has to be the same
    `fc_norm.*`                                    left out: it belongs to a pooled head, tokens do not pass it
    ============================================== ==================================================================
    """
    stems = {key.removesuffix("cls_token") for key in state if key.endswith("cls_token")}
    inside = sorted(stem for stem in stems if stem.endswith(_BACKBONE)) or sorted(stems & {""})
    if len(inside) != 1:
        msg = (
            f"{path} holds no encoder of CA-MAE: exactly one '…{_BACKBONE}cls_token' or 'cls_token' is expected, found "
            f"{listed(sorted(stem + 'cls_token' for stem in stems))} among {len(state)} tensors "
            f"({listed(sorted(state), most=4)}). "
            f"Pass model.safetensors of {CA_MAE_HUB}."
        )
        raise ValueError(msg)
    named = {key.removeprefix(inside[0]): value for key, value in state.items() if key.startswith(inside[0])}
    named = {key: value for key, value in named.items() if not key.startswith("fc_norm.")}
    if "pos_embed" in named:
        named["pos_embed"] = _one_table(named["pos_embed"], path)
    return named


def _one_table(pos_1td: torch.Tensor, path: Path) -> torch.Tensor:
    """Return class position and the table of one channel; a file may repeat it for as many channels as training had."""
    places = pos_1td.shape[1] - 1 if pos_1td.ndim == 3 else 0
    for channels in range(places, 0, -1):  # four tables of 16 x 16 are one of 32 x 32 as well: repeats come first
        side = round((places / channels) ** 0.5)
        if side * side * channels == places:
            table = pos_1td[:, 1:].unflatten(1, (channels, side * side))
            if torch.equal(table, table[:, :1].expand_as(table)):
                return torch.cat([pos_1td[:, :1], table[:, 0]], dim=1)
    msg = (
        f"{path}: pos_embed of shape {tuple(pos_1td.shape)} is no square table behind a class position, once or "
        "repeated per channel. "
        f"Pass model.safetensors of {CA_MAE_HUB}."
    )
    raise ValueError(msg)


def read_net(path: Path) -> ChannelViT:
    """Return the network of a file of weights; its width, depth and heads are those of the tensors."""
    state = backbone(_state.read(path), path)
    size = {key: value.shape for key, value in state.items()}
    dim = size["cls_token"][-1]
    blocks = {int(found[1]) for key in state if (found := re.match(r"blocks\.(\d+)\.", key))}
    shape: dict[str, Any] = {
        "dim": dim,
        "depth": max(blocks, default=11) + 1,
        "heads": dim // size.get("blocks.0.q_norm.weight", (64,))[0],
        "hidden": size.get("blocks.0.mlp_bias", (4 * dim,))[0],
        "patch": size.get("patch_embed.proj.weight", (16,))[-1],
        "grid": round((size.get("pos_embed", (1, 257))[1] - 1) ** 0.5),
        "normed": "norm.weight" in state,
    }
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        net = ChannelViT(**shape)
    _state.fill(
        net,
        state,
        path,
        what="the encoder of CA-MAE",
        fix=f"Pass model.safetensors of {CA_MAE_HUB}, or a file with the same names.",
    )
    return net


class CaMae(Model):
    """A channel-agnostic encoder with its card.

    It knows no markers: channels are normalised with the statistics of the vocabulary, or of the images where it has
    none, and passed as they are (KRONOS paper, Evaluation baselines).

    Parameters
    ----------
    net
        The network.
    card
        What it is.
    sha256
        Of the weights file.
    """

    key = "ca_mae"
    image_statistics: ClassVar[bool] = True

    def __init__(self, net: ChannelViT, card: Card = CA_MAE, sha256: str = "") -> None:
        self.net, self.card, self.sha256 = net.eval().requires_grad_(requires_grad=False), card, sha256
        self.vocabulary = paper_vocabulary()

    def width(self, kind: str, markers: int) -> int:
        """Return D for the class token, markers · D for marker features and for each token."""
        return self.net.dim * (1 if kind == "cls" else markers)

    def tokens(self, size: int, markers: int) -> int:
        """Return 1 + markers · tokens of one marker."""
        return 1 + markers * (size // self.net.patch) ** 2

    def token_grid(self, size: int) -> TokenGrid:
        """Return where the tokens of a window lie."""
        return TokenGrid(size // self.net.patch, self.net.patch, self.net.patch / 2)

    def encode(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask_bhw: torch.Tensor, kinds: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Return mean tokens per marker (b, m · d, blocks in panel order), the class token (b, d) and tokens (b, r · c · m · d)."""
        features = self.net(pixels_bmhw.to(self.input_format))
        named = {
            "marker": lambda: features.markers.flatten(1),
            "cls": lambda: features.cls,
            "token": lambda: features.tokens.permute(0, 2, 3, 1, 4).flatten(1),
        }
        return {kind: named[kind]() for kind in kinds}


def load_ca_mae(*, weights: str | os.PathLike[str] | None = None) -> CaMae:
    """Return the encoder with weights of a local file, or of the hub with the user's own login and cache."""
    from kronos_sc.models._hub import fetch_weights

    if weights is None:
        path, card = fetch_weights(CA_MAE_HUB, "model.safetensors"), CA_MAE
    else:  # the file's name, not its place: paths do not belong into results
        path = Path(weights).expanduser()
        card = replace(CA_MAE, source=f"file {path.name}")
    return CaMae(read_net(path), card, sha256=_weights.sha256(path))
