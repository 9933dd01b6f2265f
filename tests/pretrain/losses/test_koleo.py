from __future__ import annotations

import math

import pytest
import torch

from kronos_pretrain.losses.koleo import koleo


def naive(features):
    """All distances by two loops."""
    unit = [x / x.norm() for x in features]
    nearest = [
        min((torch.linalg.vector_norm(x - y + 1e-8) for j, y in enumerate(unit) if i != j), key=lambda d: d.item())
        for i, x in enumerate(unit)
    ]
    return -torch.stack([torch.log(d + 1e-8) for d in nearest]).mean()


def test_by_hand() -> None:
    """East, north and west: every nearest neighbour is √2 away."""
    assert koleo(torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])).item() == pytest.approx(
        -math.log(math.sqrt(2)), rel=1e-6
    )


def test_golden(normal, golden) -> None:
    assert koleo(normal(golden["seed"] + 6, 8, 16)).item() == pytest.approx(golden["koleo"], rel=1e-5)


def test_is_that_of_the_loops(normal) -> None:
    features = normal(0, 13, 6).requires_grad_()
    actual = koleo(features)
    expected = naive(features)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad(actual, features), torch.autograd.grad(expected, features), rtol=1e-4, atol=1e-6
    )


def test_finds_the_neighbour_where_dot_products_cannot(normal) -> None:
    """Class tokens of an untrained network differ in the fifth digit: their cosines are all 1 in float32."""
    features = torch.ones(20, 16) + 1e-5 * normal(0, 20, 16)
    expected = naive(features.double())
    assert koleo(features).item() == pytest.approx(expected.item(), rel=1e-2)
    assert koleo(features.double()).item() == pytest.approx(expected.item(), rel=1e-9)


def test_order_and_length_do_not_matter(normal) -> None:
    features = normal(0, 9, 6)
    torch.testing.assert_close(koleo(3 * features.flip(0)), koleo(features))


def test_equal_samples_stay_finite() -> None:
    features = torch.ones(4, 8, requires_grad=True)
    loss = koleo(features)
    loss.backward()
    assert loss.isfinite()
    assert features.grad.isfinite().all()


def test_one_sample_has_no_neighbour() -> None:
    features = torch.ones(1, 8, requires_grad=True)
    loss = koleo(features)
    loss.backward()
    assert loss.item() == 0
    assert features.grad.abs().sum() == 0


def test_half_precision_is_read_as_float32(normal) -> None:
    features = normal(0, 9, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(koleo(features), koleo(features.float()))
