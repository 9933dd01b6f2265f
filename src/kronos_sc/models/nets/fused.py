"""Linear maps for inference on processors: bias and GELU inside the matrix product, where oneDNN offers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from kronos_sc.models.inference.instructions import fused_linear

if TYPE_CHECKING:
    from torch import nn


def linear(layer: nn.Linear, x: torch.Tensor, *, gelu: bool = False) -> torch.Tensor:
    """Return `layer(x)`, followed by an exact GELU if asked for."""
    learning = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")
    on_cpu = x.device.type == "cpu" and x.dtype == layer.weight.dtype
    # the fused product saves one pass over the output for the bias and one for the GELU (measured per transformer
    # block: some 3 % in float32, 15 % in bfloat16)
    if on_cpu and not learning and (fused := fused_linear(x.dtype)) is not None:
        if gelu:
            return fused(x, layer.weight, layer.bias, "gelu", [], "none")
        return fused(x, layer.weight, layer.bias, "none", [], "")
    out = layer(x)
    return F.gelu(out) if gelu else out
