"""Linear maps for inference on processors: bias and GELU inside the matrix product, where oneDNN offers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import nn

# oneDNN's fused linear, the one torch's own compiler emits. In bfloat16 it saves one pass over the output for the bias and one for the
# GELU, some 15 % of a block; in float32 the product itself dominates and the plain call keeps bit parity with training.
_FUSED = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def linear(layer: nn.Linear, x: torch.Tensor, *, gelu: bool = False) -> torch.Tensor:
    """Return `layer(x)`, followed by an exact GELU if asked for."""
    if _FUSED is not None and x.dtype == torch.bfloat16 and x.device.type == "cpu" and not torch.is_grad_enabled():
        return _FUSED(x, layer.weight, layer.bias, "gelu" if gelu else "none", [], "none" if gelu else "")
    out = layer(x)
    return F.gelu(out) if gelu else out
