"""Vision backbones for one marker at a time: the network, how windows are fitted, how features are laid out."""

import numpy as np
import pytest
import torch

from kronos_sc import models
from kronos_sc.models.encoders.resize import Fit
from kronos_sc.models.encoders.vision import VisionModel
from kronos_sc.models.nets.plain_vit import PlainConfig, PlainViT, adapted

CONFIG = PlainConfig(dim=24, depth=3, heads=2, patch=4, grid=5)
CARD = models.Card("small", "a small plain ViT", "BSD-3-Clause", features=("marker",), patch_multiple=1, trained=False)


def _randomize(net, seed=0):
    """Give a network weights that matter everywhere: gains near one half, tokens and positions of one half."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in net.named_parameters():
            z = torch.randn(value.shape, generator=rng)
            if name.endswith("gamma"):
                value.copy_(0.5 + 0.1 * z)
            elif "norm" in name and name.endswith("weight"):
                value.copy_(1 + 0.1 * z)
            elif "pos_embed" in name or "token" in name:
                value.copy_(0.5 * z)
            else:
                value.copy_(0.1 * z)
    return net


def _model(fit="crop", *, config=CONFIG):
    net = _randomize(PlainViT(config))
    return VisionModel(net, CARD, fit=Fit("small", fit, config.patch), key="small", sha256="none")


@pytest.fixture(scope="module")
def model():
    return _model()


def _pixels(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def _encode(model, pixels, *kinds):
    with torch.inference_mode():
        features = model.encode(pixels, None, None, kinds or ("marker",))
    return features if kinds else features["marker"]


def test_three_equal_channels_are_one_with_the_kernels_summed():
    """2 × 2 kernels by hand: 1·1 + 2·1 + 3·1 = 6 per pixel, whatever the colour."""
    kernel = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    summed = adapted({"patch_embed.proj.weight": kernel})["patch_embed.proj.weight"]
    assert summed.tolist() == [[[[6.0, 6.0], [6.0, 6.0]]]]

    color = torch.nn.Conv2d(3, 24, 4, 4)
    net = _randomize(PlainViT(CONFIG))
    state = net.state_dict()
    state["patch_embed.proj.weight"] = color.weight.detach()
    state["patch_embed.proj.bias"] = color.bias.detach()
    net.load_state_dict(adapted(state))
    image = _pixels(1, 1, 8, 12)
    ours = net.patch_embed(image, 4)[:, 0]
    torch.testing.assert_close(ours, color(image.expand(-1, 3, -1, -1)).permute(0, 2, 3, 1), atol=1e-5, rtol=0)


def test_the_class_token_is_the_same_with_and_without_the_tokens(model):
    x = _pixels(2, 3, 20, 20)
    torch.testing.assert_close(_encode(model, x), _encode(model, x, "marker", "token")["marker"], atol=1e-6, rtol=0)


def test_the_crop_keeps_the_centre(model):
    """18 pixels, patches of 4: 16 remain, one pixel goes on each side; 19 pixels: 3 go, 2 before and 1 after."""
    x = _pixels(1, 2, 18, 18)
    torch.testing.assert_close(_encode(model, x), _encode(model, x[..., 1:17, 1:17]))
    outside = x.clone()
    outside[..., 0, :] = outside[..., -1, :] = outside[..., :, 0] = outside[..., :, -1] = 1e6
    torch.testing.assert_close(_encode(model, x), _encode(model, outside))
    assert [Fit("f", "crop", 4).corner(size) for size in (16, 17, 18, 19)] == [0, 0, 1, 2]
    grid = model.token_grid(18)
    assert (grid.count, grid.step, grid.first) == (4, 4, 3.0)


def test_resize_takes_the_nearest_multiple():
    assert [Fit("f", "resize", 14).size(window) for window in (3, 20, 56, 64, 70)] == [14, 14, 56, 70, 70]
    model = _model("resize")
    flat = torch.full((1, 1, 18, 18), 0.3)
    torch.testing.assert_close(_encode(model, flat), _encode(model, flat[..., :16, :16]), atol=1e-5, rtol=0)
    x = _pixels(1, 1, 16, 16)
    assert torch.equal(_encode(model, x), _encode(_model(), x))
    assert (model.token_grid(16).count, model.token_grid(16).step, model.token_grid(16).first) == (4, 4, 2.0)
    doubled = Fit("f", "resize", 4, fixed_size=8).token_grid(16, 4)
    assert (doubled.count, doubled.step, doubled.first) == (2, 8, 4.0)
    with pytest.raises(ValueError, match=r"fit='resize'\. For maps take windows of multiples of 4 pixels"):
        model.token_grid(18)


def test_markers_stay_in_panel_order_and_apart(model):
    x = _pixels(2, 4, 12, 12)
    whole = _encode(model, x)
    assert whole.shape == (2, model.width("marker", 4)) == (2, 96)
    one_by_one = torch.cat([_encode(model, x[:, [i]]) for i in range(4)], dim=1)
    torch.testing.assert_close(whole, one_by_one, atol=1e-5, rtol=0)
    swapped = _encode(model, x[:, [2, 1, 0, 3]])
    torch.testing.assert_close(swapped, whole.unflatten(1, (4, 24))[:, [2, 1, 0, 3]].flatten(1), atol=1e-5, rtol=0)


def test_a_batch_of_units_equals_one_by_one(model):
    x = _pixels(5, 3, 12, 12)
    one_by_one = torch.cat([_encode(model, unit[None]) for unit in x])
    torch.testing.assert_close(_encode(model, x), one_by_one, atol=1e-5, rtol=0)


def test_tokens_are_location_by_location_with_the_markers_side_by_side(model):
    x = _pixels(1, 2, 12, 16)[..., :12]
    tokens = _encode(model, x, "token")["token"].reshape(3, 3, 2, 24)
    with torch.inference_mode():
        _, alone = model.net(x[0], tokens=True)
    torch.testing.assert_close(tokens, alone.permute(1, 2, 0, 3), atol=1e-5, rtol=0)
    assert model.width("token", 2) == 48
    assert model.width("cls", 2) == 24
    assert model.tokens(12, 2) == 2 * (1 + 9)


def test_the_table_of_positions_at_its_own_size_and_another(model):
    table = model.net.pos_embed[:, 1:]
    assert model.net.position(5, 5).equal(table)
    flat = _randomize(PlainViT(CONFIG))
    with torch.no_grad():
        flat.pos_embed[:, 1:] = 0.7
    torch.testing.assert_close(flat.position(2, 3), torch.full((1, 6, 24), 0.7))
    ramp = torch.arange(5.0)[:, None].expand(5, 5).reshape(1, 25, 1).expand(1, 25, 24)
    with torch.no_grad():
        flat.pos_embed[:, 1:] = ramp
    rows = flat.position(1, 5).reshape(5, 24)
    torch.testing.assert_close(rows, torch.full((5, 24), 2.0), atol=1e-5, rtol=0)  # antialiased: the middle of the ramp


@pytest.mark.row("a window smaller than one patch of DINOv2, UNI or a timm network")
def test_too_small_a_window_names_the_least(model):
    message = r"Windows of 3 pixels are smaller than what 'small' takes at least: 4\..*fit='resize'"
    with pytest.raises(ValueError, match=message):
        model.tokens(3, 2)
    with pytest.raises(ValueError, match="at least: 4"):
        _encode(model, _pixels(1, 1, 3, 3))
    assert _encode(_model("resize"), _pixels(1, 1, 3, 3)).shape == (1, 24)
    assert _encode(model, _pixels(1, 1, 4, 4)).shape == (1, 24)


def test_device_number_format_and_facts(model):
    cpu = torch.device("cpu")
    assert model.at(cpu, torch.float32) is model
    half = model.at(cpu, torch.bfloat16)
    assert half.input_format == torch.bfloat16
    assert model.input_format == torch.float32
    x = _pixels(2, 2, 18, 18)
    assert (_encode(half, x).float() - _encode(model, x)).abs().max() < 0.1
    assert model.facts["fit"] == "crop"
    assert _model("resize").facts["fit"] == "resize"
    other = model.with_vocabulary(models.load("kronos-untrained").vocabulary)
    assert other.net is model.net
    assert other.vocabulary.has_statistics
    assert not model.vocabulary.has_statistics


def test_embedding_tissue(make, model, tmp_path):
    """The whole way: statistics of the image, slots named by the model, a store that knows how windows were fitted."""
    import kronos_sc as ks

    sdata = make((90, 90), chunks=(1, 45, 45), channels=("DAPI", "CD3"))
    ks.tl.embed(sdata, model=model, patch_size=18, store=tmp_path / "store", precision="float32")
    table = sdata["table"]
    features = np.asarray(table.obsm["X_small"])
    assert features.shape == (table.n_obs, 48)
    assert np.isfinite(features).all()
    record = ks.get.record(table, key="small")
    assert record["model"]["fit"] == "crop"
    image = sdata["image"].to_numpy()[1] / 65535
    panel = record["panel"]
    assert float(panel["mean"][1]) == pytest.approx(image.mean(), rel=1e-3)
    assert float(panel["std"][1]) == pytest.approx(image.std(), rel=1e-3)
    # goes on, nothing to do
    ks.tl.embed(sdata, model=model, patch_size=18, store=tmp_path / "store", precision="float32")
    with pytest.raises(ValueError, match="fit"):
        ks.tl.embed(sdata, model=_model("resize"), patch_size=18, store=tmp_path / "store", precision="float32")
    with pytest.raises(ValueError, match="at least: 4"):
        ks.tl.embed(sdata, model=model, patch_size=3, key_added="none")
    assert "X_none" not in table.obsm
