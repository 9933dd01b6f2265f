"""Checkpoints: the official layout with synthetic weights, our own, and everything that must be refused."""

import json
import pickle

import pytest
import torch

from kronos_sc import models
from kronos_sc.markers import paper_vocabulary
from kronos_sc.models import KronosViT, ViTConfig, _weights

ROWS = """marker_name,marker_id,marker_mean,marker_std
DAPI,4,0.11,0.09
CD3,222,0.02,0.03
LYVE-1,300,0.03,0.05
LYVE1,302,0.03,0.05
"""


@pytest.fixture(scope="module")
def released(fill):
    """What the released checkpoint holds, with synthetic weights."""
    net = fill(KronosViT())
    teacher = {f"backbone.{key}": value for key, value in net.state_dict().items()}
    return {"teacher": teacher | {"dino_head.last_layer.weight": torch.zeros(3)}}


@pytest.fixture
def official(tmp_path, released):
    """Write a model folder in the layout of the released checkpoint."""
    torch.save(released, tmp_path / "kronos_vits16_model.pt")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vits16", "token_overlap": True}))
    (tmp_path / "marker_metadata.csv").write_text(ROWS)
    return tmp_path


@pytest.fixture
def tiny(fill):
    net = fill(KronosViT(ViTConfig(dim=48, depth=4, heads=3, chunks=2, registers=4), token_overlap=True))
    card = models.Card("tiny", "a tiny network", "BSD-3-Clause")
    return models.KronosModel(net, card, paper_vocabulary(mean=0.05, std=0.1))


def test_official_layout(official, golden, golden_pixels, ids):
    model = models.load(official)
    assert model.net.running == (0, 3, 6, 9)
    assert not model.net.token_overlap  # off unless asked for, whatever config.json says
    assert model.vocabulary["CD3"].id == 222
    assert model.sha256 == _weights.sha256(official / "kronos_vits16_model.pt")
    got = model.encode(golden_pixels(64), ids, torch.ones(2, 64, 64, dtype=torch.bool), ("cls", "marker"))
    want = torch.tensor(golden["vits16_overlapFalse_64"]["official4_cls_b0_first8"])
    assert torch.allclose(got["cls"][0, :8], want, atol=1e-5)
    assert got["marker"].shape == (2, 3 * 384)


def test_options_and_the_file_itself(official):
    model = models.load(official / "kronos_vits16_model.pt", blocks="all", token_overlap=True, device="cpu")
    assert model.net.running == tuple(range(12))
    assert model.net.stride == 8
    again = models.load(model, blocks="official")
    assert again.net.running == (0, 3, 6, 9)
    assert model.net.running == tuple(range(12))  # the user's object is as it was
    assert again.net.cls_token is model.net.cls_token


def test_own_layout_round_trip(tiny, tmp_path, golden_pixels, ids):
    models.save(tiny, tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["config.json", "model.safetensors"]
    again = models.load(tmp_path / "m")
    assert again.card == tiny.card
    assert again.vocabulary == tiny.vocabulary
    assert again.net.token_overlap
    assert again.net.blocks_mode == "all"
    assert len(again.sha256) == 64
    assert torch.equal(again.net(golden_pixels(32), ids).cls, tiny.net(golden_pixels(32), ids).cls)


def test_saving_never_replaces_by_accident(tiny, tmp_path, monkeypatch):
    models.save(tiny, tmp_path / "m")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        models.save(tiny, tmp_path / "m")
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    monkeypatch.setattr(_weights, "json", None)  # fails half-way
    with pytest.raises(AttributeError):
        models.save(tiny, tmp_path / "m", overwrite=True)
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    monkeypatch.undo()
    models.save(tiny, tmp_path / "m", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_saving_leaves_other_folders_alone(tiny, official, tmp_path):
    for name, file in (("project", "precious.txt"), ("half", "config.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
        with pytest.raises(FileExistsError, match="something else than a model saved here"):
            models.save(tiny, tmp_path / name, overwrite=True)
        assert (tmp_path / name / file).exists()
    with pytest.raises(FileExistsError, match="kronos_vits16_model"):
        models.save(tiny, official, overwrite=True)
    with pytest.raises(TypeError, match="got MeanMarker"):
        models.save(models.load("mean-marker"), tmp_path / "mean")


def test_saved_models_have_the_permissions_of_any_new_file(tiny, tmp_path):
    models.save(tiny, tmp_path / "m")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").write_text("")
    assert (tmp_path / "m").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "m" / "model.safetensors").stat().st_mode == (tmp_path / "plain" / "file").stat().st_mode


def test_a_failed_exchange_brings_the_old_model_back(tiny, tmp_path, monkeypatch):
    from pathlib import Path

    models.save(tiny, tmp_path / "m")
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    rename = Path.rename

    def failing(self, target):
        if self.name == "model":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no"):
        models.save(tiny, tmp_path / "m", overwrite=True)
    monkeypatch.undo()
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_the_file_that_was_named_or_none(tiny, tmp_path):
    models.save(tiny, tmp_path / "m")
    (tmp_path / "m" / "other.pt").write_bytes(b"PK")
    message = r"other\.pt is not what config\.json beside it describes, which is model\.safetensors"
    with pytest.raises(ValueError, match=message):
        models.load(tmp_path / "m" / "other.pt")
    assert models.load(tmp_path / "m" / "model.safetensors").card == tiny.card


@pytest.mark.parametrize(
    "content", [b"<!doctype html><title>Log in</title>", b"version https://git-lfs.github.com/spec/v1", b""]
)
def test_web_page_or_pointer_in_place_of_a_checkpoint(official, content):
    (official / "kronos_vits16_model.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"is no checkpoint .it begins with"):
        models.load(official)


class _Payload:
    def __reduce__(self):
        return (print, ("this code ran",))


def test_pickle_payload_is_refused_and_never_runs(official, capsys):
    with (official / "kronos_vits16_model.pt").open("wb") as file:
        torch.save({"teacher": _Payload()}, file)
    with pytest.raises(ValueError, match="refused"):
        models.load(official)
    (official / "kronos_vits16_model.pt").write_bytes(pickle.dumps({"teacher": _Payload()}))
    with pytest.raises(ValueError, match=r"refused|not a readable"):
        models.load(official)
    assert "this code ran" not in capsys.readouterr().out


def test_truncated_checkpoint(official):
    path = official / "kronos_vits16_model.pt"
    path.write_bytes(path.read_bytes()[: 2**20])
    with pytest.raises(ValueError, match="may be truncated"):
        models.load(official)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {}}, r"key 'teacher' is expected, found 'model'"),
        ([1, 2], "found list"),
        ({"teacher": {"backbone.cls_token": torch.zeros(1, 1, 384)}}, r"missing .* and \d+ more"),
    ],
)
def test_foreign_checkpoint(official, content, message):
    torch.save(content, official / "kronos_vits16_model.pt")
    with pytest.raises(ValueError, match=message):
        models.load(official)


def test_weights_of_another_architecture(official):
    (official / "config.json").write_text(json.dumps({"model_type": "vitl16"}))
    with pytest.raises(ValueError, match="Check model_type"):
        models.load(official)
    (official / "config.json").write_text(json.dumps({"model_type": "vitz"}))
    with pytest.raises(KeyError, match="no architecture 'vitz'"):
        models.load(official)


def test_incomplete_folders(official, tmp_path, tiny):
    (official / "marker_metadata.csv").unlink()
    with pytest.raises(FileNotFoundError, match="marker_metadata"):
        models.load(official)
    (official / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        models.load(official)
    (official / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        models.load(official)
    models.save(tiny, tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a readable safetensors"):
        models.load(tmp_path / "m")


def test_checkpoint_diagnostic(official):
    assert "were trained: blocks='all' runs" in models.card(official).diagnostic
    path = official / "kronos_vits16_model.pt"
    checkpoint = torch.load(path, weights_only=True)
    for key, value in checkpoint["teacher"].items():
        if "gamma" in key and int(key.split(".")[3]) % 3:
            value.fill_(1e-5)
    torch.save(checkpoint, path)
    assert "agree" in models.card(official).diagnostic
    assert "untrained" in _weights.diagnose(KronosViT())
    assert "blocks" in str(models.card(official))


def test_official_layout_of_a_shape_without_a_name(tiny, official, golden_pixels, ids):
    """`architecture` in config.json stands in for a model_type that nobody knows."""
    (official / "kronos_vits16_model.pt").unlink()
    teacher = {f"backbone.{key}": value for key, value in tiny.net.state_dict().items()}
    torch.save({"teacher": teacher}, official / "kronos_custom_model.pt")
    settings = {"model_type": "custom", "token_overlap": False, "architecture": tiny.net.config.to_dict()}
    (official / "config.json").write_text(json.dumps(settings))
    again = models.load(official, blocks="all", token_overlap=True)
    assert again.net.config == tiny.net.config
    assert torch.equal(again.net(golden_pixels(32), ids).cls, tiny.net(golden_pixels(32), ids).cls)
    (official / "config.json").write_text(json.dumps({"model_type": "custom"}))
    with pytest.raises(KeyError, match="no architecture 'custom'"):
        models.load(official)
