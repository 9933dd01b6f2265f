"""Spread of the class tokens over the sphere (KoLeo: Sablayrolles et al. 2019)."""

# Shapes: b samples of this process, g of all processes, d width.
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.nn import functional as F

from kronos_pretrain.losses.cross_entropy import working_type
from kronos_pretrain.losses.processes import count, gathered

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

EPS = 1e-8


def koleo(features_bd: torch.Tensor, *, group: ProcessGroup | None = None) -> torch.Tensor:
    """Return −mean log of the distance to the nearest other sample, of features scaled to length one.

    Neighbours are sought among the samples of all processes, which hold equally many; the mean is over those of this
    process. With a single sample in all there is no neighbour, and the loss is 0.

    Parameters
    ----------
    features_bd
        Class tokens of one view of each sample (b, d); views of one sample must not repel each other, so call it once
        per view.
    group
        Processes; `None` is all of them.
    """
    with torch.autocast(features_bd.device.type, enabled=False):
        unit_bd = F.normalize(features_bd.to(working_type(features_bd)), dim=1, eps=EPS)
        unit_gd = gathered(unit_bd, group)
        if len(unit_gd) < 2:
            return unit_bd.sum() * 0
        first = distributed.get_rank(group) * len(unit_bd) if count(group) > 1 else 0
        nearest_b = _nearest(unit_gd.detach(), first, len(unit_bd))
        return -torch.log(F.pairwise_distance(unit_bd, unit_gd[nearest_b], eps=EPS) + EPS).mean()


def _nearest(unit_gd: torch.Tensor, first: int, rows: int) -> torch.Tensor:
    """Return the nearest other sample of each of `rows` samples from `first` on.

    Distances do not change when the mean is taken off, but their digits do: at the start of training all class tokens
    nearly coincide, dot products of the vectors themselves are 1 to the last digit, and the neighbour found would
    depend on the order of summation.
    """
    centred_gd = unit_gd - unit_gd.mean(0)
    own_bd = centred_gd[first : first + rows]
    nearness_bg = own_bd @ centred_gd.T - 0.5 * centred_gd.square().sum(1)
    samples = torch.arange(rows, device=unit_gd.device)
    nearness_bg[samples, first + samples] = -torch.inf
    return nearness_bg.argmax(1)
