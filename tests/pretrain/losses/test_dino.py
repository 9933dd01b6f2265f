from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from kronos_pretrain.losses.cross_entropy import soft_cross_entropy
from kronos_pretrain.losses.dino import dino_loss


def naive(global_, local, teacher, temperature):
    """Mean over samples and over the pairs of views, one cross-entropy at a time."""
    b = len(teacher) // 2
    student = [*global_.split(b), *(local.split(b) if len(local) else [])]
    parts = {"local": [], "cross": []}
    for s, z in enumerate(student):
        for t, target in enumerate(teacher.split(b)):
            if s != t:
                each = torch.stack([-(target[i] * F.log_softmax(z[i] / temperature, 0)).sum() for i in range(b)])
                parts["cross" if s < 2 else "local"].append(each.mean())
    pairs = len(parts["local"]) + len(parts["cross"])
    return sum(parts["local"], torch.tensor(0.0)) / pairs, sum(parts["cross"]) / pairs


@pytest.fixture
def inputs(normal, golden):
    """The golden student and the golden teacher's targets, 6 samples."""
    teacher = (0.3 * normal(golden["seed"], 12, 32) / 0.05).softmax(-1)
    return 0.5 * normal(golden["seed"] + 1, 12, 32), teacher


def test_golden_pairs(inputs, golden) -> None:
    """DINOv2's own functions: sums of means over samples, before the division by the number of pairs."""
    student, teacher = inputs
    local = soft_cross_entropy(student, teacher[:6] + teacher[6:], temperature=0.1, weights_n=1 / 6)
    assert local.item() == pytest.approx(golden["dino_local"], rel=1e-5)
    whole = soft_cross_entropy(student, teacher, temperature=0.1, weights_n=1 / 12)
    assert whole.item() == pytest.approx(golden["dino_global"], rel=1e-5)


def test_golden_normalisation(inputs, golden) -> None:
    """DINOv2 divides both by 2·l + 2 and doubles the global one.

    It pairs rows of a teacher whose views were swapped before.
    """
    student, teacher = inputs
    actual = dino_loss(student, student, torch.cat([teacher[6:], teacher[:6]]), temperature=0.1)
    assert actual.local.item() == pytest.approx(golden["dino_local"] / 6, rel=1e-5)
    assert actual.cross.item() == pytest.approx(2 * golden["dino_global"] / 6, rel=1e-5)


@pytest.mark.parametrize("views", [0, 1, 3])
def test_is_that_of_the_loops(inputs, normal, views) -> None:
    student, teacher = inputs
    global_ = student.clone().requires_grad_()
    local = normal(7, 6 * views, 32).requires_grad_()
    actual = dino_loss(global_, local, teacher, temperature=0.1)
    expected = naive(global_, local, teacher, 0.1)
    torch.testing.assert_close(torch.stack(actual), torch.stack(expected), rtol=1e-5, atol=1e-6)
    got_grads = torch.autograd.grad(sum(actual), (global_, local), allow_unused=True)
    want_grads = torch.autograd.grad(sum(expected), (global_, local), allow_unused=True)
    for g, w in zip(got_grads, want_grads, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-6)


def test_every_pair_has_the_same_weight() -> None:
    """An undecided student loses log k on each pair, so on their mean, however many local views there are."""
    teacher = torch.eye(5)[:4]
    for views in (0, 1, 8):
        actual = dino_loss(torch.zeros(4, 5), torch.zeros(2 * views, 5), teacher, temperature=0.1)
        assert sum(actual).item() == pytest.approx(torch.tensor(5.0).log().item(), rel=1e-5)


def test_order_of_samples_is_free(inputs, normal) -> None:
    student, teacher = inputs
    local = normal(7, 18, 32)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    moved = [x.unflatten(0, (-1, 6))[:, order].flatten(0, 1) for x in (student, local, teacher)]
    torch.testing.assert_close(
        torch.stack(dino_loss(*moved, temperature=0.1)),
        torch.stack(dino_loss(student, local, teacher, temperature=0.1)),
    )
