"""The trained transformer: the model's own numbers, dropped paths, crops of several sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kronos_pretrain import backbone
from kronos_pretrain.backbone import DropPath, encode, make
from kronos_pretrain.data.batch import Crops
from kronos_sc.models import KronosViT


@pytest.fixture
def net(small) -> KronosViT:
    return make(small.settings().model, seed=3)


@pytest.fixture
def crops() -> list[Crops]:
    rng = torch.Generator().manual_seed(0)
    ids = torch.tensor([[4, 130, 200]])
    return [
        Crops(torch.randn(n, 3, side, side, generator=rng), ids.expand(n, 3), views)
        for n, side, views in ((8, 64, 2), (12, 32, 3))
    ]


def drop(rate: float, *, index: range = range(4), step: int = 0) -> DropPath:
    return DropPath(rate, seed=1, step=step, index=torch.tensor(list(index)), batch=4, device=torch.device("cpu"))


def plain(net: KronosViT) -> KronosViT:
    """Return the model as `kronos_sc` builds it, with the same weights."""
    model = KronosViT(net.config)
    model.load_state_dict(net.state_dict())
    return model


def test_names_of_parameters_are_those_of_the_model(net) -> None:
    assert list(net.state_dict()) == list(KronosViT(net.config).state_dict())


def test_without_dropping_it_is_the_model(net, crops) -> None:
    large, small = encode(net, crops)
    for ours, c in ((large, crops[0]), (small, crops[1])):
        theirs = plain(net)(c.pixels, c.marker_ids)
        normed = net.norm(ours)
        torch.testing.assert_close(normed[:, 0], theirs.cls, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(normed[:, 5:].reshape(theirs.tokens.shape), theirs.tokens, rtol=1e-5, atol=1e-5)


def test_weights_depend_on_the_seed_alone(net, small) -> None:
    torch.manual_seed(99)  # the global state plays no part, and is left alone
    before = torch.get_rng_state()
    again = make(small.settings().model, seed=3)
    other = make(small.settings().model, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    assert not torch.equal(net.pos_embed, other.pos_embed)
    assert float(net.block(0).ls1.gamma.detach()[0]) == 0.5


def test_a_dropped_branch_leaves_its_crop_alone_and_scales_the_others(net, crops) -> None:
    """Against a loop over crops that runs each branch or leaves it out."""
    dropped = drop(0.3)
    ours = encode(net, crops, drop=dropped)
    model = plain(net)
    for group, c in enumerate(crops):
        for row in range(len(c.pixels)):
            x, _ = model.embed(c.pixels[row : row + 1], c.marker_ids[row : row + 1])
            for index in range(4):
                block = model.block(index)
                for branch, part in enumerate(
                    ((block.norm1, block.attn, block.ls1), (block.norm2, block.mlp, block.ls2))
                ):
                    kept = dropped.kept(index, branch, group, c.views)
                    if row in kept.rows:
                        x = x + kept.scale * part[2].gamma * part[1](part[0](x))
            torch.testing.assert_close(ours[group][row], x[0], rtol=1e-5, atol=1e-5)


def test_the_same_number_of_crops_runs_in_every_branch() -> None:
    kept = [
        drop(0.3, step=step).kept(block, branch, 0, 3) for step in range(3) for block in range(4) for branch in range(2)
    ]
    assert {len(k.rows) for k in kept} == {8}  # of 12
    assert {k.scale for k in kept} == {12 / 8}
    assert len({tuple(k.rows.tolist()) for k in kept}) > 20  # others every time
    counts = np.bincount(torch.cat([k.rows for k in kept]).numpy(), minlength=12) / len(kept)
    assert counts.min() > 0.4
    assert counts.max() < 0.95


def test_processes_share_one_choice() -> None:
    """What two processes keep is what one would keep of the whole batch."""
    for block in range(4):
        whole = drop(0.3).kept(block, 0, 1, 3)
        chosen = set(whole.rows.tolist())
        for part in (range(2), range(2, 4)):
            mine = drop(0.3, index=part).kept(block, 0, 1, 3)
            numbers = {view * 4 + part[k] for view in range(3) for k in range(2)}
            local = {view * 2 + k: view * 4 + part[k] for view in range(3) for k in range(2)}
            assert {local[row] for row in mine.rows.tolist()} == chosen & numbers
            assert mine.scale == whole.scale


def test_a_process_that_keeps_nothing_still_has_a_gradient(net) -> None:
    c = Crops(torch.randn(2, 3, 32, 32), torch.tensor([[4, 130, 200]]).expand(2, 3), 2)
    shy = DropPath(0.999, seed=0, step=0, index=torch.tensor([0]), batch=50, device=torch.device("cpu"))
    assert any(shy.kept(b, 0, 0, 2).scale == 0 for b in range(4))
    encode(net, [c], drop=shy)[0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for b in range(4) for p in net.block(b).parameters())


def test_recomputing_changes_no_gradient(net, crops, small) -> None:
    thrifty = make(small.settings().model, seed=3, recompute=True)
    for model in (net, thrifty):
        sum(x.square().mean() for x in encode(model, crops, drop=drop(0.3))).backward()
    for a, b in zip(net.parameters(), thrifty.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad)


def test_blocks_are_entered_once_for_all_sizes(net, crops, monkeypatch) -> None:
    calls = []
    real = backbone.TrainedBlock.forward
    monkeypatch.setattr(
        backbone.TrainedBlock, "forward", lambda self, xs, kept: calls.append(len(xs)) or real(self, xs, kept)
    )
    encode(net, crops)
    assert calls == [2] * 4
