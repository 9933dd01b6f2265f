"""Names, cards, plug-ins and the hub."""

import pytest

from kronos_sc import models
from kronos_sc.models import _registry


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(_registry, "_REGISTRY", dict(_registry._REGISTRY))
    return _registry


def test_what_is_registered():
    assert {"kronos", "kronos-untrained", "mean-marker"} <= set(models.list_models())


def test_cards_say_what_one_may_do():
    kronos, untrained = models.card("kronos"), models.card("kronos-untrained")
    assert kronos.gated
    assert "CC BY-NC-ND" in str(kronos)
    assert "https://huggingface.co/MahmoodLab/kronos" in str(kronos)
    assert not untrained.trained
    assert "UNTRAINED" in str(untrained)
    assert "untrained" in untrained.label
    assert models.Card("x", "y", "z", trained=False).label == "x (untrained)"


def test_untrained_weights_are_always_the_same():
    one, other = models.load("kronos-untrained"), models.load("kronos-untrained")
    state = other.net.state_dict()
    assert all(value.equal(state[key]) for key, value in one.net.state_dict().items())
    assert one.net.blocks_mode == "official", "as of the released model, which it stands in for"


def test_unknown_name():
    with pytest.raises(ValueError, match="Did you mean 'kronos-untrained'"):
        models.load("kronos-untraind")


def test_mean_marker_has_no_blocks():
    with pytest.raises(ValueError, match="do not apply"):
        models.load("mean-marker", blocks="all")
    with pytest.raises(ValueError, match="no blocks or token overlap"):
        models.load(models.load("mean-marker"), token_overlap=True)


def test_register(registry):
    card = models.Card("mine", "mine", "MIT")
    models.register(card, lambda **_: models.load("mean-marker"))
    assert "mine" in models.list_models()
    assert models.card("mine") is card
    with pytest.raises(ValueError, match="overwrite=True"):
        models.register(card, lambda **_: None)


class _Point:
    def __init__(self, name, answer):
        self.name = name
        self.value = "package:function"
        self._answer = answer

    def load(self):
        if isinstance(self._answer, Exception):
            raise self._answer
        return lambda: self._answer


def test_plugins_are_found_and_a_broken_one_is_skipped(registry, monkeypatch):
    good = (models.Card("from-plugin", "a plug-in", "MIT"), lambda **_: models.load("mean-marker"))
    monkeypatch.setattr(registry, "_plugins_seen", False)
    points = [_Point("bad", RuntimeError("broken")), _Point("good", good)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    with pytest.warns(UserWarning, match="plug-in 'bad'.*skipped: RuntimeError: broken"):
        names = models.list_models()
    assert "from-plugin" in names
    assert models.load("from-plugin").card.name == "mean-marker"


def _failing(error):
    def snapshot_download(*_args, **_kwargs):
        raise error

    return snapshot_download


@pytest.mark.parametrize(
    ("kind", "builtin", "message"),
    [
        ("GatedRepoError", PermissionError, "has not been granted.*huggingface.co/MahmoodLab/kronos.*hf auth login"),
        ("RepositoryNotFoundError", PermissionError, "not logged in.*hf auth login"),
        ("LocalEntryNotFoundError", ConnectionError, "cannot be reached.*kronos-untrained"),
    ],
)
def test_hub_errors_say_how_to_get_access(monkeypatch, kind, builtin, message):
    import huggingface_hub
    from huggingface_hub import errors

    cls = getattr(errors, kind)
    error = cls("no") if kind == "LocalEntryNotFoundError" else cls.__new__(cls)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", _failing(error))
    with pytest.raises(builtin, match=message):
        models.load("kronos")


def test_hub_name_loads_what_was_fetched(monkeypatch, tmp_path, fill):
    import huggingface_hub

    from kronos_sc.markers import paper_vocabulary

    net = fill(models.KronosViT(models.ViTConfig(dim=48, depth=4, heads=3, chunks=2, registers=4)))
    card = models.Card("tiny", "tiny", "MIT")
    models.save(models.KronosModel(net, card, paper_vocabulary(mean=0.0, std=1.0)), tmp_path / "snapshot")
    asked = []

    def snapshot_download(repository, **_):
        asked.append(repository)
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert models.load("hf-hub:someone/tiny").card.name == "tiny"
    assert asked == ["someone/tiny"] * 2  # config.json first, then the weights that it describes


def test_not_a_repository_name():
    with pytest.raises(ValueError, match="owner/name"):
        models.load("hf-hub:not a name/at/all")
