from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from kronos_pretrain.config.schema import Config, Model
from kronos_pretrain.config.schema import Head as HeadConfig
from kronos_pretrain.heads import Head
from kronos_pretrain.optim import LossScale, adamw, parameter_groups, set_values
from kronos_pretrain.schedule import Values
from kronos_sc.models import KronosViT, ViTConfig

SHAPE = {"dim": 24, "depth": 4, "heads": 2, "chunks": 2, "grid": 2, "registers": 2}
VALUES = Values(lr=0.1, weight_decay=0.5, momentum=0.9, teacher_temperature=0.05, prototypes_frozen=False)


@pytest.fixture
def config() -> Config:
    return Config(model=Model(**SHAPE), head=HeadConfig(prototypes=16, hidden=16, bottleneck=8, layers=2))


@pytest.fixture
def network(config) -> nn.Module:
    net = nn.Module()
    net.backbone = KronosViT(ViTConfig(**SHAPE))
    net.dino_head = Head(config.head, SHAPE["dim"])
    return net


def by_name(groups: list[dict]) -> dict[str, dict]:
    return {name: group for group in groups for name in group["names"]}


@pytest.mark.parametrize(
    ("name", "lr", "decay", "last"),
    [
        ("backbone.cls_token", 0.9**5, 1, False),
        ("backbone.pos_embed", 0.9**5, 1, False),
        ("backbone.register_tokens", 0.9**5, 1, False),
        ("backbone.mask_token", 0.9**5, 1, False),
        ("backbone.patch_embed.proj.weight", 0.2 * 0.9**5, 1, False),
        ("backbone.patch_embed.proj.bias", 0.2 * 0.9**5, 0, False),
        ("backbone.blocks.0.0.attn.qkv.weight", 0.9**4, 1, False),
        ("backbone.blocks.0.1.attn.qkv.bias", 0.9**3, 0, False),
        ("backbone.blocks.1.2.norm1.weight", 0.9**2, 0, False),
        ("backbone.blocks.1.3.ls2.gamma", 0.9, 0, False),
        ("backbone.blocks.1.3.mlp.fc2.weight", 0.9, 1, False),
        ("backbone.norm.weight", 1, 0, False),
        ("dino_head.mlp.0.weight", 1, 1, False),
        ("dino_head.mlp.2.bias", 1, 0, False),
        ("dino_head.last_layer.weight", 1, 1, True),
    ],
)
def test_factors_of_each_parameter(network, config, name, lr, decay, last) -> None:
    group = by_name(parameter_groups(network, config))[name]
    assert (group["lr_factor"], group["decay_factor"], group["last_layer"]) == (pytest.approx(lr), decay, last)


def test_every_parameter_is_in_one_group_and_equal_ones_share_it(network, config) -> None:
    groups = parameter_groups(network, config)
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in network.named_parameters())
    assert len({(group["lr_factor"], group["decay_factor"], group["last_layer"]) for group in groups}) == len(groups)
    own = dict(network.named_parameters())
    assert all(p is own[name] for group in groups for name, p in zip(group["names"], group["params"], strict=True))


def test_frozen_parameters_are_left_out(network, config) -> None:
    network.backbone.requires_grad_(requires_grad=False)
    assert all(name.startswith("dino_head.") for name in by_name(parameter_groups(network, config)))


def test_values_reach_the_groups(network, config) -> None:
    optimizer = adamw(network, config)
    set_values(optimizer, VALUES)
    groups = by_name(optimizer.param_groups)
    assert groups["backbone.blocks.1.3.ls2.gamma"]["lr"] == pytest.approx(0.09)
    assert groups["backbone.blocks.1.3.ls2.gamma"]["weight_decay"] == 0
    assert (groups["dino_head.last_layer.weight"]["lr"], groups["dino_head.last_layer.weight"]["weight_decay"]) == (
        0.1,
        0.5,
    )
    set_values(optimizer, VALUES._replace(prototypes_frozen=True))
    assert by_name(optimizer.param_groups)["dino_head.last_layer.weight"]["lr"] == 0
    assert by_name(optimizer.param_groups)["dino_head.mlp.0.weight"]["lr"] == 0.1


def fill(network: nn.Module) -> None:
    """Give every parameter a gradient, different in each."""
    for i, parameter in enumerate(network.parameters()):
        parameter.grad = torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape) * (i + 1)


def test_a_step_is_that_of_the_formula(network, config) -> None:
    """First step of AdamW (Loshchilov & Hutter 2019): p · (1 − lr · wd) − lr · g / (|g| + ε)."""
    optimizer = adamw(network, config)
    set_values(optimizer, VALUES._replace(prototypes_frozen=True))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    fill(network)
    optimizer.step()
    for name, p in network.named_parameters():
        group = by_name(optimizer.param_groups)[name]
        expected = before[name] * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * p.grad / (
            p.grad.abs() + 1e-8
        )
        torch.testing.assert_close(p.detach(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(network.dino_head.last_layer.weight, before["dino_head.last_layer.weight"])


SHARDED = """
import sys
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from kronos_pretrain.config.schema import Config, Head as HeadConfig
from kronos_pretrain.heads import Head
from kronos_pretrain.optim import LossScale, adamw, set_values
from kronos_pretrain.schedule import Values

distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/store", rank=0, world_size=1)
config = Config(head=HeadConfig(prototypes=16, hidden=16, bottleneck=8, layers=2))
nets = []
for _ in range(2):
    net = nn.Module()
    net.dino_head = Head(config.head, 24)
    net.dino_head.reset(torch.Generator().manual_seed(1))
    nets.append(net)
fully_shard(nets[1].dino_head, mesh=init_device_mesh("cpu", (1,)))
scale = LossScale(start=8.0)
for net in nets:
    optimizer = adamw(net, config)
    for step in range(3):
        set_values(optimizer, Values(0.01, 0.1, 0.9, 0.05, prototypes_frozen=step == 0))
        x = torch.linspace(-1, 1, 5 * 24).reshape(5, 24) + step
        scale.scale((net.dino_head(x) ** 2).sum()).backward()
        scale.unscale_([p.grad for p in net.parameters()])
        optimizer.step()
        optimizer.zero_grad()
for whole, shard in zip(*(net.parameters() for net in nets), strict=True):
    assert isinstance(shard, DTensor)
    torch.testing.assert_close(shard.full_tensor(), whole)
distributed.destroy_process_group()
"""


def test_sharded_parameters_take_the_same_steps(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHARDED, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def test_scale_comes_off_exactly() -> None:
    scale = LossScale(start=2.0**16)
    x = torch.tensor([0.1, 3e-5], requires_grad=True)
    scale.scale(x.sum()).backward()
    assert x.grad.tolist() == [2.0**16] * 2
    scale.unscale_([x.grad])
    assert x.grad.tolist() == [1.0, 1.0]
    scale.unscale_([])


def test_scale_falls_at_an_overflow_and_grows_when_calm() -> None:
    scale = LossScale(start=8.0, interval=2, ceiling=8.0)
    assert not scale.update(finite=False)
    assert scale.value == 4
    assert [scale.update(finite=True) for _ in range(2)] == [True, True]
    assert scale.value == 8
    assert all(scale.update(finite=True) for _ in range(4))
    assert scale.value == 8, "the ceiling"


def test_an_overflow_restarts_the_count() -> None:
    scale = LossScale(start=8.0, interval=2)
    scale.update(finite=True)
    scale.update(finite=False)
    scale.update(finite=True)
    assert scale.value == 4


def test_overflow_at_the_floor_is_an_error() -> None:
    scale = LossScale(start=2.0)
    scale.update(finite=False)
    with pytest.raises(FloatingPointError, match=r"loss scale of 1, the least"):
        scale.update(finite=False)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_other_precisions_need_no_scale(precision) -> None:
    scale = LossScale(precision, interval=1)
    loss = torch.ones(())
    assert scale.scale(loss) is loss
    assert scale.update(finite=True)
    assert scale.value == 1
    with pytest.raises(FloatingPointError):
        scale.update(finite=False)


def test_scale_goes_on_where_it_stopped() -> None:
    scale = LossScale(start=8.0, interval=3)
    other = LossScale(interval=3)
    for _ in range(2):
        scale.update(finite=True)
    other.load_state_dict(scale.state_dict())
    for each in (scale, other):
        each.update(finite=True)
    assert scale.state_dict() == other.state_dict() == {"precision": "float16", "value": 16.0, "calm": 0, "skipped": 0}
    narrow = LossScale("bfloat16")
    narrow.load_state_dict(scale.state_dict())
    assert narrow.value == 1


def test_layer_decay_of_one_leaves_only_the_token_embedding_apart(network, config) -> None:
    config = replace(config, optim=replace(config.optim, layer_decay=1.0))
    assert {group["lr_factor"] for group in parameter_groups(network, config)} == {1.0, 0.2}
