"""Vision backbones for colour images behind the interface of every encoder: one marker, one image."""

# Shapes: b units, m markers, h × w pixels, r × c tokens, d features of an image, e of a token.
from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from kronos_sc.markers import Vocabulary, paper_vocabulary
from kronos_sc.models._model import Model, TokenGrid

if TYPE_CHECKING:
    import torch

    from kronos_sc.models._card import Card
    from kronos_sc.models.encoders.resize import Fit


class Backbone(Protocol):
    """A network for images of one channel.

    Attributes
    ----------
    dim
        Features of an image (d).
    token_dim
        Features of a token (e); 0 where there are none.
    step
        Pixels from one token to the next.
    prefix
        Tokens of the sequence that are not on the grid.
    """

    dim: int
    token_dim: int
    step: int
    prefix: int

    def __call__(self, pixels_nhw: torch.Tensor, *, tokens: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return features of images (n, d), and of their tokens (n, r, c, e) if asked for."""


class VisionModel(Model):
    """A network for colour images, applied to each marker alone :cite:p:`Shaban2025`.

    As the baselines of the paper (Online Methods, Evaluation baselines): each marker is z-scored, stands for all three
    colours, is fitted to the patches of the network, and goes through it alone; the vectors of a unit's markers are
    concatenated in panel order (M · D). All markers of all units of a batch go through together. Markers without
    statistics take those of the images of the call.

    Parameters
    ----------
    net
        The network, a :class:`Backbone`.
    card
        What it is.
    fit
        How windows reach its size.
    key
        Name of the slots.
    sha256
        Of the weights file.
    vocabulary
        Names of markers, with statistics where there are some; the paper's names without any if left out.
    """

    image_statistics: bool = True

    def __init__(
        self,
        net: torch.nn.Module,
        card: Card,
        *,
        fit: Fit,
        key: str,
        sha256: str = "",
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self.net = net.eval().requires_grad_(requires_grad=False)
        self.card = card
        self.fit = fit
        self.key = key
        self.sha256 = sha256
        self.vocabulary = paper_vocabulary() if vocabulary is None else vocabulary

    @property
    def backbone(self) -> Backbone:
        """Return the network by what is asked of it here."""
        return cast("Backbone", self.net)

    def width(self, kind: str, markers: int) -> int:
        """Return markers · D; for `"cls"`, which is not offered, D, the width of a pass."""
        widths = {
            "marker": self.backbone.dim * markers,
            "token": self.backbone.token_dim * markers,
            "cls": self.backbone.dim,
        }
        return widths[kind]

    def tokens(self, size: int, markers: int) -> int:
        """Return the tokens of all markers; a ValueError for windows that are too small."""
        count = -(-self.fit.size(size) // self.backbone.step)
        return markers * (self.backbone.prefix + count**2)

    def token_grid(self, size: int) -> TokenGrid:
        """Return where the tokens of a window lie; a ValueError where there are none, or not on whole pixels."""
        if not self.backbone.token_dim:
            return super().token_grid(size)
        return self.fit.token_grid(size, self.backbone.step)

    def encode(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask_bhw: torch.Tensor, kinds: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Return features of the markers (b, m · d, blocks in panel order) and tokens (b, r · c · m · e)."""
        fitted_bmhw = self.fit(pixels_bmhw.to(self.input_format))
        b, m = fitted_bmhw.shape[:2]
        image_nd, token_nrce = self.backbone(fitted_bmhw.flatten(0, 1), tokens="token" in kinds)
        features = {"marker": image_nd.reshape(b, -1)}
        if token_nrce is not None:
            features["token"] = token_nrce.unflatten(0, (b, m)).permute(0, 2, 3, 1, 4).flatten(1)
        return {kind: features[kind] for kind in kinds}

    @property
    def facts(self) -> dict[str, object]:
        """Return what an embedding records of its model, how windows were fitted included."""
        return super().facts | {"fit": self.fit.mode}
