"""The teacher's targets: a softmax around a running centre, or Sinkhorn–Knopp over the batch.

Both keep it from collapsing.
"""

# Shapes: n rows of this process, k prototypes.
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from kronos_pretrain.losses.cross_entropy import chunks, working_type
from kronos_pretrain.losses.processes import largest, total

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class Center(nn.Module):
    """Running mean of the teacher's logits (DINO: Caron et al. 2021; DINOv2: Oquab et al. 2023).

    Targets of a step use the centre of the steps before it. The logits of a step are observed in any number of parts,
    on any number of processes, and move the centre once, by their mean over all rows.

    Parameters
    ----------
    prototypes
        Length k.
    momentum
        Share of the old centre that stays.
    group
        Processes that share the centre; `None` is all of them.

    Attributes
    ----------
    center
        The centre (1, k), the one entry of the state.
    """

    def __init__(self, prototypes: int, *, momentum: float = 0.9, group: ProcessGroup | None = None) -> None:
        super().__init__()
        self.momentum = momentum
        self.group = group
        self.register_buffer("center", torch.zeros(1, prototypes))
        # sum of the rows observed, then their number
        self.register_buffer("seen", torch.zeros(1, prototypes + 1), persistent=False)

    @torch.no_grad()
    def probabilities(self, logits_nk: torch.Tensor, temperature: float) -> torch.Tensor:
        """Return softmax((logits − centre) / temperature), float32."""
        return torch.softmax((logits_nk.to(working_type(logits_nk)) - self.center) / temperature, dim=-1)

    @torch.no_grad()
    def observe(self, logits_nk: torch.Tensor) -> None:
        """Remember logits of this step."""
        self.seen[:, :-1] += logits_nk.sum(0, keepdim=True, dtype=self.seen.dtype)
        self.seen[:, -1] += len(logits_nk)

    @torch.no_grad()
    def update(self) -> None:
        """Move the centre towards the mean of what all processes observed since the last call.

        Without any row it stays.
        """
        seen = total(self.seen, self.group)
        rows = seen[:, -1:]
        mean = seen[:, :-1] / rows.clamp(min=1)
        self.center.lerp_(torch.where(rows > 0, mean, self.center), 1 - self.momentum)
        self.seen.zero_()


@torch.no_grad()
def sinkhorn(
    logits_nk: torch.Tensor, temperature: float, *, iterations: int = 3, group: ProcessGroup | None = None
) -> torch.Tensor:
    """Return targets that use all prototypes equally over the rows of all processes.

    Sinkhorn–Knopp (Cuturi 2013; SwAV: Caron et al. 2020): exp(logits / temperature) is scaled in turn to equal sums per
    prototype and to sums of one per row, `iterations` times. Only the logarithms of the two scalings are kept, so
    nothing overflows however large the logits are; each process may hold any number of rows, also none.

    Parameters
    ----------
    logits_nk
        The teacher's logits (n, k) on this process.
    temperature
        Of the exponential.
    iterations
        Rounds of scaling, at least 1.
    group
        Processes whose rows count together; `None` is all of them.

    Returns
    -------
    Targets (n, k), float32; rows sum to one.
    """
    n, k = logits_nk.shape
    dtype = working_type(logits_nk)
    prototype_k = torch.zeros(k, dtype=dtype, device=logits_nk.device)
    for iteration in range(iterations):
        local_k = torch.full_like(prototype_k, -torch.inf)
        for rows in chunks(logits_nk, n, k):
            x_ck = logits_nk[rows].to(dtype) / temperature
            if iteration:  # the rows' own scaling, which before the first round is none
                x_ck = x_ck - torch.logsumexp(x_ck - prototype_k, 1, keepdim=True)
            local_k = torch.logaddexp(local_k, torch.logsumexp(x_ck, 0))
        prototype_k = _log_total(local_k, group)
    out_nk = torch.empty(n, k, dtype=dtype, device=logits_nk.device)
    for rows in chunks(logits_nk, n, k):
        out_nk[rows] = torch.softmax(logits_nk[rows].to(dtype) / temperature - prototype_k, dim=1)
    return out_nk


def _log_total(log_k: torch.Tensor, group: ProcessGroup | None) -> torch.Tensor:
    """Return the logarithm of the sum of exponentials over processes; one without rows brings −∞."""
    peak_k = largest(log_k, group)
    return peak_k + torch.log(total(torch.exp(log_k - peak_k), group))
