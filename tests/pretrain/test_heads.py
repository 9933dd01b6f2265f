from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from kronos_pretrain.config.schema import Head as HeadConfig
from kronos_pretrain.heads import Head
from kronos_pretrain.rng import RngStream, generator

DIM = 24


@pytest.fixture
def numbers() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def make(layers: int, numbers: torch.Generator) -> Head:
    head = Head(HeadConfig(prototypes=50, hidden=32, bottleneck=16, layers=layers), DIM)
    head.reset(numbers)
    return head


def reference(head: Head) -> nn.Module:
    """Return the last layer as torch normalises weights, with the gain held at one, and the same numbers."""
    layer = nn.Linear(16, 50, bias=False)
    layer.load_state_dict({"weight": head.last_layer.weight.detach()})
    layer = weight_norm(layer)
    layer.parametrizations.weight.original0.data.fill_(1)
    layer.parametrizations.weight.original0.requires_grad_(requires_grad=False)
    return layer


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_values_and_gradients_are_those_of_weight_norm(layers, numbers) -> None:
    head = make(layers, numbers)
    last = reference(head)
    x = torch.randn(7, DIM, generator=numbers)
    target = torch.randn(7, 50, generator=numbers)
    got = head(x)
    (got * target).sum().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in head.named_parameters()}
    head.zero_grad()
    expected = last(F.normalize(head.mlp(x), dim=-1))
    (expected * target).sum().backward()
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(
        gradients["last_layer.weight"], last.parametrizations.weight.original1.grad, rtol=1e-4, atol=1e-4
    )
    for name, parameter in head.mlp.named_parameters(prefix="mlp"):
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-5)


def test_names_are_those_of_dinov2() -> None:
    """So that heads can be told apart by name: linears at even places, GELU between."""
    head = Head(HeadConfig(prototypes=8, hidden=8, bottleneck=4, layers=3), DIM)
    mlp = [f"mlp.{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")]
    assert [name for name, _ in head.named_parameters()] == [*mlp, "last_layer.weight"]
    assert [name for name, _ in Head(HeadConfig(layers=1), DIM).named_parameters()] == [
        "mlp.0.weight",
        "mlp.0.bias",
        "last_layer.weight",
    ]


def test_logits_are_cosines(numbers) -> None:
    head = make(3, numbers)
    x = torch.randn(7, DIM, generator=numbers)
    before = head(x)
    with torch.no_grad():
        head.last_layer.weight *= 5
    torch.testing.assert_close(head(x), before, msg="the length of a prototype does not count")
    assert before.abs().max() <= 1 + 1e-6


def test_fresh_weights_come_from_the_generator(numbers) -> None:
    seeds = [int(generator(1, RngStream.WEIGHTS).integers(2**62)) for _ in range(2)]
    first, second = (make(2, torch.Generator().manual_seed(seed)).state_dict() for seed in seeds)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["mlp.0.bias"].abs().sum() == 0
    assert make(2, torch.Generator().manual_seed(9)).mlp[0].weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_normalises_in_float32(dtype, numbers) -> None:
    """Squares of 300 overflow in float16."""
    head = make(2, numbers)
    x = torch.randn(7, DIM, generator=numbers)
    wide = head(x)
    narrow = head.to(dtype)(x.to(dtype))
    assert narrow.dtype == dtype
    torch.testing.assert_close(narrow.float(), wide, rtol=0.05, atol=0.02)
    with torch.no_grad():
        head.mlp[-1].bias.fill_(300.0)
    assert head(x.to(dtype)).isfinite().all()


def test_no_rows_and_a_zero_row_pass(numbers) -> None:
    head = make(2, numbers)
    assert head(torch.empty(0, DIM)).shape == (0, 50)
    zero = torch.zeros(1, DIM, requires_grad=True)
    head(zero).sum().backward()
    assert zero.grad.isfinite().all()
