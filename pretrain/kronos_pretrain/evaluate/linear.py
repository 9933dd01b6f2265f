"""The linear probe: multinomial logistic regression on standardised features.

Its strength is chosen within the training part.
"""

# Shapes: n training and q tested patches, d features, c classes.
from __future__ import annotations

import torch
from torch.nn import functional as F

from kronos_pretrain.evaluate.metrics import scores

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
HELD_OUT = 5  # every fifth patch of a class chooses the strength


def predict(train_nd: torch.Tensor, codes_n: torch.Tensor, test_qd: torch.Tensor, *, classes: int) -> torch.Tensor:
    """Return the classes of tested patches (q,).

    Parameters
    ----------
    train_nd, test_qd
        Features; standardised here by the mean and standard deviation of the training part.
    codes_n
        Classes of the training patches.
    classes
        How many there are.
    """
    mean = train_nd.mean(0)
    std = train_nd.std(0, correction=0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    train_nd = (train_nd - mean) / std
    test_qd = (test_qd - mean) / std
    weight, bias = fit(train_nd, codes_n, classes=classes, strength=_strength(train_nd, codes_n, classes))
    return (test_qd @ weight.T + bias).argmax(1)


def fit(
    x_nd: torch.Tensor,
    codes_n: torch.Tensor,
    *,
    classes: int,
    strength: float,
    start: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimise mean cross-entropy + strength / 2 · ‖W‖² by L-BFGS.

    Return W (c, d) and the bias (c,), which is not penalised.

    Parameters
    ----------
    x_nd, codes_n
        Features and classes.
    classes
        How many classes there are.
    strength
        Of the penalty.
    start
        Weights and bias to start from; zeros if left out.
    """
    zeros = (x_nd.new_zeros(classes, x_nd.shape[1]), x_nd.new_zeros(classes))
    weight, bias = (value.detach().clone().requires_grad_() for value in start or zeros)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=200,
        tolerance_grad=1e-5,
        tolerance_change=1e-9,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(x_nd @ weight.T + bias, codes_n) + strength / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return weight.detach(), bias.detach()


def _strength(x_nd: torch.Tensor, codes_n: torch.Tensor, classes: int) -> float:
    """Return the strength with the best balanced accuracy on held-out patches, the stronger one of equals."""
    held = held_out(codes_n)
    if not held.any():
        return STRENGTHS[len(STRENGTHS) // 2]
    best = -1.0
    chosen = STRENGTHS[0]
    fitted = None
    for strength in STRENGTHS:  # from strong to weak, each starting where the one before ended
        fitted = fit(x_nd[~held], codes_n[~held], classes=classes, strength=strength, start=fitted)
        weight, bias = fitted
        accuracy = scores(codes_n[held], (x_nd[held] @ weight.T + bias).argmax(1))["balanced_accuracy"]
        if accuracy > best:
            best = accuracy
            chosen = strength
    return chosen


def held_out(codes_n: torch.Tensor) -> torch.Tensor:
    """Return every fifth patch of each class (n,), bool: none of a class with fewer than five."""
    order = torch.argsort(codes_n, stable=True)
    counts = torch.bincount(codes_n)
    starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    rank = torch.arange(len(codes_n), device=codes_n.device) - starts  # within the class
    held = torch.empty_like(codes_n, dtype=torch.bool)
    held[order] = rank % HELD_OUT == HELD_OUT - 1
    return held
