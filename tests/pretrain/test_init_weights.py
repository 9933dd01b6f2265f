"""Starting from our own exports and from the official layout, with synthetic weights."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from kronos_pretrain.backbone import architecture
from kronos_pretrain.config.schema import Config, Head, Model
from kronos_pretrain.export import export
from kronos_pretrain.init_weights import check_vocabulary, starting_model, starting_state
from kronos_sc import settings
from kronos_sc.markers import Marker, Vocabulary
from kronos_sc.models import KronosViT

CONFIG = Config(
    model=Model(dim=48, depth=4, heads=3, chunks=2, registers=4, grid=4),
    head=Head(prototypes=32, hidden=16, bottleneck=8, layers=2),
)
VOCABULARY = Vocabulary(
    "panel", (Marker("DAPI", 4, 0.1, 0.2, "nuclear"), Marker("CD3", 140, 0.1, 0.2), Marker("CD8", 142, 0.1, 0.2))
)


class HeadLike(nn.Module):
    """Names and shapes of a head."""

    def __init__(self, head: Head, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim, head.hidden), nn.GELU(), nn.Linear(head.hidden, head.bottleneck))
        self.last_layer = nn.Linear(head.bottleneck, head.prototypes, bias=False)


@pytest.fixture
def network():
    """Return a function that makes a network of some settings, with weights of its own."""

    def make(config: Config = CONFIG, seed: int = 0) -> nn.Module:
        module = nn.Module()
        module.backbone = KronosViT(architecture(config.model))
        module.dino_head = HeadLike(config.head, config.model.dim)
        if config.head.separate:
            module.ibot_head = HeadLike(config.head, config.model.dim)
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for value in module.parameters():
                value.copy_(torch.randn(value.shape, generator=rng))
        return module

    return make


@pytest.fixture
def log_lines(monkeypatch):
    """Lines of the log."""
    lines = []
    monkeypatch.setattr("kronos_pretrain.init_weights.info", lines.append)
    monkeypatch.setattr(settings, "verbosity", 0)
    return lines


@pytest.fixture
def exported(network, tmp_path):
    old = network(seed=1)
    export(old.state_dict(), CONFIG, VOCABULARY, tmp_path / "out", step=10, name="old")
    return tmp_path / "out", old.state_dict()


def same(taken, state) -> bool:
    return taken.keys() == state.keys() and all(torch.equal(taken[key], state[key]) for key in state)


def test_an_export_gives_backbone_and_head(exported, network, log_lines):
    folder, old = exported
    new = network()
    taken = starting_state(str(folder), new, CONFIG)
    assert same(taken, old)
    new.load_state_dict(taken, strict=True)
    assert log_lines == [
        f"starting from 'old': backbone of {len(new.backbone.state_dict())} tensors; dino_head taken from dino_head"
    ]
    assert starting_model(str(folder)).vocabulary["CD8"].id == 142
    for part in ("official", "official/kronos_custom_model.pt"):
        assert same(starting_state(str(folder / part), new, CONFIG), old)


def test_the_safetensors_part_has_no_head(exported, network, log_lines):
    folder, old = exported
    taken = starting_state(str(folder / "model"), network(), CONFIG)
    assert same(taken, {key: value for key, value in old.items() if key.startswith("backbone.")})
    assert "dino_head fresh: the start model has none that fits" in log_lines[0]


def test_a_shared_head_serves_separate_ones(exported, network, log_lines):
    folder, old = exported
    separate = replace(CONFIG, head=replace(CONFIG.head, separate=True))
    taken = starting_state(str(folder), network(separate), separate)
    assert torch.equal(taken["ibot_head.mlp.2.bias"], old["dino_head.mlp.2.bias"])
    assert "dino_head taken from dino_head; ibot_head taken from dino_head" in log_lines[0]


def test_heads_of_other_shape_stay_fresh(exported, network, log_lines):
    folder, _ = exported
    wide = replace(CONFIG, head=replace(CONFIG.head, prototypes=64))
    taken = starting_state(str(folder), network(wide), wide)
    assert all(key.startswith("backbone.") for key in taken)
    assert "dino_head fresh" in log_lines[0]


@pytest.fixture
def official(network, tmp_path):
    """Return a function that writes the official layout; prototypes are weight-normalised, by torch's names for it."""

    def write(direction: str, gain: str, *, size: float = 1.0):
        net = network(seed=3)
        state = net.state_dict()
        weight = state.pop("dino_head.last_layer.weight")
        state |= {
            f"dino_head.last_layer.{direction}": weight,
            f"dino_head.last_layer.{gain}": torch.full((32, 1), size),
        }
        folder = tmp_path / "official-layout"
        folder.mkdir(exist_ok=True)
        torch.save({"teacher": state}, folder / "kronos_vits16_model.pt")
        (folder / "config.json").write_text(
            json.dumps({"model_type": "vits16", "token_overlap": True, "architecture": net.backbone.config.to_dict()})
        )
        (folder / "marker_metadata.csv").write_text(
            "marker_name,marker_id,marker_mean,marker_std\nDAPI,4,0.11,0.09\nCD3,140,0.02,0.03\n"
        )
        return str(folder), net.state_dict()

    return write


@pytest.mark.parametrize(
    ("direction", "gain"),
    [("weight_v", "weight_g"), ("parametrizations.weight.original1", "parametrizations.weight.original0")],
)
def test_official_layout(official, network, log_lines, direction, gain):
    folder, old = official(direction, gain)
    assert same(starting_state(folder, network(), CONFIG), old)
    assert "dino_head taken from dino_head" in log_lines[0]
    assert starting_model(folder).net.running == (
        0,
        1,
        2,
        3,
    )  # all blocks, whatever official checkpoints run by default


def test_prototypes_of_other_gain_do_not_fit(official, network, log_lines):
    folder, _ = official("weight_v", "weight_g", size=2.0)
    assert not any(key.startswith("dino_head") for key in starting_state(folder, network(), CONFIG))
    assert "dino_head fresh" in log_lines[0]


@pytest.mark.row("start model of another shape")
def test_another_shape_names_the_settings_to_change(exported, network):
    folder, _ = exported
    other = replace(CONFIG, model=replace(CONFIG.model, dim=96, depth=8, grid=14))
    with pytest.raises(ValueError, match=r"model\.dim is 96 and its own 48, model\.depth is 8 and its own 4") as error:
        starting_state(str(folder), network(other), other)
    assert "Set model.dim=48 model.depth=4 model.grid=4, or leave run.start out." in str(error.value)
    same = replace(other, model=replace(other.model, dim=48, depth=4, grid=4))
    starting_state(str(folder), network(same), same)


def test_places_without_a_model(tmp_path, network, monkeypatch):
    with pytest.raises(ValueError, match="neither a registered model"):
        starting_state(str(tmp_path / "nothing"), network(), CONFIG)
    with pytest.raises(ValueError, match="'mean-marker' has no network"):
        starting_state("mean-marker", network(), CONFIG)
    monkeypatch.setattr(
        "kronos_pretrain.init_weights.load", lambda *_args, **_options: object()
    )  # a plug-in's model, of its own kind
    with pytest.raises(ValueError, match="no network to start from"):
        starting_state("plug-in", network(), CONFIG)


def vocabulary(**ids: int) -> Vocabulary:
    return Vocabulary("corpus", tuple(Marker(name, number, 0.1, 0.1) for name, number in ids.items()))


def test_ids_must_mean_the_same():
    check_vocabulary(VOCABULARY, vocabulary(DAPI=4, CD3=140, FOXP3=300))
    check_vocabulary(VOCABULARY, vocabulary(CD3e=140))  # another spelling of the same protein
    check_vocabulary(VOCABULARY, vocabulary(CD3=140, CD3e=301))  # a second row for it, of its own
    with pytest.raises(ValueError, match=r"1 of 2 markers .* 'CD3: 222 in the corpus, 140 in the model'"):
        check_vocabulary(VOCABULARY, vocabulary(CD3=222, CD8=142))
    with pytest.raises(ValueError, match=r"'FOXP3: 140 in the corpus, where the model has CD3'.*leave run\.start out"):
        check_vocabulary(VOCABULARY, vocabulary(FOXP3=140))
