"""Attention of the class token against the golden numbers, and against matrices made in full."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from kronos_sc.markers import paper_vocabulary
from kronos_sc.models import Card, KronosModel, KronosViT, ViTConfig
from kronos_sc.models import load as load_model
from kronos_sc.models.encoders.ca_mae import CaMae
from kronos_sc.models.nets.ca_mae import ChannelViT
from kronos_sc.models.nets.layers import Attention, weighted_rows
from kronos_sc.models.views.attention import AttentionView

KINDS = ("attention", "attention_map")


def full_matrices(net, pixels, ids):
    """The attention matrices (b, h, t, t) of all blocks that run, and what each block gets, in float64."""
    net = net.double()
    x, _ = net.embed(pixels.double(), ids)
    matrices = []
    inputs = []
    for index in net.running:
        block = net.block(index)
        q, k, _ = block.attn.split(block.norm1(x))
        matrices.append(torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1))
        inputs.append(x)
        x = block(x)
    return matrices, inputs, x


@pytest.fixture
def small(fill):
    """A fresh small network with real attention, and its model."""
    net = fill(KronosViT(ViTConfig(dim=48, depth=4, heads=3, chunks=2, registers=4)))
    return KronosModel(net, Card("small", "for tests", "BSD-3-Clause"), paper_vocabulary(mean=0.0, std=1.0))


@pytest.fixture
def truth(fill, golden_pixels, ids):
    net = fill(KronosViT(ViTConfig(dim=48, depth=4, heads=3, chunks=2, registers=4)))
    return full_matrices(net, golden_pixels(32), ids)


def view(model, pixels, ids, mask=None, **options):
    """What a view gives, in the mode that the runner runs it in."""
    if mask is None:
        mask = torch.ones(len(pixels), *pixels.shape[2:], dtype=torch.bool)
    with torch.inference_mode():
        features = AttentionView(model, **options).encode(pixels, ids, mask, KINDS)
        return {kind: value.clone() for kind, value in features.items()}


def by_marker(row_bt, markers=3, registers=4):
    return row_bt[:, 1 + registers :].unflatten(1, (markers, -1)).sum(2)


def test_sums_per_marker_hit_the_golden_numbers(golden, golden_net, golden_pixels):
    golden_net.token_overlap = False
    golden_net.set_blocks("official")
    model = KronosModel(golden_net, load_model("kronos-untrained").card, paper_vocabulary(mean=0.0, std=1.0))
    out = view(model, golden_pixels(64)[:1, :2], torch.tensor([[4, 248]]))
    want = [golden["attn_block9_head0_cls_sum_marker0"], golden["attn_block9_head0_cls_sum_marker1"]]
    assert_allclose(out["attention"][0], want, atol=1e-5)
    assert_allclose(out["attention_map"].unflatten(1, (2, 16)).sum(2)[0], want, atol=1e-5)


@pytest.mark.parametrize(("head", "heads"), [(None, [0]), ("first", [0]), (2, [2]), ("mean", [0, 1, 2])])
@pytest.mark.parametrize("layer", [-1, 0, 2])
def test_one_row_equals_the_matrix(small, truth, golden_pixels, ids, head, heads, layer):
    out = view(small, golden_pixels(32), ids, head=head, layer=layer)
    row = truth[0][layer][:, heads, 0].mean(1)
    assert_allclose(out["attention"], by_marker(row), atol=1e-5)
    assert_allclose(out["attention_map"], row[:, 5:], atol=1e-5)


def test_whole_rows_add_up_to_one(small, golden_pixels, ids, class_rows):
    net = small.net
    x, _ = net.embed(golden_pixels(32), ids)
    for index in net.running[:-1]:
        x = net.block(index)(x)
    last = net.block(net.running[-1])
    rows = last.attn.first_row(last.norm1(x))
    assert rows.shape == (2, 3, 1 + 4 + 12)
    assert_allclose(rows.sum(-1), np.ones((2, 3)), atol=1e-6)
    assert_allclose(rows, class_rows(net, golden_pixels(32), ids), atol=1e-5)


def test_no_matrix_is_made():
    """Of 40,000 tokens it would take 19 GB."""
    row = Attention(48, 3).requires_grad_(requires_grad=False).first_row(torch.ones(1, 40_000, 48))
    assert_allclose(row.sum(-1), np.ones((1, 3)), atol=1e-4)


@pytest.mark.parametrize("layer", [-1, 1, 0])
def test_rollout_equals_the_product_of_matrices(small, truth, golden_pixels, ids, layer):
    product = torch.eye(17, dtype=torch.float64).expand(2, 17, 17)
    for matrix in truth[0][: range(4)[layer] + 1]:
        product = (matrix.mean(1) + torch.eye(17, dtype=torch.float64)) / 2 @ product
    out = view(small, golden_pixels(32), ids, method="rollout", layer=layer)
    assert_allclose(out["attention_map"], product[:, 0, 5:], atol=1e-6)


def test_rows_of_a_matrix_may_come_in_blocks(small, truth):
    block = small.net.block(1)
    x = truth[1][1].float()
    weight = torch.rand(2, 17, generator=torch.Generator().manual_seed(0))
    want = (weight.double()[:, None, None] @ truth[0][1])[:, :, 0]
    queries, keys, _ = block.attn.split(block.norm1(x))
    for most in (1, 700, 10**9):
        assert_allclose(weighted_rows(queries, keys, weight, most=most), want.mean(1), atol=1e-5)
    assert_allclose(block.attn.passed_on(block.norm1(x), weight, slice(1, 2)), want[:, 1], atol=1e-5)


@pytest.mark.parametrize("named", [False, True], ids=["length", "direction"])
@pytest.mark.parametrize(("head", "heads"), [(None, [0, 1, 2]), (1, [1])])
def test_gradient_equals_autograd_through_the_whole_block(small, truth, golden_pixels, ids, named, head, heads):
    direction = np.random.default_rng(0).normal(size=48).astype(np.float32) if named else None
    out = view(small, golden_pixels(32), ids, method="gradient", direction=direction, head=head)
    net = small.net.double()
    block = net.block(3)
    x = truth[1][-1]
    matrix = truth[0][-1].clone().requires_grad_()
    values = block.attn.split(block.norm1(x))[2]
    y = x + block.ls1.gamma * block.attn.proj((matrix @ values).transpose(1, 2).flatten(2))
    y = y + block.ls2.gamma * block.mlp(block.norm2(y))
    value = (net.norm(y)[:, 0] @ torch.as_tensor(direction).double()).sum() if named else y[:, 0].square().sum()
    (gradient,) = torch.autograd.grad(value, matrix)
    want = (matrix * gradient).detach()[:, heads, 0].clamp_min(0).mean(1)
    assert want[:, 5:].max() > 0
    assert_allclose(out["attention_map"], want[:, 5:], rtol=1e-4, atol=1e-6 * float(want.max()))


def test_one_block_by_hand():
    """Two tokens of width two, one head: softmax([0, ln 3] / √2 · √2) = (1/4, 3/4)."""
    attention = Attention(2, 1).requires_grad_(requires_grad=False)
    attention.qkv.weight.zero_()
    attention.qkv.bias.zero_()
    attention.qkv.weight[0, 0] = 2**0.5  # query: (√2, 0) for the first token (1, 0)
    attention.qkv.weight[2, 1] = float(np.log(3))  # key: (ln 3 · second coordinate, 0)
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert_allclose(attention.first_row(x), [[[0.25, 0.75]]], atol=1e-6)
    passed_on = attention.passed_on(x, torch.tensor([[1.0, 2.0]]), slice(None))
    assert_allclose(passed_on, [[0.25 + 1.0, 0.75 + 1.0]], atol=1e-6)


@pytest.mark.parametrize("method", ["cls", "rollout", "gradient"])
def test_order_of_markers_only_permutes_them(small, golden_pixels, ids, method):
    order = [2, 0, 1]
    one = view(small, golden_pixels(32), ids, method=method)["attention"]
    other = view(small, golden_pixels(32)[:, order], ids[:, order], method=method)["attention"]
    assert_allclose(one[:, order], other, rtol=2e-4, atol=1e-6)


def test_inside_weighs_tokens_by_their_share_of_the_cell(small, truth, golden_pixels, ids):
    mask = torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[0, :16, :16] = True  # the first token, whole
    mask[1, 16:, :8] = True  # half of the third
    row = truth[0][-1][:, 0, 0, 5:].unflatten(1, (3, 4))
    out = view(small, golden_pixels(32), ids, mask, inside=True)
    assert_allclose(out["attention"], torch.stack([row[0, :, 0], row[1, :, 2] / 2]), atol=1e-6)
    assert_allclose(out["attention_map"], row.flatten(1), atol=1e-6)  # maps show all of the window


@pytest.mark.parametrize("method", ["cls", "rollout", "gradient"])
def test_bfloat16_stays_close(small, golden_pixels, ids, method):
    exact = view(small, golden_pixels(32), ids, method=method)["attention"]
    rough = view(small.at(torch.device("cpu"), torch.bfloat16), golden_pixels(32), ids, method=method)["attention"]
    assert rough.dtype == torch.float32
    assert float((exact - rough).norm() / exact.norm()) < (0.2 if method == "gradient" else 0.05)


def test_token_overlap_has_its_own_grid(small, golden_pixels, ids):
    small.net.token_overlap = True
    out = view(small, golden_pixels(32), ids, torch.ones(2, 32, 32, dtype=torch.bool), inside=True)
    assert out["attention_map"].shape == (2, 3 * 9)
    assert_allclose(out["attention_map"].unflatten(1, (3, 9)).sum(2), out["attention"], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "xai"}, "method can be 'cls', 'rollout', 'gradient'"),
        ({"head": 3}, "'first', 'mean' or a number from 0 to 2"),
        ({"head": "last"}, "'first', 'mean' or a number from 0 to 2"),
        ({"layer": 4}, r"4 blocks run \(0, 1, 2, 3\)"),
        ({"layer": True}, "layer can be 0 to 3"),
        ({"method": "gradient", "layer": 0}, "pass method='rollout'"),
        ({"method": "gradient", "direction": np.ones(3 * 48)}, "48 finite numbers are needed"),
        ({"direction": np.ones(48)}, "pass method='gradient'"),
    ],
)
def test_wrong_choices_are_named(small, options, message):
    with pytest.raises(ValueError, match=message):
        AttentionView(small, **options)


def test_models_without_attention_over_markers():
    with pytest.raises(ValueError, match=r"'mean-marker' has no token .* tl.marker_ablation"):
        AttentionView(load_model("mean-marker"))


@pytest.fixture
def agnostic():
    """A small CA-MAE with weights drawn by seed."""
    net = ChannelViT(dim=24, depth=3, heads=3, hidden=32, grid=4)
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randn(value.shape, generator=rng) * 0.5)
    return CaMae(net)


@pytest.mark.parametrize(("head", "heads"), [("mean", [0, 1, 2]), (2, [2])])
def test_the_channel_agnostic_network(agnostic, golden_pixels, ids, head, heads):
    """Matrices made in full, by a forward pass that ends where the network's own does."""
    net = agnostic.net
    pixels = golden_pixels(32)
    tokens = net.patch_embed(pixels, 16) + net.position(2, 2)
    x = torch.cat([(net.cls_token + net.pos_embed[:, :1]).expand(2, -1, -1), tokens.flatten(1, 3)], 1)
    product = torch.eye(13).expand(2, 13, 13)
    for block in net.blocks:
        mlp, q, k, v = block.in_proj(block.in_norm(x)).split(block.parts, -1)
        q, k, v = (part.unflatten(-1, (3, 8)).transpose(1, 2) for part in (q, k, v))
        matrix = torch.softmax(block.q_norm(q) @ block.k_norm(k).transpose(-1, -2) * 8**-0.5, -1)
        branch = block.attn_out_proj((matrix @ v).transpose(1, 2).flatten(2))
        x = x + block.ls.gamma * (branch + block.mlp_out_proj(torch.nn.functional.gelu(mlp + block.mlp_bias)))
        product = (matrix[:, heads].mean(1) + torch.eye(13)) / 2 @ product
    assert_allclose(net.norm(x)[:, 0], net(pixels).cls, atol=1e-4)
    out = view(agnostic, pixels, ids, head=head)
    assert_allclose(out["attention_map"], matrix[:, heads, 0, 1:].mean(1), atol=1e-5)
    out = view(agnostic, pixels, ids, head=head, method="rollout")
    assert_allclose(out["attention_map"], product[:, 0, 1:], atol=1e-5)
    with pytest.raises(ValueError, match="there are 'cls' and 'rollout'"):
        AttentionView(agnostic, method="gradient")
