"""The projection head of DINO and iBOT (Caron et al. 2021, Zhou et al. 2022); parameter names follow DINOv2's."""

# Shapes: n rows, d width of the backbone, k prototypes.
from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from kronos_pretrain.config.schema import Head as HeadConfig


class Prototypes(nn.Module):
    """Linear map without bias whose rows have length one, whatever the length of the rows of its parameter.

    This is weight normalisation (Salimans & Kingma 2016) with the gain held at one, as DINOv2 trains it.
    """

    def __init__(self, width: int, prototypes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(prototypes, width))

    def forward(self, x_nd: torch.Tensor) -> torch.Tensor:
        """Return the inner product of each row with each prototype."""
        weight = F.normalize(self.weight.float(), dim=1).to(self.weight.dtype)
        return F.linear(x_nd.to(weight.dtype), weight)


class Head(nn.Module):
    """From tokens to logits over prototypes.

    An MLP with GELU, rows scaled to length one, then their cosines with the prototypes.

    Parameters
    ----------
    config
        Its shape.
    dim
        Width of the tokens.
    """

    def __init__(self, config: HeadConfig, dim: int) -> None:
        super().__init__()
        widths = [dim, *[config.hidden] * (config.layers - 1), config.bottleneck]
        # no GELU after the last layer: its rows are scaled to length one
        steps: list[nn.Module] = []
        for before, after in pairwise(widths):
            steps += [nn.Linear(before, after), nn.GELU()]
        self.mlp = nn.Sequential(*steps[:-1])
        self.last_layer = Prototypes(config.bottleneck, config.prototypes)
        self.reset()

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights: truncated normal of 0.02, zero biases."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.trunc_normal_(parameter, std=0.02, generator=generator)

    def forward(self, x_nd: torch.Tensor) -> torch.Tensor:
        """Return logits (n, k) between −1 and 1."""
        x_nd = self.mlp(x_nd)
        unit_nd = F.normalize(x_nd.float(), dim=-1, eps=1e-6)  # float32: the sum of squares overflows in float16
        return self.last_layer(unit_nd.to(x_nd.dtype))
