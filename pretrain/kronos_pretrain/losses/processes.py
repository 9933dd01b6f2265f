"""Sums and gathers over the processes of a run.

With one process, or without `torch.distributed`, they return what they were given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def count(group: ProcessGroup | None = None) -> int:
    """Return the number of processes of a group; `None` is all of them."""
    return distributed.get_world_size(group) if distributed.is_available() and distributed.is_initialized() else 1


def total(x: torch.Tensor, group: ProcessGroup | None = None) -> torch.Tensor:
    """Return the sum of `x` over the processes; `x` itself is left as it is."""
    return _reduced(x, distributed.ReduceOp.SUM, group) if count(group) > 1 else x


def largest(x: torch.Tensor, group: ProcessGroup | None = None) -> torch.Tensor:
    """Return the elementwise maximum of `x` over the processes."""
    return _reduced(x, distributed.ReduceOp.MAX, group) if count(group) > 1 else x


def _reduced(x: torch.Tensor, operation: Any, group: ProcessGroup | None) -> torch.Tensor:
    reduced = x.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(reduced, operation, group=group)
    return reduced


def gathered(x: torch.Tensor, group: ProcessGroup | None = None) -> torch.Tensor:
    """Return the rows of all processes in the order of their ranks; every process holds equally many.

    A gradient on rows of another process travels back to it, where the gradients of all processes are added: if each
    process has the mean over its own rows as its loss, the average of the processes' gradients is the gradient of the
    mean over all rows.
    """
    return _Gather.apply(x, group) if count(group) > 1 else x


class _Gather(torch.autograd.Function):
    """All-gather whose backward pass adds what every process asks of the rows."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, group: ProcessGroup | None) -> torch.Tensor:
        ctx.group = group
        ctx.rows = len(x)
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(count(group))]
        distributed.all_gather(parts, x.contiguous(), group=group)
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        first = distributed.get_rank(ctx.group) * ctx.rows
        return total(grad, ctx.group)[first : first + ctx.rows], None
