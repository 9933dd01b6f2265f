"""Early signs that a network gives everything the same answer; cheap enough for every line of the log."""

# Shapes: n crops, d width, k prototypes.
from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def monitors(cls_nd: torch.Tensor, targets_nk: torch.Tensor) -> dict[str, float]:
    """Return all monitors of a pass, `collapse/...`, with one wait for the device.

    Parameters
    ----------
    cls_nd
        Class tokens of the teacher, one row per global view.
    targets_nk
        The teacher's targets for them; each row sums to one.
    """
    with torch.no_grad():
        figures = {
            "collapse/feature_std": feature_std(cls_nd),
            "collapse/teacher_entropy": target_entropy(targets_nk),
            "collapse/target_entropy": target_entropy(targets_nk.float().mean(0, keepdim=True)),
            "collapse/rank": effective_rank(cls_nd),
        }
        values = torch.stack([value.float() for value in figures.values()])
        return dict(zip(figures, values.tolist(), strict=True))


def feature_std(cls_nd: torch.Tensor) -> torch.Tensor:
    """Return the mean over dimensions of the standard deviation of rows of length one, times √d.

    1 if the rows are spread evenly over the sphere, 0 if all are the same (Chen & He 2021); NaN for a single row.
    """
    unit_nd = F.normalize(cls_nd.float(), dim=1)
    if len(unit_nd) < 2:
        return unit_nd.new_tensor(math.nan)
    return unit_nd.std(0).mean() * math.sqrt(unit_nd.shape[1])


def target_entropy(targets_nk: torch.Tensor) -> torch.Tensor:
    """Return the mean entropy of rows of probabilities over that of the uniform distribution.

    Of each target: 1 if the teacher says nothing (all prototypes alike), 0 if it is certain. Of the mean target: near 1
    if all prototypes are in use, 0 if every crop gets the same one. Collapse is the first near 1 or the second near 0.
    """
    return torch.special.entr(targets_nk.float()).sum(1).mean() / math.log(targets_nk.shape[1])


def effective_rank(cls_nd: torch.Tensor) -> torch.Tensor:
    """Return RankMe, the exponential of the entropy of the normalised singular values (Garrido et al. 2023).

    At most min(n, d).

    The singular values come from the smaller Gram matrix, in float64 so that squaring loses nothing that counts.
    """
    x_nd = cls_nd.double()
    gram = x_nd @ x_nd.T if len(x_nd) < x_nd.shape[1] else x_nd.T @ x_nd
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    return torch.special.entr(singular / singular.sum()).sum().exp()
