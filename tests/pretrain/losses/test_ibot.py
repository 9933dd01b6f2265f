from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kronos_pretrain.losses.ibot import ibot_loss


def naive(student, teacher, masks, markers, temperature):
    """Crop by crop, token by token."""
    first = 0
    crops = []
    for mask in masks:
        count = int(mask.sum()) * markers
        tokens = [-(teacher[i] * F.log_softmax(student[i] / temperature, 0)).sum() for i in range(first, first + count)]
        crops.append(sum(tokens) / count if count else torch.tensor(0.0))
        first += count
    return sum(crops) / len(crops)


@pytest.fixture
def masks(golden):
    return torch.from_numpy(np.random.RandomState(golden["seed"] + 2).rand(4, 9) < 0.4)


def test_golden(normal, masks, golden) -> None:
    n = int(masks.sum())
    assert n == golden["n_masked"]
    student = normal(golden["seed"] + 3, n, 32)
    teacher = (normal(golden["seed"] + 4, n, 32) / 0.05).softmax(-1)
    assert ibot_loss(student, teacher, masks, markers=1, temperature=0.1).item() == pytest.approx(
        golden["ibot"], rel=1e-5
    )


@pytest.mark.parametrize("markers", [1, 3])
def test_is_that_of_the_loops(normal, masks, markers) -> None:
    masks = torch.cat([masks, torch.zeros(3, 9, dtype=torch.bool)])
    n = int(masks.sum()) * markers
    student = normal(0, n, 32).requires_grad_()
    teacher = normal(1, n, 32).softmax(-1)
    actual, expected = (f(student, teacher, masks, markers=markers, temperature=0.1) for f in (ibot_loss, naive))
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad(actual, student), torch.autograd.grad(expected, student), rtol=1e-4, atol=1e-7
    )


def test_masked_crops_count_equally_however_much_they_hide() -> None:
    masks = torch.tensor([[True, False, False], [True, True, True]])
    loss = ibot_loss(torch.zeros(4, 5), torch.eye(5)[:4], masks, markers=1, temperature=0.1)
    assert loss.item() == pytest.approx(np.log(5), rel=1e-6)


def test_nothing_hidden_is_an_exact_zero_with_a_graph() -> None:
    student = torch.zeros(0, 5, requires_grad=True)
    loss = ibot_loss(student, torch.zeros(0, 5), torch.zeros(4, 9, dtype=torch.bool), markers=3, temperature=0.1)
    loss.backward()
    assert loss.item() == 0
    assert student.grad.shape == (0, 5)
