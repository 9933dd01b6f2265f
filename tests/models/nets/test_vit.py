"""The forward pass against golden numbers, an independent reference and its own symmetries."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from kronos_sc.models import KronosViT, ViTConfig

CASES = [("False", 32), ("False", 64), ("False", 224), ("True", 32), ("True", 64)]


@pytest.mark.parametrize("inference", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize(("overlap", "size"), CASES)
def test_forward_hits_the_golden_numbers(golden, golden_net, golden_pixels, ids, overlap, size, inference):
    with torch.inference_mode(mode=inference):
        _check_golden(golden, golden_net, golden_pixels, ids, overlap, size)


def _check_golden(golden, golden_net, golden_pixels, ids, overlap, size):
    want = golden[f"vits16_overlap{overlap}_{size}"]
    golden_net.token_overlap = overlap == "True"
    golden_net.set_blocks("official")
    out = golden_net(golden_pixels(size), ids)
    assert [list(t.shape) for t in out] == want["shapes"]
    assert_allclose(out.cls[0, :8], want["official4_cls_b0_first8"], atol=1e-5)
    assert_allclose(out.cls[1, :8], want["official4_cls_b1_first8"], atol=1e-5)
    assert_allclose(out.markers[0, 0, :4], want["official4_marker_b0_m0_first4"], atol=1e-5)
    assert_allclose(out.markers[0, 2, :4], want["official4_marker_b0_m2_first4"], atol=1e-5)
    assert_allclose(out.tokens[0, 1, 0, 1, :4], want["official4_token_b0_m1_r0c1_first4"], atol=1e-5)
    assert_allclose(out.tokens[1, 2, -1, -1, :4], want["official4_token_b1_m2_last_first4"], atol=1e-5)
    assert_allclose(out.cls.norm(), want["official4_cls_l2"], atol=1e-4)
    assert_allclose(out.markers.norm(), want["official4_marker_l2"], atol=1e-4)
    golden_net.set_blocks("all")
    out = golden_net(golden_pixels(size), ids)
    assert_allclose(out.cls[0, :8], want["all12_cls_b0_first8"], atol=1e-5)
    assert_allclose(out.tokens[0].flatten(0, 2)[0, :4], want["all12_patchtokens_b0_t0_first4"], atol=1e-5)
    assert_allclose(out.cls.norm(), want["all12_cls_l2"], atol=1e-4)


@pytest.fixture
def official(golden_net):
    golden_net.token_overlap = False
    golden_net.set_blocks("official")
    return golden_net


def test_masked_positions_lose_their_marker(golden, official, golden_pixels):
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, [0, 5]] = True  # positions 0 and 5 of both markers: 0, 5, 16, 21 of the sequence
    for shaped_mask in (mask, mask[:, None].expand(1, 2, 16)):
        out = official(golden_pixels(64)[:1, :2], torch.tensor([[4, 248]]), shaped_mask)
        assert_allclose(
            out.tokens[0].flatten(0, 2)[0, :4], golden["masked_0_5_16_21_m2_64_patchtok0_first4"], atol=1e-5
        )
        assert_allclose(out.cls[0, :8], golden["masked_cls_first8"], atol=1e-5)


def test_class_attention_of_the_last_block_that_runs(golden, official, golden_pixels, class_rows):
    attention = class_rows(official, golden_pixels(64)[:1, :2], torch.tensor([[4, 248]]))
    assert list(attention.shape) == [1, 6, golden["attn_block9_shape"][-1]]
    assert_allclose(attention[0, 0, :6], golden["attn_block9_head0_cls_row_first6"], atol=1e-5)
    assert_allclose(attention[0, 0, 17:33].sum(), golden["attn_block9_head0_cls_sum_marker0"], atol=1e-5)
    assert_allclose(attention[0, 0, 33:].sum(), golden["attn_block9_head0_cls_sum_marker1"], atol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7, 8, 13, 15, 16, 27, 31])
def test_positions_are_interpolated_as_in_the_released_model(golden, size):
    net = KronosViT().requires_grad_(requires_grad=False)
    net.pos_embed[0, 1:] = torch.arange(14.0)[:, None, None].expand(14, 14, 384).reshape(196, 384)
    assert_allclose(net.position(size, size)[:, 0, 0], golden[f"posinterp_ramp14_to_{size}"], atol=1e-5)


def test_marker_encoding(golden):
    table = KronosViT().marker_table
    for marker in (4, 294):
        want = golden[f"marker_embed_id{marker}"]
        assert_allclose(table[marker, :4], want["first4"], atol=1e-6)
        assert_allclose(table[marker, 192:196], want["at192_4"], atol=1e-6)


def test_rectangles_interpolate_each_axis_by_itself(official):
    wide = official.position(4, 8)
    tall = official.position(8, 4)
    square4 = official.position(4, 4)
    square8 = official.position(8, 8)
    assert wide.shape == (4, 8, 384)
    # a table that varies along one axis only must come out as in the square of that axis
    net = KronosViT().requires_grad_(requires_grad=False)
    net.pos_embed[0, 1:] = torch.arange(14.0)[None, :, None].expand(14, 14, 384).reshape(196, 384)
    assert_allclose(net.position(4, 8)[0, :, 0], net.position(8, 8)[0, :, 0], atol=1e-6)
    assert not torch.equal(wide.transpose(0, 1), tall)
    assert square4.shape[:2] == (4, 4)
    assert square8.shape[:2] == (8, 8)


def _reference(net, pixels, ids, running):
    """Return CLS and tokens computed with the plainest operations, in float64."""
    p = {key: value.double().numpy() for key, value in net.state_dict().items()}
    c = net.config

    def norm(x, name):
        centered = x - x.mean(-1, keepdims=True)
        return centered / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * p[f"{name}.weight"] + p[f"{name}.bias"]

    from scipy.special import erf

    outputs = []
    position = net.position(pixels.shape[2] // 16, pixels.shape[3] // 16).double().numpy()
    for image, markers in zip(pixels.double().numpy(), ids.numpy(), strict=True):
        sequence = [p["cls_token"][0, 0] + p["pos_embed"][0, 0], *p["register_tokens"][0]]
        for plane, marker in zip(image, markers, strict=True):
            angle = marker / 10000 ** (2 * np.arange(c.dim // 2) / c.dim)
            encoding = np.concatenate([np.sin(angle), np.cos(angle)])
            for i in range(plane.shape[0] // 16):
                for j in range(plane.shape[1] // 16):
                    tile = plane[16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
                    token = (p["patch_embed.proj.weight"][:, 0] * tile).sum((1, 2)) + p["patch_embed.proj.bias"]
                    sequence.append(token + encoding + position[i, j])
        x = np.stack(sequence)
        for index in running:
            b = f"blocks.{index // (c.depth // c.chunks)}.{index}"
            qkv = norm(x, f"{b}.norm1") @ p[f"{b}.attn.qkv.weight"].T + p[f"{b}.attn.qkv.bias"]
            q, k, v = (part.reshape(len(x), c.heads, -1).transpose(1, 0, 2) for part in np.split(qkv, 3, axis=1))
            score = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
            weight = np.exp(score - score.max(-1, keepdims=True))
            mixed = (weight / weight.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(x), -1)
            x = x + p[f"{b}.ls1.gamma"] * (mixed @ p[f"{b}.attn.proj.weight"].T + p[f"{b}.attn.proj.bias"])
            hidden = norm(x, f"{b}.norm2") @ p[f"{b}.mlp.fc1.weight"].T + p[f"{b}.mlp.fc1.bias"]
            hidden = hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))
            x = x + p[f"{b}.ls2.gamma"] * (hidden @ p[f"{b}.mlp.fc2.weight"].T + p[f"{b}.mlp.fc2.bias"])
        outputs.append(norm(x, "norm"))
    return np.stack(outputs)


def test_rectangular_input_against_plain_numpy(fill, golden_pixels, ids):
    net = fill(KronosViT(ViTConfig(dim=48, depth=4, heads=3, chunks=2, registers=4)))
    pixels = golden_pixels(32, 64)
    want = _reference(net, pixels, ids, range(4))
    out = net(pixels, ids)
    assert out.tokens.shape == (2, 3, 2, 4, 48)
    assert_allclose(out.cls, want[:, 0], atol=1e-4)
    assert_allclose(out.tokens.flatten(1, 3), want[:, 5:], atol=1e-4)
    assert_allclose(out.markers, out.tokens.mean((2, 3)), atol=1e-6)


def test_order_of_markers_only_permutes_their_features(official, golden_pixels, ids):
    order = [2, 0, 1]
    one, other = official(golden_pixels(64), ids), official(golden_pixels(64)[:, order], ids[:, order])
    assert_allclose(one.markers[:, order], other.markers, atol=1e-5)
    assert_allclose(one.cls, other.cls, atol=1e-5)


def test_large_architecture_has_the_released_shape():
    with torch.device("meta"):
        net = KronosViT(ViTConfig(dim=1024, depth=24, heads=16))
    assert sum(p.numel() for p in net.parameters()) == 302_843_904
    assert len(net.state_dict()) == 344
    assert net.config.blocks_run("official") == (0, 6, 12, 18)
    assert sum(p.numel() for p in KronosViT().parameters()) == 21_484_800
    assert len(KronosViT().state_dict()) == 176


def test_state_dict_uses_global_block_indices():
    keys = set(KronosViT().state_dict())
    assert {"blocks.1.3.attn.qkv.weight", "blocks.3.11.ls2.gamma", "mask_token", "patch_embed.proj.weight"} <= keys
    assert "marker_table" not in keys


@pytest.mark.parametrize(
    ("shape", "markers", "message"),
    [
        ((1, 2, 60, 64), [[4, 5]], "multiples of 16"),
        ((1, 2, 64, 64), [[4]], "one per image and marker"),
        ((1, 2, 64, 64), [[4, 512]], "between 0 and 511"),
    ],
)
def test_wrong_input_is_refused(official, shape, markers, message):
    with pytest.raises(ValueError, match=message):
        official(torch.zeros(shape), torch.tensor(markers))


def test_weights_are_drawn_as_described():
    net = KronosViT()
    net.reset(torch.Generator().manual_seed(1))
    block = net.block(5)
    assert 0.015 < block.attn.qkv.weight.std().item() < 0.025
    assert block.attn.qkv.bias.abs().max().item() == 0
    assert net.cls_token.std().item() < 5e-6
    assert torch.all(block.ls1.gamma == 1e-5)


def test_bfloat16_stays_close(official, golden_pixels, ids):
    import copy

    exact = official(golden_pixels(64), ids)
    with torch.inference_mode():
        rough = copy.deepcopy(official).bfloat16()(golden_pixels(64).bfloat16(), ids)
    assert rough.markers.dtype == torch.float32
    for a, b in ((exact.cls, rough.cls), (exact.markers, rough.markers)):
        assert float((a - b.float()).norm() / a.norm()) < 0.02


def test_fused_linear_equals_the_plain_one():
    from torch.nn import functional as F

    from kronos_sc.models.nets.fused import linear

    layer = torch.nn.Linear(48, 96).bfloat16()
    x = torch.randn(3, 5, 48, generator=torch.Generator().manual_seed(0)).bfloat16()
    want = F.gelu(layer.float()(x.float()))
    with torch.inference_mode():
        got = linear(layer.bfloat16(), x, gelu=True)
    assert_allclose(got.float(), want.detach(), atol=0.02)


def test_gradients_flow_through_every_running_block(golden_pixels, ids):
    net = KronosViT(ViTConfig(dim=48, depth=4, heads=3, chunks=2, registers=4), blocks="official")
    net(golden_pixels(32), ids).markers.square().sum().backward()
    assert net.block(0).attn.qkv.weight.grad is not None
    assert net.block(1).attn.qkv.weight.grad is None  # skipped by the official forward
