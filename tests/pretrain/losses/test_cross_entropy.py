from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from kronos_pretrain.losses import cross_entropy
from kronos_pretrain.losses.cross_entropy import soft_cross_entropy


def naive(logits, targets, temperature, weights):
    """Row by row, with the whole log-softmax."""
    repeated = targets.repeat(len(logits) // len(targets), 1)
    rows = [-(t * F.log_softmax(z / temperature, -1)).sum() for z, t in zip(logits, repeated, strict=True)]
    return (torch.stack(rows) * weights).sum()


@pytest.fixture
def small_chunks(monkeypatch):
    """One or two rows per chunk."""
    monkeypatch.setattr(cross_entropy, "CPU_BYTES", 200)


def test_by_hand() -> None:
    """Two prototypes with logits 0 and log 3 at temperature 1 have probabilities 1/4 and 3/4."""
    logits = torch.tensor([[0.0, math.log(3)]])
    loss = soft_cross_entropy(logits, torch.tensor([[1.0, 0.0]]), temperature=1.0, weights_n=torch.tensor([2.0]))
    assert loss.item() == pytest.approx(2 * math.log(4))


@pytest.mark.parametrize("views", [1, 3])
def test_values_and_gradients_are_those_of_the_plain_formula(normal, views, small_chunks) -> None:
    logits = normal(0, 5 * views, 16).requires_grad_()
    targets = normal(1, 5, 16).abs()
    weights = normal(2, 5 * views).abs()
    actual = soft_cross_entropy(logits, targets, temperature=0.1, weights_n=weights)
    (grad,) = torch.autograd.grad(actual, logits)
    expected = naive(logits, targets, 0.1, weights)
    (want_grad,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(grad, want_grad, rtol=1e-4, atol=1e-5)


def test_gradcheck(normal, small_chunks) -> None:
    logits = normal(0, 6, 7).double().requires_grad_()
    targets = normal(1, 3, 7).double().abs()
    weights = normal(2, 6).double()
    assert torch.autograd.gradcheck(
        lambda z: soft_cross_entropy(z, targets, temperature=0.3, weights_n=weights), logits
    )


def test_chunks_change_nothing(normal, monkeypatch) -> None:
    logits = normal(0, 12, 16)
    targets = normal(1, 6, 16).softmax(-1)
    whole = soft_cross_entropy(logits, targets, temperature=0.1)
    monkeypatch.setattr(cross_entropy, "CPU_BYTES", 1)
    torch.testing.assert_close(soft_cross_entropy(logits, targets, temperature=0.1), whole, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(normal, dtype) -> None:
    logits = normal(0, 64, 300).to(dtype)
    targets = normal(1, 64, 300).softmax(-1)
    wide = logits.float().requires_grad_()
    narrow = logits.clone().requires_grad_()
    actual = soft_cross_entropy(narrow, targets, temperature=0.1)
    expected = soft_cross_entropy(wide, targets, temperature=0.1)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected)
    (actual * 1024).backward()
    (expected * 1024).backward()
    assert narrow.grad.dtype == dtype
    torch.testing.assert_close(narrow.grad.float(), wide.grad, rtol=0.01, atol=1e-3)


def test_a_scaled_loss_has_gradients_that_float16_alone_would_lose(normal) -> None:
    targets = normal(1, 4, 512).softmax(-1)
    grads = []
    for scale in (1, 2**16):
        logits = normal(0, 4, 512).half().requires_grad_()
        (soft_cross_entropy(logits, targets, temperature=1.0, weights_n=1e-7) * scale).backward()
        grads.append(logits.grad.count_nonzero().item())
    assert grads[0] == 0
    assert grads[1] > 1000


def test_no_rows_give_an_exact_zero_with_a_graph() -> None:
    logits = torch.empty(0, 8, requires_grad=True)
    loss = soft_cross_entropy(logits, torch.empty(0, 8), temperature=0.1, weights_n=torch.empty(0))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == (0, 8)


def test_only_the_inputs_are_kept_for_the_backward_pass(normal) -> None:
    logits = normal(0, 32, 1000).requires_grad_()
    targets = normal(1, 32, 1000)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        soft_cross_entropy(logits, targets, temperature=0.1)
    large = {x.untyped_storage().data_ptr() for x in kept if x.numel() > 1000}
    assert large == {logits.untyped_storage().data_ptr(), targets.untyped_storage().data_ptr()}


@pytest.mark.parametrize(("n", "shape"), [(5, (2, 4)), (4, (4, 3)), (4, (0, 4))])
def test_targets_that_do_not_fit_are_refused(n, shape) -> None:
    with pytest.raises(ValueError, match=r"do not fit logits"):
        soft_cross_entropy(torch.zeros(n, 4), torch.zeros(shape), temperature=0.1)
