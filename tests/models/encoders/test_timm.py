"""Any backbone of timm by name, and our plain ViT against timm's forward on the same weights."""

import sys

import pytest
import torch

from kronos_sc import models
from kronos_sc.models.encoders.backbones import plain_vit
from kronos_sc.models.nets.plain_vit import PlainConfig

SHAPE = {
    "img_size": 30,
    "patch_size": 6,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 2,
    "init_values": 1e-5,
    "num_classes": 0,
}


def _randomize(net):
    """Give a network weights that matter everywhere; tokens and positions of one half, gains near one half."""
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in net.named_parameters():
            z = torch.randn(value.shape, generator=rng)
            if name.endswith("gamma"):
                value.copy_(0.5 + 0.1 * z)
            elif "pos_embed" in name or "token" in name:
                value.copy_(0.5 * z)
            elif value.ndim > 1:
                value.copy_(0.1 * z)
    return net.eval()


def _pixels(size, markers=2):
    return torch.randn((2, markers, size, size), generator=torch.Generator().manual_seed(2))


def _encode(model, pixels, kind="marker"):
    with torch.inference_mode():
        return model.encode(pixels, None, None, (kind,))[kind]


@pytest.mark.parametrize(("size", "registers"), [(30, 0), (12, 0), (48, 0), (30, 4), (18, 4)])
def test_parity_with_timm(timm, tmp_path, size, registers):
    """At the native size (no interpolation), at smaller and larger ones; with registers too."""
    more = {"reg_tokens": registers, "no_embed_class": True} if registers else {}
    theirs = _randomize(timm.models.vision_transformer.VisionTransformer(**SHAPE, **more, dynamic_img_size=True))
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    ours = plain_vit(tmp_path / "w.pth", PlainConfig(dim=24, depth=3, heads=2, patch=6, grid=5))
    x = _pixels(size, markers=3)[0]
    with torch.inference_mode():
        reference = theirs.forward_features(x[:, None].expand(-1, 3, -1, -1))
        cls, tokens = ours(x, tokens=True)
        torch.testing.assert_close(cls, reference[:, 0], atol=1e-5, rtol=0)
        torch.testing.assert_close(tokens.flatten(1, 2), reference[:, 1 + registers :], atol=1e-5, rtol=0)
        torch.testing.assert_close(ours(x)[0], theirs(x[:, None].expand(-1, 3, -1, -1)), atol=1e-5, rtol=0)


@pytest.fixture
def saved(timm, tmp_path):
    """Return a function that writes the weights of a network of timm, classifier included."""

    def write(name, **kwargs):
        net = _randomize(timm.create_model(name, **kwargs))
        torch.save(net.state_dict(), tmp_path / f"{name}.pth")
        return net, tmp_path / f"{name}.pth"

    return write


def test_a_transformer_by_name(saved):
    net, path = saved("vit_tiny_patch16_224")
    model = models.load("timm:vit_tiny_patch16_224.augreg_in21k", weights=path)
    x = _pixels(40)
    with torch.inference_mode():
        net.set_input_size(img_size=32)
        images = x[..., 4:36, 4:36].flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
        reference = net.forward_features(images)
    torch.testing.assert_close(_encode(model, x), reference[:, 0].reshape(2, -1), atol=1e-5, rtol=0)
    tokens = _encode(model, x, "token").reshape(2, 2, 2, 2, 192)  # unit, row, column, marker
    torch.testing.assert_close(tokens.permute(0, 3, 1, 2, 4).reshape(4, 4, 192), reference[:, 1:], atol=1e-5, rtol=0)
    assert model.key == "vit_tiny_patch16_224_augreg_in21k"
    assert model.tokens(40, 2) == 2 * (1 + 4)
    assert model.card.licence == "apache-2.0"
    assert model.card.source == f"file {path.name}"
    assert model.image_statistics
    with pytest.raises(ValueError, match="at least: 16"):
        model.tokens(12, 2)


def test_convolutions_take_any_size(saved):
    net, path = saved("resnet10t")
    model = models.load("timm:resnet10t", weights=path)
    x = _pixels(50, markers=1)
    with torch.inference_mode():
        features = net.forward_features(x.expand(-1, 3, -1, -1))
    torch.testing.assert_close(_encode(model, x), features.mean((2, 3)), atol=1e-4, rtol=0)
    grid = model.token_grid(64)
    assert (grid.count, grid.step, model.width("token", 3)) == (2, 32, 3 * 512)
    assert _encode(model, _pixels(64), "token").shape == (2, 2 * 2 * 2 * 512)
    with pytest.raises(ValueError, match="multiples of 32"):
        model.token_grid(50)


def test_networks_of_one_size_are_resized_to(saved):
    """ConViT takes nothing but the size that it was made for."""
    net, path = saved("convit_tiny")
    model = models.load("timm:convit_tiny", weights=path)
    assert (model.fit.mode, model.fit.fixed_size) == ("resize", 224)
    x = _pixels(40, markers=1)[:1]
    larger = torch.nn.functional.interpolate(x, (224, 224), mode="bilinear", antialias=True).expand(-1, 3, -1, -1)
    with torch.inference_mode():
        reference = net.forward_head(net.forward_features(larger), pre_logits=True)
    torch.testing.assert_close(_encode(model, x), reference, atol=1e-4, rtol=0)
    assert (model.token_grid(56).count, model.token_grid(56).step) == (14, 4)
    with pytest.raises(ValueError, match="multiples of 14 pixels"):
        model.token_grid(40)
    with pytest.raises(ValueError, match="at least: 224"):
        models.load("timm:convit_tiny", weights=path, fit="crop").tokens(64, 1)


def test_cards_come_from_timm(timm):
    card = models.card("timm:vit_small_patch14_dinov2.lvd142m")
    assert card.name == "timm:vit_small_patch14_dinov2.lvd142m"
    assert card.licence == "apache-2.0"
    assert card.source == "hf-hub:timm/vit_small_patch14_dinov2.lvd142m"
    assert "518 × 518" in card.notes


def test_names_that_timm_does_not_know(timm, saved):
    with pytest.raises(ValueError, match=r"knows no network 'vit_tiny_patch16_223'\. Close: .*'vit_tiny_patch16_224'"):
        models.load("timm:vit_tiny_patch16_223")
    with pytest.raises(ValueError, match=r"has no weights 'resnet18\.mine'. There are: 'resnet18\.a1_in1k'"):
        models.load("timm:resnet18.mine")
    with pytest.raises(ValueError, match="blocks and token_overlap do not apply"):
        models.load("timm:resnet18", token_overlap=True)
    _, path = saved("resnet10t")
    with pytest.raises(ValueError, match=r"does not fit 'timm:resnet18'.*Check the name"):
        models.load("timm:resnet18", weights=path)


def test_downloads_that_fail_say_what_to_do(timm, monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def create_model(*_args, **_kwargs):
        raise LocalEntryNotFoundError("no")

    monkeypatch.setattr(timm, "create_model", create_model)
    state = torch.get_rng_state()
    message = r"'timm/resnet18\.a1_in1k' is not in the local cache.*models\.load\('timm:resnet18', weights="
    with pytest.raises(ConnectionError, match=message):
        models.load("timm:resnet18")
    assert torch.equal(torch.get_rng_state(), state)


def test_repositories_that_hold_something_else(timm, monkeypatch):
    from huggingface_hub.errors import EntryNotFoundError

    def load_model_config_from_hf(repository):
        raise EntryNotFoundError.__new__(EntryNotFoundError)

    monkeypatch.setattr(timm.models, "load_model_config_from_hf", load_model_config_from_hf)
    with pytest.raises(FileNotFoundError, match=r"'someone/else' lacks a file.*huggingface\.co/someone/else"):
        models.load("timm:hf-hub:someone/else")


def test_downloaded_weights_are_told_apart_by_their_numbers(timm, monkeypatch):
    create = timm.create_model

    def untrained(*names, pretrained, **kwargs):
        return create(*names, pretrained=False, **kwargs)

    monkeypatch.setattr(timm, "create_model", untrained)
    with torch.random.fork_rng(devices=[]):
        # the user's random state stays as it is, so both draw the same weights
        one, same = (models.load("timm:resnet10t.c3_in1k") for _ in range(2))
        torch.manual_seed(11)
        other = models.load("timm:resnet10t.c3_in1k")
    assert one.sha256 == same.sha256 != other.sha256
    assert one.card.source == "hf-hub:timm/resnet10t.c3_in1k"


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install 'kronos-sc\[timm\]'"):
        models.load("timm:resnet18")

    class Broken:
        @staticmethod
        def find_spec(name, *_rest):
            if name == "timm":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "timm")
    monkeypatch.setattr(sys, "meta_path", [Broken, *sys.meta_path])
    with pytest.raises(ImportError, match=r"does not import .operator torchvision::nms.*must fit torch"):
        models.load("timm:resnet18")
