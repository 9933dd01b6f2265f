"""Numbers that are none end the run before the optimiser has moved, on every process.

The error names the place where they arose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kronos_pretrain.parallel import local
from kronos_sc._core.checks import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


SHARED = ("koleo", "total")  # terms that a fault of one process reaches on all of them

FIX = (
    "The weights are still those of the step before, and the last checkpoint is intact. Look at optim/grad_norm and "
    "collapse/* in metrics.jsonl; try a lower optim.lr, a longer optim.warmup_epochs, run.precision=bfloat16, or look "
    "at the images of this step"
)


def require_finite_losses(table: torch.Tensor, terms: Sequence[str], step: int) -> None:
    """Raise a FloatingPointError that names processes and loss terms.

    Parameters
    ----------
    table
        Losses of every process (world, terms).
    terms
        Their names.
    step
        Of the run.
    """
    bad = (~table.isfinite()).cpu()
    if not bad.any():
        return
    own = torch.tensor([name not in SHARED for name in terms])
    if (bad & own).any():  # then the terms that look at all processes' samples only echo it
        bad[~(bad & own).any(1)] = False
    places = []
    for rank, row in enumerate(bad):
        if row.any():
            names = (name for name, is_bad in zip(terms, row, strict=True) if is_bad)
            places.append(f"process {rank}: {', '.join(names)}")
    msg = f"Loss is not finite at step {step} ({'; '.join(places)}), of {len(bad)} processes. {FIX}."
    raise FloatingPointError(msg)


def require_finite_gradients(
    norm: torch.Tensor, parameters: Iterable[tuple[str, torch.nn.Parameter]], step: int, rank: int
) -> None:
    """Raise a FloatingPointError that names parameters whose gradient is not finite on this process."""
    if norm.isfinite():
        return
    names = [name for name, p in parameters if p.grad is not None and not local([p.grad])[0].isfinite().all()]
    place = f"not in the parameters that process {rank} holds"
    if names:
        place = f"seen by process {rank} in {listed(names, most=4)}"
    msg = f"The gradient is not finite at step {step}, although all losses are ({place}). {FIX}."
    raise FloatingPointError(msg)
