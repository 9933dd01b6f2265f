"""CA-MAE behind the interface of every encoder: its card, its published file, its features."""

# Shapes: b images, m channels, h × w pixels, r × c tokens per channel, t tokens, d width.
from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kronos_sc._core.checks import listed
from kronos_sc.markers import paper_vocabulary
from kronos_sc.models import _state, _weights
from kronos_sc.models._card import Card
from kronos_sc.models._model import Model, TokenGrid
from kronos_sc.models.nets.ca_mae import ChannelViT
from kronos_sc.models.nets.vit import features_by_kind

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
    prefixes = sorted(stem for stem in stems if stem.endswith(_BACKBONE)) or sorted(stems & {""})
    if len(prefixes) != 1:
        msg = (
            f"{path} holds no encoder of CA-MAE: exactly one '…{_BACKBONE}cls_token' or 'cls_token' is expected, "
            f"found {listed(sorted(stem + 'cls_token' for stem in stems))} among {len(state)} tensors "
            f"({listed(sorted(state), most=4)}). Pass model.safetensors of {CA_MAE_HUB}."
        )
        raise ValueError(msg)
    prefix = prefixes[0]
    tensors = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    tensors = {key: value for key, value in tensors.items() if not key.startswith("fc_norm.")}
    if "pos_embed" in tensors:
        tensors["pos_embed"] = _single_table(tensors["pos_embed"], path)
    return tensors


def _single_table(pos_1td: torch.Tensor, path: Path) -> torch.Tensor:
    """Return class position and the table of one channel; a file may repeat it for as many channels as training had."""
    n_positions = pos_1td.shape[1] - 1 if pos_1td.ndim == 3 else 0
    for channels in range(n_positions, 0, -1):  # four tables of 16 x 16 are one of 32 x 32 as well: repeats come first
        side = round((n_positions / channels) ** 0.5)
        if side * side * channels == n_positions:
            table = pos_1td[:, 1:].unflatten(1, (channels, side * side))
            if torch.equal(table, table[:, :1].expand_as(table)):
                return torch.cat([pos_1td[:, :1], table[:, 0]], dim=1)
    msg = (
        f"{path}: pos_embed of shape {tuple(pos_1td.shape)} is no square table behind a class position, once or "
        f"repeated per channel. Pass model.safetensors of {CA_MAE_HUB}."
    )
    raise ValueError(msg)


def read_net(path: Path) -> ChannelViT:
    """Return the network of a file of weights; its width, depth and heads are those of the tensors."""
    state = backbone(_state.read(path), path)
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    dim = shapes["cls_token"][-1]
    blocks = {int(match[1]) for key in state if (match := re.match(r"blocks\.(\d+)\.", key))}
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        # where a tensor is missing, the published shape: the check that follows names it
        net = ChannelViT(
            dim=dim,
            depth=max(blocks, default=11) + 1,
            heads=dim // shapes.get("blocks.0.q_norm.weight", (64,))[0],
            hidden=shapes.get("blocks.0.mlp_bias", (4 * dim,))[0],
            patch=shapes.get("patch_embed.proj.weight", (16,))[-1],
            grid=round((shapes.get("pos_embed", (1, 257))[1] - 1) ** 0.5),
            normed="norm.weight" in state,
        )
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

    net: ChannelViT
    key = "ca_mae"
    image_statistics: bool = True

    def __init__(self, net: ChannelViT, card: Card = CA_MAE, sha256: str = "") -> None:
        self.net = net.eval().requires_grad_(requires_grad=False)
        self.card = card
        self.sha256 = sha256
        self.vocabulary = paper_vocabulary()

    def width(self, kind: str, markers: int) -> int:
        """Return D for the class token, markers · D for marker features and for each token."""
        if kind == "cls":
            return self.net.dim
        return self.net.dim * markers

    def tokens(self, size: int, markers: int) -> int:
        """Return 1 + markers · tokens of one marker."""
        return 1 + markers * (size // self.net.patch) ** 2

    def token_grid(self, size: int) -> TokenGrid:
        """Return where the tokens of a window lie."""
        return TokenGrid(size // self.net.patch, self.net.patch, self.net.patch / 2)

    def encode(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask_bhw: torch.Tensor, kinds: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Return mean tokens per marker, the class token and tokens.

        Marker features are (b, m · d), blocks in panel order; the class token (b, d), tokens (b, r · c · m · d).
        """
        return features_by_kind(self.net(pixels_bmhw.to(self.input_format)), kinds)


def load_ca_mae(*, weights: str | os.PathLike[str] | None = None) -> CaMae:
    """Return the encoder with weights of a local file, or of the hub with the user's own login and cache."""
    from kronos_sc.models._hub import fetch_weights

    if weights is None:
        path = fetch_weights(CA_MAE_HUB, "model.safetensors")
        card = CA_MAE
    else:  # the file's name, not its place: paths do not belong into results
        path = Path(weights).expanduser()
        card = replace(CA_MAE, source=f"file {path.name}")
    return CaMae(read_net(path), card, sha256=_weights.sha256(path))
