"""Cross-entropy against soft targets, over tens of thousands of prototypes and in little memory."""

# Shapes: b rows of targets, v views, n = v · b rows of logits (view-major), k prototypes, c rows of one chunk.
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Iterator

# Bytes of one float32 scratch array. A processor keeps some of these in its cache, so that every pass after the first
# reads from there; a GPU wants enough rows to fill it.
CPU_BYTES = 1 << 20
GPU_BYTES = 1 << 28


def chunks(x: torch.Tensor, rows: int, width: int) -> Iterator[slice]:
    """Yield slices of `rows` so that `width` float32 numbers per row fit into the scratch array of `x`'s device."""
    step = max(1, (GPU_BYTES if x.is_cuda else CPU_BYTES) // (4 * max(width, 1)))
    yield from (slice(first, first + step) for first in range(0, rows, step))


def working_type(x: torch.Tensor) -> torch.dtype:
    """Return the type to calculate in: float32, or float64 for float64."""
    return torch.promote_types(x.dtype, torch.float32)


def soft_cross_entropy(
    logits_nk: torch.Tensor, targets_nk: torch.Tensor, *, temperature: float, weights_n: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """Return Σₙ wₙ · −Σₖ tₙₖ · log softmax(zₙ / τ)ₖ.

    The arithmetic is in float32 whatever the inputs are; of the size of the logits, only the inputs are kept for the
    backward pass.

    Parameters
    ----------
    logits_nk
        The student's z (n, k).
    targets_nk
        The teacher's t, a constant, (n, k), or (b, k) with n = v · b: then row i of the targets stands against rows i,
        b + i, 2b + i, … Rows need not sum to one. Cross-entropy is linear in the targets, so several targets of one row
        can be added up beforehand.
    temperature
        τ.
    weights_n
        One weight for each row of the logits, constants, or one for all.
    """
    n, k = logits_nk.shape
    b = len(targets_nk)
    if targets_nk.shape[1:] != (k,) or (n % b if b else n):
        msg = (
            f"Targets {tuple(targets_nk.shape)} do not fit logits {tuple(logits_nk.shape)}: the prototypes must agree "
            "and the rows of the logits be a multiple of the rows of the targets."
        )
        raise ValueError(msg)
    dtype = working_type(logits_nk)
    if not isinstance(weights_n, torch.Tensor):
        weights_n = logits_nk.new_full((n,), weights_n, dtype=dtype)
    weights = weights_n.detach().to(dtype)
    logits_vbk = logits_nk.unflatten(0, (n // b if b else 1, b))
    return _SoftCrossEntropy.apply(logits_vbk, targets_nk.detach(), weights.view(logits_vbk.shape[:2]), temperature)


class _SoftCrossEntropy(torch.autograd.Function):
    """The loss of all rows, chunk by chunk.

    The gradient is formed in the backward pass, from the softmax computed again, and not in the forward pass: in
    float16 it would underflow there, before the scaled gradient of the loss has been multiplied in.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits_vbk: torch.Tensor,
        targets_bk: torch.Tensor,
        weights_vb: torch.Tensor,
        temperature: float,
    ) -> torch.Tensor:
        v, b, k = logits_vbk.shape
        dtype = working_type(logits_vbk)
        normaliser_vb = weights_vb.new_empty(v, b)
        mass_b = weights_vb.new_empty(b)
        cross_vb = weights_vb.new_empty(v, b)
        for rows in chunks(logits_vbk, b, v * k):
            z_vck = logits_vbk[:, rows].to(dtype) / temperature
            t_ck = targets_bk[rows].to(dtype)
            normaliser_vb[:, rows] = torch.logsumexp(z_vck, -1)
            mass_b[rows] = t_ck.sum(-1)
            cross_vb[:, rows] = z_vck.mul_(t_ck).sum(-1)
        ctx.save_for_backward(logits_vbk, targets_bk, weights_vb, normaliser_vb, mass_b)
        ctx.temperature = temperature
        return (weights_vb * (mass_b * normaliser_vb - cross_vb)).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        logits_vbk, targets_bk, weights_vb, normaliser_vb, mass_b = ctx.saved_tensors
        v, b, k = logits_vbk.shape
        dtype = working_type(logits_vbk)
        grad_vbk = torch.empty_like(logits_vbk)
        scale_vb1 = (weights_vb * (grad / ctx.temperature)).unsqueeze(-1)
        for rows in chunks(logits_vbk, b, v * k):
            z_vck = logits_vbk[:, rows].to(dtype) / ctx.temperature
            softmax_vck = z_vck.sub_(normaliser_vb[:, rows, None]).exp_()
            softmax_vck.mul_(mass_b[rows, None]).sub_(targets_bk[rows].to(dtype))
            grad_vbk[:, rows] = softmax_vck.mul_(scale_vb1[:, rows])
        return grad_vbk, None, None, None
