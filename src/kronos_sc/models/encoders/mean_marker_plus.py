"""What classical single-cell analysis measures: mean, spread, percentiles of each marker, and the shape of the cell."""

# Shapes: b units, m markers, h × w pixels, k pixels of the largest unit of a batch, q percentiles.
from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from kronos_sc.markers import paper_vocabulary
from kronos_sc.models._card import Card
from kronos_sc.models._model import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

PERCENTILES = (5, 25, 50, 75, 95)
PER_MARKER = ("mean", "std", *(f"q{q:02d}" for q in PERCENTILES))
PER_UNIT = ("area", "eccentricity", "border")

MEAN_MARKER_PLUS = Card(
    name="mean-marker+",
    title=(
        "mean, standard deviation and percentiles of each marker inside the cell or box; "
        "area, eccentricity and border of the cell"
    ),
    licence="none needed",
    trained=None,
    features=("marker", "cls"),
    source="computed",
    architecture="statistics of the unit's pixels",
    patch_multiple=1,
    notes=(
        f"Kind 'marker': {', '.join(PER_MARKER)} of each marker, intensities scaled to [0, 1]. "
        f"Kind 'cls': {', '.join(PER_UNIT)}, one number each per cell."
    ),
)


class MeanMarkerPlus(Model):
    """Statistics of each marker over the pixels of a unit, and the unit's shape.

    A stronger baseline than the mean alone.

    Two kinds of features, because they live on different scales: intensities between 0 and 1 are compared by distance
    as they are, an area of some hundred pixels beside them would drown them.

    `"marker"`, seven numbers per marker, blocks in panel order (m · 7)
        `mean`, `std` (of the population), `q05`, `q25`, `q50`, `q75`, `q95`: percentiles with linear interpolation, as
        :func:`numpy.quantile` has them. Blocks of one marker line up across panels, as those of an embedding.

    `"cls"`, three numbers per unit
        `area`: pixels of the model's input inside the mask. `eccentricity`: of the ellipse with the same second
        moments, 0 for a circle, towards 1 for a line, as :func:`skimage.measure.regionprops` has it. `border`: 1 where
        the unit reaches the border of its window, because the window cuts it or because it is a box; whether the window
        reaches beyond the image says the flag `obs["mean_marker_plus_edge"]` of `tl.embed`.

    A unit without any pixel gets zeros.
    """

    key = "mean_marker_plus"
    needs_statistics: bool = False
    per_marker: ClassVar[tuple[str, ...]] = PER_MARKER
    per_unit: ClassVar[tuple[str, ...]] = PER_UNIT

    def __init__(self) -> None:
        self.card = MEAN_MARKER_PLUS
        self.vocabulary = paper_vocabulary(mean=0.0, std=1.0)

    def width(self, kind: str, markers: int) -> int:
        """Return seven numbers per marker, or three per unit."""
        if kind == "cls":
            return len(PER_UNIT)
        return len(PER_MARKER) * markers

    def tokens(self, size: int, markers: int) -> int:
        """Return a cost in the unit of a transformer's tokens."""
        return 1

    def feature_names(self, markers: Sequence[str], kind: str = "marker") -> list[str]:
        """Return the name of each feature, `{marker}_{statistic}`, or those of the shape for the kind `"cls"`."""
        if kind == "cls":
            return list(PER_UNIT)
        return [f"{marker}_{statistic}" for marker in markers for statistic in PER_MARKER]

    def encode(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask_bhw: torch.Tensor, kinds: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Return statistics of each marker (b, m · 7) and of the shape (b, 3)."""
        makers = {"marker": lambda: _intensities(pixels_bmhw, mask_bhw), "cls": lambda: _shape(mask_bhw)}
        return {kind: makers[kind]() for kind in kinds}


def _intensities(pixels_bmhw: torch.Tensor, mask_bhw: torch.Tensor) -> torch.Tensor:
    """Return mean, standard deviation and percentiles of each marker inside the mask (b, m · 7)."""
    x_bmk, inside_b1k, n_b11 = _gather_pixels(pixels_bmhw, mask_bhw)
    divisor = n_b11.clamp_min(1)
    mean = torch.where(inside_b1k, x_bmk, 0).sum(-1, keepdim=True) / divisor
    deviation = torch.where(inside_b1k, x_bmk - mean, 0)
    std = (deviation.square().sum(-1, keepdim=True) / divisor).sqrt()
    ranked = torch.where(inside_b1k, x_bmk, torch.inf).sort(-1).values  # what is outside ranks last
    features = torch.cat([mean, std, _percentiles(ranked, divisor)], dim=-1)
    return torch.where(n_b11 > 0, features, 0).flatten(1)


def _gather_pixels(
    pixels_bmhw: torch.Tensor, mask_bhw: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the pixels of each unit side by side (b, m, k), which of them count (b, 1, k), and how many do (b, 1, 1).

    A cell fills a small part of its window: what follows, the sorting above all, looks at nothing else.
    """
    mask = mask_bhw.flatten(1)
    count = mask.sum(1)
    k = max(1, int(count.max())) if len(count) else 1
    # a stable sort of the mask: positions inside come first, in their own order
    position = mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :k]
    x = pixels_bmhw.flatten(2)
    x_bmk = x.gather(2, position[:, None].expand(-1, x.shape[1], -1))
    inside = torch.arange(k, device=mask.device) < count[:, None]
    return x_bmk, inside[:, None], count[:, None, None]


def _percentiles(ranked_bmk: torch.Tensor, n_b11: torch.Tensor) -> torch.Tensor:
    """Return percentiles (b, m, q) of sorted values: between two ranks, in proportion."""
    share = torch.tensor(PERCENTILES, device=ranked_bmk.device, dtype=torch.float32) / 100
    rank = (n_b11 - 1) * share
    low = rank.floor()
    shape = (-1, ranked_bmk.shape[1], -1)
    below = ranked_bmk.gather(2, low.long().expand(shape))
    above = ranked_bmk.gather(2, rank.ceil().long().expand(shape))
    # a unit without pixels has infinite values here, which are replaced later
    return torch.lerp(below, above, (rank - low).expand(shape).to(below.dtype))


def _shape(mask_bhw: torch.Tensor) -> torch.Tensor:
    """Return area, eccentricity and whether the border of the window is reached (b, 3)."""
    mask = mask_bhw.float()
    n = mask.sum((1, 2))
    divisor = n.clamp_min(1)
    y, x = (torch.arange(extent, device=mask.device, dtype=torch.float32) for extent in mask.shape[1:])
    per_row = mask.sum(2)
    per_column = mask.sum(1)
    y = y - ((per_row @ y) / divisor)[:, None]  # around the centroid: small numbers, exact in float32
    x = x - ((per_column @ x) / divisor)[:, None]
    yy = (per_row * y**2).sum(1) / divisor
    xx = (per_column * x**2).sum(1) / divisor
    xy = torch.einsum("bhw,bh,bw->b", mask, y, x) / divisor

    # eigenvalues of the matrix of second moments are center ± radius
    center = (yy + xx) / 2
    radius = torch.hypot((yy - xx) / 2, xy)
    eccentricity = torch.where(center + radius > 0, 2 * radius / (center + radius), 0).clamp(0, 1).sqrt()

    edges = (mask_bhw[:, 0], mask_bhw[:, -1], mask_bhw[:, :, 0], mask_bhw[:, :, -1])
    border = torch.stack([edge.any(1) for edge in edges]).any(0)
    return torch.stack([n, eccentricity, border.float()], dim=1)
