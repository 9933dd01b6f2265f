"""Prediction of hidden tokens (iBOT: Zhou et al. 2022; DINOv2: Oquab et al. 2023)."""

# Shapes: n hidden tokens, crop-major, k prototypes, c crops, p positions.
from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_pretrain.losses.cross_entropy import soft_cross_entropy, working_type

if TYPE_CHECKING:
    import torch


def ibot_loss(
    student_nk: torch.Tensor, teacher_nk: torch.Tensor, masks_cp: torch.Tensor, *, markers: int, temperature: float
) -> torch.Tensor:
    """Return the cross-entropy at hidden tokens.

    The mean over those of a crop, then over all crops, with 0 for crops that hide none.

    Parameters
    ----------
    student_nk
        The student's logits at the hidden tokens, those of crop 0 first, then crop 1, …; the order within a crop is
        free.
    teacher_nk
        The teacher's targets at the same tokens.
    masks_cp
        Hidden positions of every global crop of this process (c, p), bool, crops that hide none included.
    markers
        Markers per crop; each hides the same positions, so that n = markers · hidden positions.
    temperature
        Of the student's softmax.

    Returns
    -------
    A scalar; without any hidden token an exact zero that still has a gradient (of zero), so that all processes take the
    same path.
    """
    hidden_c = masks_cp.sum(1) * markers
    weights_c = 1 / (hidden_c.clamp(min=1) * len(masks_cp)).to(working_type(student_nk))
    weights_n = weights_c.repeat_interleave(hidden_c, output_size=len(student_nk))
    return soft_cross_entropy(student_nk, teacher_nk, temperature=temperature, weights_n=weights_n)
