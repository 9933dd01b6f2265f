"""Exported models load, say what they are, and replace nothing by accident."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kronos_pretrain.backbone import architecture
from kronos_pretrain.config.schema import Config, Data, Head, Model, Run
from kronos_pretrain.export import NAMED, export
from kronos_sc import models
from kronos_sc.markers import Marker, Vocabulary
from kronos_sc.models.nets.config import CONFIGS

CONFIG = Config(
    run=Run(folder="runs/liver-7"),
    model=Model(dim=48, depth=4, heads=3, chunks=2, registers=4, grid=4),
    data=Data(corpus="somewhere/secret/lymph"),
    head=Head(prototypes=32, hidden=16, bottleneck=8),
)
THIRDS = Vocabulary(
    "lymph",
    (
        Marker("DAPI", 4, 1 / 3, 0.1 + 0.2, "nuclear"),
        Marker("CD3", 140, 0.01 / 7, 1e-3 / 3),
        Marker("CD8", 141, np.pi / 100, np.e / 100),
        Marker("CD20", 142, 2 / 300, 0.07),
        Marker("CYTOKERATIN", 143, 0.1 / 3, 0.11 / 3),
    ),
)


@pytest.fixture(scope="module")
def teacher(tiny) -> dict[str, torch.Tensor]:
    """Weights that attend for real, on a grid of four, with a head."""
    state = {f"backbone.{key}": value.clone() for key, value in tiny.net.state_dict().items()}
    state["backbone.pos_embed"] = state["backbone.pos_embed"][:, :17].contiguous()
    head = {
        "mlp.0.weight": (16, 48),
        "mlp.0.bias": (16,),
        "mlp.2.weight": (8, 16),
        "mlp.2.bias": (8,),
        "last_layer.weight": (32, 8),
    }
    rng = torch.Generator().manual_seed(1)
    return state | {f"dino_head.{key}": torch.randn(shape, generator=rng) for key, shape in head.items()}


@pytest.fixture(scope="module")
def exported(teacher, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "out"
    export(teacher, CONFIG, THIRDS, folder, step=1200)
    return folder


def test_both_layouts_are_the_same_model(exported, teacher):
    own = models.load(exported / "model")
    official = models.load(exported / "official", blocks="all")
    assert sorted(p.name for p in exported.iterdir()) == ["model", "official"]
    assert sorted(p.name for p in (exported / "official").iterdir()) == [
        "config.json",
        "kronos_custom_model.pt",
        "marker_metadata.csv",
    ]
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[4, 140, 142], [4, 143, 141]])
    for ours, theirs in zip(own.net(pixels, ids), official.net(pixels, ids), strict=True):
        assert torch.equal(ours, theirs)
    assert own.vocabulary.markers == THIRDS.markers
    told = [[(m.mean, m.std) for m in vocabulary] for vocabulary in (official.vocabulary, THIRDS)]
    np.testing.assert_allclose(*told, rtol=1e-12)  # through decimal text
    assert own.net.running == official.net.running == (0, 1, 2, 3)
    assert torch.equal(own.net.state_dict()["pos_embed"], teacher["backbone.pos_embed"])


def test_the_card_says_what_it_is_and_not_where_it_lay(exported):
    card = models.load(exported / "model").card
    assert card.name == "liver-7"
    assert card.trained
    assert "owner" in card.licence
    assert "1,200 steps of 1,024 samples from corpus 'lymph', 5 markers" in card.notes
    assert "width 48, 4 blocks" in card.architecture
    assert "secret" not in (exported / "model" / "config.json").read_text()


def test_the_official_file_is_tensors_alone_with_the_head(exported, teacher):
    loaded = torch.load(exported / "official" / "kronos_custom_model.pt", weights_only=True)
    assert list(loaded) == ["teacher"]
    assert loaded["teacher"].keys() == teacher.keys()
    assert all(torch.equal(loaded["teacher"][key], teacher[key]) for key in teacher)


def test_named_shapes_are_the_library_s(tmp_path):
    assert all(CONFIGS[name] == shape for name, shape in NAMED.items())
    assert architecture(Model()) == CONFIGS["vits16"]
    net = models.KronosViT()
    export(
        {f"backbone.{k}": v for k, v in net.state_dict().items()}, Config(), THIRDS, tmp_path / "m", name="s", step=0
    )
    assert models.load(tmp_path / "m" / "official").net.running == (0, 3, 6, 9)
    assert (tmp_path / "m" / "official" / "config.json").read_text().count("architecture") == 0
    assert models.load(tmp_path / "m" / "model").card.label == "s (untrained)"


def test_roles_that_names_do_not_tell_are_kept(teacher, tmp_path):
    markers = (*THIRDS.markers[1:], Marker("OurStain", 300, 0.1, 0.1, "nuclear"))
    export(teacher, CONFIG, Vocabulary("lymph", markers), tmp_path / "m", step=1)
    assert models.load(tmp_path / "m" / "official").vocabulary["OurStain"].role == "nuclear"


def test_other_precisions_come_out_as_float32(teacher, tmp_path):
    export({key: value.half() for key, value in teacher.items()}, CONFIG, THIRDS, tmp_path / "m", step=1)
    assert models.load(tmp_path / "m" / "model").net.cls_token.dtype == torch.float32


@pytest.mark.row("export over an existing folder")
def test_nothing_is_replaced_by_accident(teacher, tmp_path, monkeypatch):
    out = tmp_path / "m"
    export(teacher, CONFIG, THIRDS, out, step=1)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export(teacher, CONFIG, THIRDS, out, step=2)
    export(teacher, CONFIG, THIRDS, out, step=2, overwrite=True)
    assert models.load(out / "model").card.notes.startswith("2 steps")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", _full_disk)
        with pytest.raises(OSError, match="No space left"):
            export(teacher, CONFIG, THIRDS, out, step=3, overwrite=True)
    assert models.load(out / "model").card.notes.startswith("2 steps")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    (out / "precious.txt").write_text("")
    with pytest.raises(FileExistsError, match=r"something else than an export \('model', 'official', 'precious.txt'\)"):
        export(teacher, CONFIG, THIRDS, out, step=3, overwrite=True)


def _full_disk(*_args, **_kwargs):
    raise OSError("No space left on device")


def test_a_failed_exchange_brings_the_old_export_back(teacher, tmp_path, monkeypatch):
    out = tmp_path / "m"
    export(teacher, CONFIG, THIRDS, out, step=1)
    rename = Path.rename

    def failing(self, target):
        if self.name == "new":
            raise OSError("no")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(OSError, match="no"):
            export(teacher, CONFIG, THIRDS, out, step=2, overwrite=True)
    assert models.load(out / "model").card.notes.startswith("1 steps")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_weights_of_another_shape_or_markers_without_statistics(teacher, tmp_path):
    wide = replace(CONFIG, model=replace(CONFIG.model, dim=96))
    with pytest.raises(ValueError, match=r"does not fit the settings.*other shape: .*Export with the settings"):
        export(teacher, wide, THIRDS, tmp_path / "m", step=1)
    with pytest.raises(ValueError, match=r"1 of 2 markers without id, mean or standard deviation \('CD3'\)"):
        export(teacher, CONFIG, Vocabulary("v", (THIRDS.markers[0], Marker("CD3", 140))), tmp_path / "m", step=1)
    assert not list(tmp_path.iterdir())


def test_exported_models_embed_tissue(exported, make):
    """What a user does next: both folders give one embedding of simulated cells."""
    import kronos_sc as ks

    ours = make((96, 96))
    theirs = make((96, 96))
    ks.tl.embed(ours, model=exported / "model", patch_size=32, precision="float32", device="cpu")
    ks.tl.embed(
        theirs, model=models.load(exported / "official", blocks="all"), patch_size=32, precision="float32", device="cpu"
    )
    features = ours["table"].obsm["X_kronos"]
    assert features.shape == (ours["table"].n_obs, 5 * 48)
    assert np.isfinite(features).all()
    assert features.std(0).min() > 0
    np.testing.assert_array_equal(features, theirs["table"].obsm["X_kronos"])
    assert ks.get.record(ours["table"])["model"]["name"] == "liver-7"
