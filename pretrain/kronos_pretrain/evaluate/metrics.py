"""How well classes were told apart; classes count alike, however many patches they have."""

# Shapes: n patches.
from __future__ import annotations

import torch


def scores(true_n: torch.Tensor, predicted_n: torch.Tensor) -> dict[str, float]:
    """Return balanced accuracy (mean recall) and macro F1 over the classes that `true_n` holds.

    Parameters
    ----------
    true_n, predicted_n
        Classes as whole numbers from 0 (n,), int64.
    """
    size = int(torch.maximum(true_n.max(), predicted_n.max())) + 1
    hits = torch.bincount(true_n[true_n == predicted_n], minlength=size).double()
    n_true = torch.bincount(true_n, minlength=size).double()
    n_predicted = torch.bincount(predicted_n, minlength=size).double()
    present = n_true > 0
    recall = hits[present] / n_true[present]
    f1 = 2 * hits[present] / (n_true + n_predicted)[present]
    return {"balanced_accuracy": float(recall.mean()), "macro_f1": float(f1.mean())}
