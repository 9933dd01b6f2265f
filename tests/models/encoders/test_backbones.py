"""DINOv2 and UNI by name: synthetic weights in the real layout, from every kind of file, and what must be refused."""

import numpy as np
import pytest
import torch

from kronos_sc import models
from kronos_sc.models import _state
from kronos_sc.models.encoders.backbones import BACKBONES, Origin, plain_vit
from kronos_sc.models.nets.plain_vit import PlainConfig

SMALL = PlainConfig(dim=24, depth=2, heads=2, patch=4, grid=5)


def _layout(config, *, registers=0, seed=0):
    """Names and shapes as DINOv2 releases them, built by hand."""
    d = config.dim
    hidden = config.dim * config.mlp_ratio
    shapes = {
        "cls_token": (1, 1, d),
        "pos_embed": (1, 1 + config.grid**2, d),
        "mask_token": (1, d),
        "patch_embed.proj.weight": (d, 3, config.patch, config.patch),
        "patch_embed.proj.bias": (d,),
        "norm.weight": (d,),
        "norm.bias": (d,),
    }
    if registers:
        shapes["register_tokens"] = (1, registers, d)
    for i in range(config.depth):
        within = {
            "norm1": (d,),
            "norm2": (d,),
            "attn.qkv": (3 * d, d),
            "attn.proj": (d, d),
            "mlp.fc1": (hidden, d),
            "mlp.fc2": (d, hidden),
        }
        for name, shape in within.items():
            shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
        shapes |= {f"blocks.{i}.ls1.gamma": (d,), f"blocks.{i}.ls2.gamma": (d,)}
    rng = torch.Generator().manual_seed(seed)
    return {name: 0.2 * torch.randn(shape, generator=rng) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def state():
    return _layout(SMALL)


@pytest.fixture
def origin():
    card = models.Card("small", "a small ViT", "MIT", features=("marker",), patch_multiple=1)
    return Origin(card, SMALL, "someone/small", "model.safetensors")


def _write(state, path):
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file(state, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    elif path.suffix == ".pt":  # as a trainer writes it, with a head
        teacher = {f"backbone.{name}": value for name, value in state.items()}
        torch.save({"teacher": teacher | {"dino_head.last": torch.zeros(2)}}, path)
    else:
        torch.save(state, path)
    return path


def _features(model, size=12):
    x = torch.randn((2, 2, size, size), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model.encode(x, None, None, ("marker",))["marker"]


def test_every_kind_of_file_gives_the_same_features(state, origin, tmp_path):
    kinds = (".safetensors", ".npz", ".pth", ".bin", ".pt")
    loaded = [origin.load(weights=_write(state, tmp_path / f"w{kind}")) for kind in kinds]
    first = _features(loaded[0])
    assert first.std() > 0.1
    for model in loaded[1:]:
        torch.testing.assert_close(_features(model), first, atol=0, rtol=0)
    assert len({model.sha256 for model in loaded}) == 4  # .pth and .bin are the same file by another name
    assert loaded[0].card.source == "file w.safetensors"
    assert not any(value.requires_grad for value in loaded[0].net.parameters())


def test_half_precision_weights_are_widened(state, origin, tmp_path):
    half = {name: value.half() for name, value in state.items()}
    model = origin.load(weights=_write(half, tmp_path / "half.safetensors"))
    assert model.input_format == torch.float32
    full = origin.load(weights=_write(state, tmp_path / "w.npz"))
    torch.testing.assert_close(_features(model), _features(full), atol=0.02, rtol=0.02)


def test_registers_in_the_naming_of_the_release_and_of_timm(tmp_path):
    """In timm's layout the class token holds its position, and the table has no row for it."""
    release = _layout(SMALL, registers=3)
    theirs = {name: value for name, value in release.items() if name not in ("mask_token", "register_tokens")}
    theirs |= {"reg_token": release["register_tokens"], "cls_token": release["cls_token"] + release["pos_embed"][:, :1]}
    theirs["pos_embed"] = release["pos_embed"][:, 1:].contiguous()
    one = plain_vit(_write(release, tmp_path / "release.pth"), SMALL)
    other = plain_vit(_write(theirs, tmp_path / "timm.safetensors"), SMALL)
    assert one.config.registers == other.config.registers == 3
    x = torch.randn(2, 12, 12, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(one(x)[0], other(x)[0], atol=1e-6, rtol=0)
        assert one(x, tokens=True)[1].shape == (2, 3, 3, 24)


def test_a_table_of_another_size_is_taken_as_it_is(tmp_path):
    wider = PlainConfig(dim=24, depth=2, heads=2, patch=4, grid=7)
    assert plain_vit(_write(_layout(wider), tmp_path / "w.npz"), SMALL).config.grid == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("norm.bias"), r"missing 'norm\.bias'; unexpected none; other shape: none"),
        (lambda s: s.update({"head.weight": torch.zeros(2, 24)}), r"missing none; unexpected 'head\.weight'"),
        (lambda s: s.update({"norm.bias": torch.zeros(5)}), r"other shape: 'norm\.bias \(5,\) for \(24,\)'"),
        (
            lambda s: s.update({"patch_embed.proj.weight": torch.zeros(24, 3, 8, 8)}),
            r"\(24, 1, 8, 8\) for \(24, 1, 4, 4\)",
        ),
    ],
)
def test_other_weights_are_named(state, origin, tmp_path, change, message):
    changed = dict(state)
    change(changed)
    with pytest.raises(ValueError, match=f"does not fit a plain ViT of width 24 with 2 blocks.*{message}"):
        origin.load(weights=_write(changed, tmp_path / "w.safetensors"))


def test_files_that_are_none(state, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="is not a file"):
        models.load("uni", weights=tmp_path / "absent.pth")
    cases = {
        "w.onnx": (b"x", "none of '.safetensors', '.npz'"),
        "w.npz": (b"PK nothing", "not a readable file of numeric arrays"),
        "w.pth": (b"<html>", "a web page"),
        "w.safetensors": (b"\0", "not a readable safetensors"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            models.load("dinov2-s14", weights=tmp_path / name)
    np.savez(tmp_path / "objects.npz", cls_token=np.array([_Payload()], dtype=object))
    torch.save({"cls_token": _Payload()}, tmp_path / "objects.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, message in (("objects.npz", "numeric arrays"), ("objects.pth", "refused"), ("list.pth", "holds list")):
        with pytest.raises(ValueError, match=message):
            _state.read(tmp_path / name)
    assert "this code ran" not in capsys.readouterr().out


class _Payload:
    def __reduce__(self):
        return (print, ("this code ran",))


def test_what_is_registered():
    assert {"dinov2-s14", "dinov2-b14", "dinov2-l14", "uni"} <= set(models.list_models())
    uni = models.card("uni")
    dinov2 = models.card("dinov2-l14")
    assert uni.gated
    assert (uni.licence, dinov2.licence) == ("CC BY-NC-ND 4.0", "Apache-2.0")
    assert "Mass-100K" in str(uni)
    assert "0.5 µm" in str(uni)
    assert "LVD-142M" in str(dinov2)
    assert all(origin.card.features == ("marker",) and origin.card.patch_multiple == 1 for origin in BACKBONES)
    assert [origin.key for origin in BACKBONES] == ["dinov2_s14", "dinov2_b14", "dinov2_l14", "uni"]


@pytest.mark.parametrize("origin", BACKBONES, ids=lambda origin: origin.card.name)
def test_published_shapes(origin):
    """Parameters as published, the kernels of two colours aside: 22.1, 86.6, 304.4 and 303.4 million."""
    from kronos_sc.models.nets.plain_vit import PlainViT

    with torch.device("meta"):
        net = PlainViT(origin.config)
    other_colors = 2 * origin.config.patch**2 * origin.config.dim
    total = (sum(value.numel() for value in net.parameters()) + other_colors) / 1e6
    published = {"dinov2-s14": 22.06, "dinov2-b14": 86.58, "dinov2-l14": 304.37, "uni": 303.35}
    assert total == pytest.approx(published[origin.card.name], abs=0.01)


def test_options():
    with pytest.raises(ValueError, match="fit='stretch' is not a choice; fit can be 'crop', 'resize'"):
        models.load("uni", fit="stretch")
    with pytest.raises(ValueError, match="'uni' has no chunks of blocks"):
        models.load("uni", blocks="all")
    with pytest.raises(ValueError, match="'mean-marker' takes no 'weights': leave it out"):
        models.load("mean-marker", weights="w.npz")


def test_the_hub_is_asked_for_one_file(state, origin, monkeypatch, tmp_path):
    import huggingface_hub

    _write(state, tmp_path / "model.safetensors")
    asked = []

    def snapshot_download(name, *, allow_patterns, **_):
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    model = origin.load(fit="resize")
    assert asked == [("someone/small", ["model.safetensors"])]
    assert (model.fit.mode, model.card) == ("resize", origin.card)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConnectionError, match=r"not in the local cache.*model\.safetensors.*weights="):
        origin.load()


def test_repositories_of_timm_are_loaded_by_timm(monkeypatch, tmp_path):
    import huggingface_hub

    (tmp_path / "config.json").write_text('{"architecture": "resnet18", "pretrained_cfg": {}}')
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(ValueError, match=r"holds a network of timm\. Load it as 'timm:hf-hub:timm/resnet18'"):
        models.load("hf-hub:timm/resnet18")


@pytest.mark.parametrize(
    ("kind", "builtin", "message"),
    [
        ("GatedRepoError", PermissionError, "'MahmoodLab/UNI' has not been granted.*hf auth login"),
        ("LocalEntryNotFoundError", ConnectionError, r"cannot be reached.*pytorch_model\.bin.*weights="),
    ],
)
def test_without_access(monkeypatch, kind, builtin, message):
    import huggingface_hub
    from huggingface_hub import errors

    cls = getattr(errors, kind)
    error = cls("no") if kind == "LocalEntryNotFoundError" else cls.__new__(cls)

    def snapshot_download(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(builtin, match=message):
        models.load("uni")
