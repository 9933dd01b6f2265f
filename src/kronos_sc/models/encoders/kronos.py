"""KRONOS and its kin behind the interface of every encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc.models._model import Model, TokenGrid
from kronos_sc.models.nets.vit import features_by_kind

if TYPE_CHECKING:
    import torch

    from kronos_sc.markers import Vocabulary
    from kronos_sc.models._card import Card
    from kronos_sc.models.nets.vit import KronosViT


class KronosModel(Model):
    """A marker-aware vision transformer with its vocabulary and card.

    Parameters
    ----------
    net
        The network.
    card
        What it is.
    vocabulary
        Ids and statistics of its markers.
    sha256
        Of the weights file.
    """

    net: KronosViT
    key = "kronos"

    def __init__(self, net: KronosViT, card: Card, vocabulary: Vocabulary, sha256: str = "") -> None:
        self.net = net.eval().requires_grad_(requires_grad=False)
        self.card = card
        self.vocabulary = vocabulary
        self.sha256 = sha256

    def width(self, kind: str, markers: int) -> int:
        """Return D for the class token, markers · D for marker features and for each token."""
        if kind == "cls":
            return self.net.config.dim
        return self.net.config.dim * markers

    def tokens(self, size: int, markers: int) -> int:
        """Return 1 + registers + markers · tokens of one marker."""
        return 1 + self.net.config.registers + markers * self.token_grid(size).count ** 2

    def token_grid(self, size: int) -> TokenGrid:
        """Return where the tokens of a window lie."""
        patch = self.net.config.patch
        step = self.net.stride
        return TokenGrid((size - patch) // step + 1, step, patch / 2)

    def encode(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask_bhw: torch.Tensor, kinds: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Return marker features, class features and tokens.

        Marker features are (b, m · d), blocks in panel order; class features (b, d), tokens (b, r · c · m · d).
        """
        features = self.net(pixels_bmhw.to(self.net.cls_token.dtype), marker_ids_bm)
        return features_by_kind(features, kinds)

    @property
    def facts(self) -> dict[str, object]:
        """Return what an embedding records of its model, the blocks that ran included."""
        return super().facts | {
            "blocks": self.net.blocks_mode,
            "blocks_run": list(self.net.running),
            "token_overlap": self.net.token_overlap,
        }
