"""Mean marker expression: the baseline that every embedding is shown beside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc.markers import paper_vocabulary
from kronos_sc.models._card import Card
from kronos_sc.models._model import Model, TokenGrid

if TYPE_CHECKING:
    import torch

MEAN_MARKER = Card(
    name="mean-marker",
    title="mean marker expression inside the cell or box, one number per marker",
    licence="none needed",
    trained=None,
    features=("marker",),
    source="computed",
    architecture="mean over the unit's pixels",
    patch_multiple=1,
    notes="Intensities are scaled by the image's value range, so a feature is the mean intensity between 0 and 1.",
)

TOKEN = 16  # pixels along each axis that make one number of a map: those of a token of KRONOS


class MeanMarker(Model):
    """Mean of each marker over the pixels of a unit; the part of a window beyond the image does not count.

    Its tokens are means over squares of 16 pixels: raw intensities at the resolution of the tokens of KRONOS.
    """

    key = "mean_marker"
    needs_statistics: bool = False

    def __init__(self) -> None:
        self.card = MEAN_MARKER
        self.vocabulary = paper_vocabulary(mean=0.0, std=1.0)

    def width(self, kind: str, markers: int) -> int:
        """Return one number per marker."""
        return markers

    def tokens(self, size: int, markers: int) -> int:
        """Return a cost in the unit of a transformer's tokens."""
        return 1

    def encode(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask_bhw: torch.Tensor, kinds: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Return the mean of each marker inside the mask (b, m), and of each square (b, r · c · m)."""
        makers = {"marker": lambda: _mean(pixels_bmhw, mask_bhw), "token": lambda: _squares(pixels_bmhw)}
        return {kind: makers[kind]() for kind in kinds}

    def token_grid(self, size: int) -> TokenGrid:
        """Return where the squares of a window lie."""
        return TokenGrid(size // TOKEN, TOKEN, TOKEN / 2)


def _mean(pixels_bmhw: torch.Tensor, mask_bhw: torch.Tensor) -> torch.Tensor:
    inside = mask_bhw[:, None].to(pixels_bmhw.dtype)
    return (pixels_bmhw * inside).sum((2, 3)) / inside.sum((2, 3)).clamp_min(1)


def _squares(pixels_bmhw: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    return functional.avg_pool2d(pixels_bmhw, TOKEN).permute(0, 2, 3, 1).flatten(1)
