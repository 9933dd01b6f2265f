"""The k-NN probe of DINO (Caron et al. 2021, section 4.1; Wu et al. 2018).

There is no training, so it can be run at every look.
"""

# Shapes: n training and q tested patches, d features, k neighbours, c classes.
from __future__ import annotations

import torch
from torch.nn import functional as F

BLOCK = 1024  # tested patches at once


def predict(
    train_nd: torch.Tensor,
    codes_n: torch.Tensor,
    test_qd: torch.Tensor,
    *,
    classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> torch.Tensor:
    """Return the class that the k nearest training patches vote for (q,); a vote weighs exp(cosine / temperature).

    Parameters
    ----------
    train_nd, test_qd
        Features; lengths do not matter.
    codes_n
        Classes of the training patches.
    classes
        How many there are.
    k
        Neighbours; all training patches if there are fewer.
    temperature
        The smaller, the more the nearest ones decide.
    """
    train_dn = F.normalize(train_nd, dim=1).T
    predicted = []
    for block_qd in F.normalize(test_qd, dim=1).split(BLOCK):
        cosine_qk, index_qk = (block_qd @ train_dn).topk(min(k, len(train_nd)), dim=1)
        # relative to the nearest one: the same winner, and nothing overflows
        weight_qk = torch.exp((cosine_qk - cosine_qk[:, :1]) / temperature)
        votes_qc = weight_qk.new_zeros(len(block_qd), classes).scatter_add_(1, codes_n[index_qk], weight_qk)
        predicted.append(votes_qc.argmax(1))
    return torch.cat(predicted)
