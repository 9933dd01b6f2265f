from __future__ import annotations

import pytest
import torch

from kronos_pretrain.losses import cross_entropy
from kronos_pretrain.losses.centering import Center, sinkhorn

TEMPERATURE = 0.05


def naive_sinkhorn(logits, temperature, iterations):
    """Alternate scaling of exponentials, entry by entry, in float64."""
    q = torch.exp(logits.double() / temperature)
    n, k = q.shape
    for _ in range(iterations):
        for j in range(k):
            q[:, j] = q[:, j] / q[:, j].sum() / k
        for i in range(n):
            q[i] = q[i] / q[i].sum() / n
    return (q * n).float()


@pytest.fixture
def teacher(normal, golden):
    return 0.3 * normal(golden["seed"], 12, 32)


def test_centre_by_hand() -> None:
    center = Center(2, momentum=0.5)
    center.observe(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    center.observe(torch.tensor([[2.0, 1.0]]))
    center.update()
    assert center.center.tolist() == [[1.0, 1.5]]
    center.update()
    assert center.center.tolist() == [[1.0, 1.5]], "a step without rows leaves it"


def test_centre_golden(teacher, golden) -> None:
    center = Center(32)
    before = center.probabilities(teacher, TEMPERATURE)
    center.observe(teacher)
    assert center.center.abs().sum() == 0, "a step does not see its own logits"
    center.update()
    after = center.probabilities(teacher, TEMPERATURE)
    for got, key in ((before[0], "softmax_center0"), (center.center[0], "center"), (after[0], "softmax_center1")):
        torch.testing.assert_close(got[:5], torch.tensor(golden[key]), rtol=1e-5, atol=0)


def test_centre_does_not_depend_on_the_parts_it_sees(teacher) -> None:
    whole = Center(32)
    parts = Center(32)
    whole.observe(teacher)
    for part in teacher.split(5):
        parts.observe(part)
    whole.update()
    parts.update()
    torch.testing.assert_close(parts.center, whole.center, rtol=1e-5, atol=1e-7)


def test_state_of_the_centre_is_one_tensor(teacher) -> None:
    center = Center(32)
    other = Center(32)
    center.observe(teacher)
    center.update()
    other.load_state_dict(center.state_dict())
    assert {name: tuple(x.shape) for name, x in center.state_dict().items()} == {"center": (1, 32)}
    assert torch.equal(other.probabilities(teacher, 0.1), center.probabilities(teacher, 0.1))


def test_centre_reads_half_precision_as_float32(teacher) -> None:
    center = Center(32)
    center.observe(teacher.bfloat16().repeat(1000, 1))
    center.update()
    torch.testing.assert_close(center.center[0], 0.1 * teacher.bfloat16().float().mean(0), rtol=1e-4, atol=1e-6)


def test_sinkhorn_golden(teacher, normal, golden) -> None:
    got = sinkhorn(teacher, TEMPERATURE, iterations=3)
    torch.testing.assert_close(got[0, :5], torch.tensor(golden["sinkhorn"]), rtol=1e-5, atol=0)
    assert got[:, 0].sum().item() == pytest.approx(golden["sinkhorn_colsum0"], rel=1e-5)
    tokens = 0.3 * normal(golden["seed"] + 5, golden["n_masked"], 32)
    torch.testing.assert_close(
        sinkhorn(tokens, TEMPERATURE)[0, :5], torch.tensor(golden["ibot_sinkhorn"]), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("bytes_", [1, 1000, 1 << 20])
def test_sinkhorn_is_that_of_the_loops(teacher, iterations, bytes_, monkeypatch) -> None:
    monkeypatch.setattr(cross_entropy, "CPU_BYTES", bytes_)
    got = sinkhorn(teacher, TEMPERATURE, iterations=iterations)
    torch.testing.assert_close(got, naive_sinkhorn(teacher, TEMPERATURE, iterations), rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(got.sum(1), torch.ones(12))


def test_sinkhorn_uses_all_prototypes_equally(normal) -> None:
    got = sinkhorn(normal(0, 64, 8), 1.0, iterations=50)
    torch.testing.assert_close(got.sum(0), torch.full((8,), 8.0), rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_sinkhorn_never_overflows(normal, dtype) -> None:
    """Exponentiating logits of 1e4 over a temperature of 0.04 gives infinity."""
    got = sinkhorn((1e4 * normal(0, 16, 8)).to(dtype), 0.04)
    assert got.isfinite().all()
    torch.testing.assert_close(got.sum(1), torch.ones(16))


def test_sinkhorn_of_no_rows() -> None:
    assert sinkhorn(torch.empty(0, 8), 0.04).shape == (0, 8)


def test_targets_carry_no_gradient(teacher) -> None:
    learned = teacher.clone().requires_grad_()
    assert not sinkhorn(learned, 0.05).requires_grad
    assert not Center(32).probabilities(learned, 0.05).requires_grad
