"""The channel-agnostic encoder, weights drawn in the published layout, against a plain implementation in float64."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import save_file

from kronos_sc import models
from kronos_sc.models.encoders.ca_mae import CA_MAE, CaMae, load_ca_mae

DIM, DEPTH, HEADS, GRID = 24, 3, 3, 4
PREFIX = "encoder.vit_backbone."


@pytest.fixture(scope="module")
def state():
    """Names and shapes as published, of a small network; the table is repeated for three channels."""
    shapes = {"cls_token": (1, 1, DIM), "patch_embed.proj.weight": (DIM, 1, 16, 16), "patch_embed.proj.bias": (DIM,)}
    for i in range(DEPTH):
        inside = {
            "in_norm.weight": (DIM,),
            "in_norm.bias": (DIM,),
            "in_proj.weight": (7 * DIM, DIM),
            "mlp_bias": (4 * DIM,),
            "q_norm.weight": (DIM // HEADS,),
            "q_norm.bias": (DIM // HEADS,),
            "k_norm.weight": (DIM // HEADS,),
            "k_norm.bias": (DIM // HEADS,),
            "attn_out_proj.weight": (DIM, DIM),
            "attn_out_proj.bias": (DIM,),
            "mlp_out_proj.weight": (DIM, 4 * DIM),
            "mlp_out_proj.bias": (DIM,),
            "ls.gamma": (DIM,),
        }
        shapes |= {f"blocks.{i}.{key}": shape for key, shape in inside.items()}
    rng = np.random.default_rng(3)
    tensors = {}
    for key, shape in shapes.items():
        gain = key.endswith(("norm.weight", "gamma"))
        spread = 0.05 if key.startswith("patch") else 0.3
        tensors[PREFIX + key] = torch.from_numpy((gain + spread * rng.standard_normal(shape)).astype(np.float32))
    table = torch.from_numpy(rng.standard_normal((1, 1 + GRID**2, DIM)).astype(np.float32))
    tensors[PREFIX + "pos_embed"] = torch.cat([table[:, :1], *[table[:, 1:]] * 3], dim=1)
    tensors |= {PREFIX + "fc_norm.weight": torch.ones(DIM), PREFIX + "fc_norm.bias": torch.zeros(DIM)}
    return tensors | {
        "decoder.blocks.0.in_norm.weight": torch.ones(8),
        "encoder_decoder_proj.weight": torch.ones(8, DIM),
    }


@pytest.fixture
def write(state, tmp_path):
    """Return a function that writes the weights, changed as asked."""

    def to_file(change=lambda tensors: tensors, name="model.safetensors"):
        save_file({key: value.clone() for key, value in change(dict(state)).items()}, tmp_path / name)
        return tmp_path / name

    return to_file


@pytest.fixture
def model(write):
    return load_ca_mae(weights=write())


def _norm(x, weight, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * weight + bias


def _naive(state, pixels, position):
    """Return class token and tokens (m, r · c, d) of one image (m, h, w), token by token, head by head."""
    w = {key.removeprefix(PREFIX): value.double().numpy() for key, value in state.items() if key.startswith(PREFIX)}
    tokens = [w["cls_token"][0, 0] + w["pos_embed"][0, 0]]
    m, height, width = pixels.shape
    for channel in range(m):
        for r in range(height // 16):
            for c in range(width // 16):
                tile = pixels[channel, 16 * r : 16 * r + 16, 16 * c : 16 * c + 16]
                tokens.append(
                    (w["patch_embed.proj.weight"][:, 0] * tile).sum((1, 2))
                    + w["patch_embed.proj.bias"]
                    + position[r, c]
                )
    x = np.stack(tokens)
    e = DIM // HEADS
    for i in range(DEPTH):
        b = {key.removeprefix(f"blocks.{i}."): value for key, value in w.items() if key.startswith(f"blocks.{i}.")}
        y = _norm(x, b["in_norm.weight"], b["in_norm.bias"]) @ b["in_proj.weight"].T
        hidden = y[:, : 4 * DIM] + b["mlp_bias"]
        hidden = hidden * np.vectorize(lambda value: 0.5 * (1 + erf(value / sqrt(2))))(hidden)
        heads = []
        for h in range(HEADS):
            q, k, v = (y[:, 4 * DIM + part * DIM + h * e :][:, :e] for part in range(3))
            q = _norm(q, b["q_norm.weight"], b["q_norm.bias"])
            k = _norm(k, b["k_norm.weight"], b["k_norm.bias"])
            scores = np.exp(q @ k.T / sqrt(e))
            heads.append(scores / scores.sum(1, keepdims=True) @ v)
        branch = np.hstack(heads) @ b["attn_out_proj.weight"].T + b["attn_out_proj.bias"]
        branch += hidden @ b["mlp_out_proj.weight"].T + b["mlp_out_proj.bias"]
        x = x + b["ls.gamma"] * branch
    return x[0], x[1:].reshape(m, -1, DIM)


def _pixels(markers, size, seed=0, batch=2):
    values = np.random.default_rng(seed).standard_normal((batch, markers, size, size))
    return torch.from_numpy(values.astype(np.float32))


def _encode(model, pixels, kinds=("marker", "cls", "token")):
    b, m, size, _ = pixels.shape
    ids = torch.arange(m).expand(b, m)
    mask = torch.ones(b, size, size, dtype=torch.bool)
    with torch.inference_mode():
        return {kind: value.numpy() for kind, value in model.encode(pixels, ids, mask, kinds).items()}


def test_equals_a_plain_implementation(model, state):
    pixels = _pixels(3, 64)
    got = _encode(model, pixels)
    table = state[PREFIX + "pos_embed"][0, 1 : 1 + GRID**2].double().numpy().reshape(GRID, GRID, DIM)
    for i in range(2):
        cls, tokens = _naive(state, pixels[i].double().numpy(), table)
        assert_allclose(got["cls"][i], cls, atol=1e-5)
        assert_allclose(got["marker"][i], tokens.mean(1).ravel(), atol=1e-5)
        assert_allclose(got["token"][i], tokens.swapaxes(0, 1).ravel(), atol=1e-5)


def test_names_and_numbers_are_those_of_timm(timm, write):
    """One channel through timm's own network, made as the paper's repository describes; the same file into ours."""
    from timm.models import vision_transformer as vit

    settings = {
        "block_fn": vit.ParallelScalingBlock,
        "qkv_bias": False,
        "qk_norm": True,
        "init_values": 1e-4,
        "global_pool": "avg",
    }
    shape = {"img_size": 64, "in_chans": 1, "num_classes": 0, "embed_dim": DIM, "depth": DEPTH, "num_heads": HEADS}
    theirs = vit.VisionTransformer(**settings, **shape).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in theirs.parameters():
            value.add_(0.2 * torch.randn(value.shape, generator=generator))
    ours = load_ca_mae(weights=write(lambda _: {PREFIX + key: value for key, value in theirs.state_dict().items()})).net
    pixels = _pixels(1, 64)
    with torch.inference_mode():
        expected = theirs.forward_features(pixels)
        got = ours(pixels)
    assert_allclose(got.cls, expected[:, 0], atol=1e-5)
    assert_allclose(got.tokens.flatten(1, 3), expected[:, 1:], atol=1e-5)


def test_smaller_windows_take_the_middle_of_the_table(model, state):
    pixels = _pixels(2, 32)
    table = state[PREFIX + "pos_embed"][0, 1 : 1 + GRID**2].double().numpy().reshape(GRID, GRID, DIM)
    cls, _ = _naive(state, pixels[0].double().numpy(), table[1:3, 1:3])
    assert_allclose(_encode(model, pixels)["cls"][0], cls, atol=1e-5)


def test_larger_windows_enlarge_the_table(model):
    """Rows and columns written into the table: twice the grid has half their step, in order; constants stay."""
    net = model.net
    rows, columns = torch.meshgrid(torch.arange(GRID) + 0.5, torch.arange(GRID) + 0.5, indexing="ij")
    known = torch.stack([rows, columns, torch.ones(GRID, GRID)], dim=-1)
    net.pos_embed.data[0, 1:] = torch.cat([known, torch.zeros(GRID, GRID, DIM - 3)], dim=-1).reshape(-1, DIM)
    table = net.position(8, 8)
    middle = (torch.arange(8) + 0.5) / 2
    # away from the border, where a bicubic bends
    assert_allclose(table[2:6, :, 0], middle[2:6, None].expand(4, 8), atol=0.1)
    assert_allclose(table[:, 2:6, 1], middle[None, 2:6].expand(8, 4), atol=0.1)
    assert_allclose(table[..., 2], np.ones((8, 8)), atol=1e-6)
    assert net.position(8, 2).shape == (8, 2, DIM)
    assert _encode(model, _pixels(1, 128))["token"].shape == (2, 64 * DIM)


def test_channels_have_no_identity(model):
    pixels = _pixels(5, 32)
    order = [3, 0, 4, 1, 2]
    before = _encode(model, pixels)
    after = _encode(model, pixels[:, order])
    assert_allclose(after["cls"], before["cls"], atol=1e-5)
    blocks = before["marker"].reshape(2, 5, DIM)
    assert_allclose(after["marker"].reshape(2, 5, DIM), blocks[:, order], atol=1e-5)
    assert not np.allclose(blocks[:, order], blocks, atol=1e-2)


@pytest.mark.parametrize(("markers", "size"), [(1, 16), (13, 32)])
def test_any_number_of_channels_and_nothing_padded(model, markers, size):
    pixels = _pixels(markers, size)
    both = _encode(model, pixels)
    alone = _encode(model, pixels[1:])
    grid = model.token_grid(size)
    assert (grid.count, grid.step, grid.first) == (size // 16, 16, 8)
    for kind, units in (("marker", 1), ("cls", 1), ("token", grid.count**2)):
        assert both[kind].shape == (2, units * model.width(kind, markers))
        assert_allclose(both[kind][1:], alone[kind], atol=1e-5)
    assert model.tokens(size, markers) == 1 + markers * grid.count**2


def test_channels_attend_to_each_other(model):
    pixels = _pixels(2, 32)
    changed = pixels.clone()
    changed[:, 1] += 1
    assert not np.allclose(
        _encode(model, pixels)["marker"][:, :DIM], _encode(model, changed)["marker"][:, :DIM], atol=1e-2
    )


def test_other_number_format_and_device(model):
    low = model.at(torch.device("cpu"), torch.bfloat16)
    assert low.input_format == torch.bfloat16
    assert low.at(torch.device("cpu"), torch.bfloat16) is low
    assert model.input_format == torch.float32
    full, rough = (_encode(m, _pixels(2, 32), ("marker",))["marker"] for m in (model, _AsFloat(low)))
    assert np.corrcoef(full.ravel(), rough.ravel())[0, 1] > 0.999


class _AsFloat:
    """A model whose features NumPy can hold."""

    def __init__(self, model):
        self._model = model

    def encode(self, *args):
        return {kind: value.float() for kind, value in self._model.encode(*args).items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {f"module.{key}": value for key, value in tensors.items()},
        lambda tensors: {key.removeprefix(PREFIX): value for key, value in tensors.items() if key.startswith(PREFIX)},
        lambda tensors: tensors | {PREFIX + "pos_embed": tensors[PREFIX + "pos_embed"][:, : 1 + GRID**2]},
        lambda tensors: {key: value for key, value in tensors.items() if "fc_norm" not in key},
    ],
    ids=["outer prefix", "bare names", "one table", "no fc_norm"],
)
def test_layouts_that_mean_the_same(model, write, change):
    again = load_ca_mae(weights=write(change, "other.safetensors"))
    assert_allclose(_encode(again, _pixels(2, 32))["marker"], _encode(model, _pixels(2, 32))["marker"], atol=1e-6)


def test_four_repeated_tables_are_not_one_large_one(write):
    def four(tensors):
        pos = tensors[PREFIX + "pos_embed"]
        return tensors | {PREFIX + "pos_embed": torch.cat([pos[:, :1], *[pos[:, 1 : 1 + GRID**2]] * 4], dim=1)}

    assert load_ca_mae(weights=write(four)).net.grid == GRID


def test_a_final_norm_is_run_where_the_file_has_one(model, write):
    normed = load_ca_mae(
        weights=write(lambda tensors: {key.replace("fc_norm", "norm"): value for key, value in tensors.items()}),
    )
    got, plain = (_encode(m, _pixels(2, 32))["cls"] for m in (normed, model))
    assert_allclose(got, _norm(plain, np.ones(DIM), np.zeros(DIM)), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: {k: v for k, v in tensors.items() if "blocks.1.in_proj" not in k},
            "missing 'blocks.1.in_proj.weight'; unexpected none",
        ),
        (
            lambda tensors: tensors | {PREFIX + "blocks.0.attn.qkv.weight": torch.ones(2)},
            "unexpected 'blocks.0.attn.qkv.weight'",
        ),
        (
            lambda tensors: tensors | {PREFIX + "blocks.2.ls.gamma": torch.ones(7)},
            r"blocks.2.ls.gamma \(7,\) for \(24,\)",
        ),
        (
            lambda tensors: {k: v for k, v in tensors.items() if k.startswith("decoder.")},
            "no encoder of CA-MAE.*found none among 1 tensors",
        ),
        (lambda tensors: tensors | {"old.vit_backbone.cls_token": torch.ones(1, 1, DIM)}, "exactly one"),
        (lambda tensors: tensors | {PREFIX + "pos_embed": torch.randn(1, 1 + 18, DIM)}, "no square table"),
        (lambda tensors: tensors | {PREFIX + "pos_embed": torch.randn(17, DIM)}, "no square table"),
        (lambda tensors: {k: v for k, v in tensors.items() if "pos_embed" not in k}, "missing 'pos_embed'"),
    ],
)
def test_files_that_do_not_fit(write, change, message):
    with pytest.raises(ValueError, match=message):
        load_ca_mae(weights=write(change))


def test_options_that_do_not_apply(tmp_path):
    with pytest.raises(ValueError, match="takes no 'fit'"):
        models.load("ca-mae", fit="resize")
    with pytest.raises(ValueError, match="do not apply"):
        models.load("ca-mae", blocks="all")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        models.load("ca-mae", weights=tmp_path / "none.safetensors")


def test_from_the_hub_by_name(write, monkeypatch):
    path = write()
    asked = []
    monkeypatch.setattr("kronos_sc.models._hub.fetch_weights", lambda *names: asked.append(names) or path)
    model = models.load("ca-mae")
    assert asked == [("recursionpharma/OpenPhenom", "model.safetensors")]
    assert isinstance(model, CaMae)
    assert model.sha256
    assert "non-commercial" in str(models.card("ca-mae"))
    assert "synthetic weights only" in CA_MAE.notes


def test_embeds_cells_with_the_statistics_of_the_image(make, write):
    import kronos_sc as ks

    sdata = make((100, 120))
    ks.tl.embed(sdata, model=models.load("ca-mae", weights=write()), patch_size=32, features=("marker", "cls"))
    table = sdata["table"]
    assert table.obsm["X_ca_mae"].shape == (table.n_obs, 5 * DIM)
    assert table.obsm["X_ca_mae_cls"].shape == (table.n_obs, DIM)
    panel = ks.get.record(table, key="ca_mae")["panel"]
    assert_allclose(panel["mean"], (sdata["image"].to_numpy() / 65535).mean((1, 2)), rtol=1e-2)
    assert ks.get.record(table, key="ca_mae")["model"]["name"] == "ca-mae"
