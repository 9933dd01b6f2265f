"""Agreement of the class tokens of different views of a sample (DINO: Caron et al. 2021; DINOv2: Oquab et al. 2023)."""

# Shapes: b samples, l local views, k prototypes; rows are view-major: view 0 of every sample, then view 1, …
from __future__ import annotations

from typing import NamedTuple

import torch

from kronos_pretrain.losses.cross_entropy import soft_cross_entropy


class Dino(NamedTuple):
    """The two parts of the loss; their sum is the mean over all pairs of views.

    Parameters
    ----------
    local
        Of the pairs of a local student view with a global teacher view.
    cross
        Of the pairs of the two global views, student against teacher.
    """

    local: torch.Tensor
    cross: torch.Tensor


def dino_loss(
    global_2bk: torch.Tensor, local_lbk: torch.Tensor, teacher_2bk: torch.Tensor, *, temperature: float
) -> Dino:
    """Return the mean cross-entropy over samples and pairs of a student view with another, global, teacher view.

    There are 2·l pairs of a local student view with a teacher view, and two pairs of global views: student view 0 with
    teacher view 1, and the reverse; a view never meets itself. Each part is the sum of its pairs' means over samples,
    divided by 2·l + 2, so that every pair has the same weight. This is DINOv2's normalisation: there the global part is
    the mean over both views times a `loss_scales` of 2, which is the sum of the two pairs.

    Parameters
    ----------
    global_2bk, local_lbk
        The student's logits for global views (2 · b, k) and local views (l · b, k); l may be 0.
    teacher_2bk
        Targets from the teacher for the global views (2 · b, k), in the same order.
    temperature
        Of the student's softmax.
    """
    b = len(teacher_2bk) // 2
    first_bk, second_bk = teacher_2bk[:b], teacher_2bk[b:]
    views = len(local_lbk) // b
    weight = 1 / (b * (2 * views + 2))
    # the targets change places rather than the student's rows: views of those would each get a gradient as large as
    # all rows
    cross = soft_cross_entropy(global_2bk, torch.cat([second_bk, first_bk]), temperature=temperature, weights_n=weight)
    if not views:
        return Dino(torch.zeros_like(cross), cross)
    # both teacher views at once: cross-entropy is linear in the targets
    local = soft_cross_entropy(local_lbk, first_bk + second_bk, temperature=temperature, weights_n=weight)
    return Dino(local, cross)
