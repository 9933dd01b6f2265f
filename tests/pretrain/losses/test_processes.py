"""Two processes give what one gives on the rows of both."""

from __future__ import annotations

import pytest
import torch

from kronos_pretrain.losses import processes
from kronos_pretrain.losses.centering import Center, sinkhorn
from kronos_pretrain.losses.koleo import koleo

SCRIPT = """
from kronos_pretrain.losses.centering import Center, sinkhorn
from kronos_pretrain.losses.koleo import koleo

given = torch.load(f"{folder}/given.pt", weights_only=True)
weight = given["weight"].requires_grad_()
half = len(given["samples"]) // 2
loss = koleo(given["samples"][rank * half : (rank + 1) * half] @ weight)
loss.backward()
out = {"koleo": loss.detach(), "grad": weight.grad}
for name, first in (("uneven", 9), ("empty", 0)):
    own = given["logits"][:first] if rank == 0 else given["logits"][first:]
    out[name] = sinkhorn(own, 0.05)
    center = Center(32)
    center.observe(own)
    center.update()
    out[name + "_center"] = center.center
out["alone"] = koleo(given["samples"][rank : rank + 1])
torch.save(out, f"{folder}/{rank}.pt")
"""


@pytest.fixture
def both(run_processes, normal, tmp_path):
    """Inputs, and what each of two processes made of its share."""
    given = {"samples": normal(0, 10, 6), "weight": normal(1, 6, 5), "logits": 0.3 * normal(2, 12, 32)}
    torch.save(given, tmp_path / "given.pt")
    run_processes(SCRIPT, 2)
    return given, [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_processes_equal_one(both) -> None:
    given, parts = both
    weight = given["weight"].requires_grad_()
    loss = koleo(given["samples"] @ weight)
    loss.backward()
    torch.testing.assert_close((parts[0]["koleo"] + parts[1]["koleo"]) / 2, loss.detach())
    torch.testing.assert_close((parts[0]["grad"] + parts[1]["grad"]) / 2, weight.grad, rtol=1e-4, atol=1e-6)
    center = Center(32)
    center.observe(given["logits"])
    center.update()
    for name in ("uneven", "empty"):
        torch.testing.assert_close(
            torch.cat([part[name] for part in parts]), sinkhorn(given["logits"], 0.05), rtol=1e-4, atol=1e-9
        )
        assert torch.equal(parts[0][name + "_center"], parts[1][name + "_center"])
        torch.testing.assert_close(parts[0][name + "_center"], center.center)
    pair = koleo(given["samples"][:2])
    torch.testing.assert_close(parts[0]["alone"], pair, msg="one sample per process still has a neighbour")


def test_without_processes_everything_stays_as_it_is() -> None:
    x = torch.ones(2, 3)
    assert processes.count() == 1
    assert processes.total(x) is processes.largest(x) is processes.gathered(x) is x
