"""First weights of continued pretraining: those of an exported model, or of one in the official layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kronos_pretrain.backbone import architecture
from kronos_pretrain.export import BACKBONE, OFFICIAL, OWN
from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc.markers import match
from kronos_sc.models import KronosModel, ViTConfig, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kronos_pretrain.config.schema import Config
    from kronos_sc.markers import Vocabulary

DINO = "dino_head."
IBOT = "ibot_head."
# The direction of the prototypes under weight normalisation, by the two names torch has given it; the gain beside it is
# fixed at 1.
DIRECTION = {
    "last_layer.weight_v": "last_layer.weight_g",
    "last_layer.parametrizations.weight.original1": "last_layer.parametrizations.weight.original0",
}


def starting_model(path: str) -> KronosModel:
    """Return the model that a run starts from, with all blocks running: its vocabulary is for :func:`check_vocabulary`.

    Parameters
    ----------
    path
        A folder written by `export` (or its `model` or `official` part), a folder or file in the official layout, or a
        name that `kronos_sc.models.load` knows.
    """
    folder = Path(path).expanduser()
    source: Path | str = folder if folder.exists() else path
    if _is_export(folder):
        source = folder / OWN
    model = load(source, blocks="all")
    if not isinstance(model, KronosModel):
        msg = (
            f"run.start={path!r} has no network to start from ({type(model).__name__}). Name a folder written by "
            "export, or one in the official layout."
        )
        raise ValueError(msg)  # noqa: TRY004 - the setting is at fault, not the type of an argument
    return model


def starting_state(
    path: str, network: torch.nn.Module, config: Config, *, model: KronosModel | None = None
) -> dict[str, torch.Tensor]:
    """Return the weights to start from, by the names of `network`; load them into student and teacher.

    The backbone is taken whole or refused. A head is taken if all of it fits; keys of other heads are left out, so that
    they keep the network's fresh values, and the log says so.

    Parameters
    ----------
    path
        As for :func:`starting_model`.
    network
        Children `backbone`, `dino_head` and, if separate, `ibot_head`; only names and shapes are looked at, so it may
        be sharded.
    config
        Settings of the new run.
    model
        The model at `path`, where :func:`starting_model` has loaded it already.

    Raises
    ------
    ValueError
        The start model has another shape than the settings ask for; the message names the keys to change.
    """
    if model is None:
        model = starting_model(path)
    _require_shape(model.net.config, architecture(config.model), path)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    weights = {BACKBONE + key: value for key, value in model.net.state_dict().items()}
    if mismatched := sorted({key for key in shapes if key.startswith(BACKBONE)} ^ set(weights)):
        msg = (
            f"The network's backbone and the start model's differ in {listed(mismatched, most=3)}. Pass a network with "
            "the parameter names of KronosViT."
        )
        raise ValueError(msg)

    heads = _heads(path)
    origins = []
    for prefix in (DINO, IBOT):
        if not any(key.startswith(prefix) for key in shapes):
            continue
        head, source = _fitting(heads, prefix, shapes)
        weights |= head
        origin = "fresh: the start model has none that fits"
        if source:
            origin = f"taken from {source.rstrip('.')}"
        origins.append(f"{prefix.rstrip('.')} {origin}")
    backbone = f"backbone of {len(model.net.state_dict())} tensors"
    info(f"starting from {model.card.name!r}: {backbone}; {'; '.join(origins)}")
    return weights


def check_vocabulary(start: Vocabulary, corpus: Vocabulary) -> None:
    """Raise a ValueError where a marker id means one thing to the start model and another in the corpus.

    A model knows a marker by its id alone. Markers new to the model need ids that it has not used; markers it knows
    must keep theirs.

    Parameters
    ----------
    start, corpus
        Vocabularies of the start model and of the corpus.
    """
    used = {marker.id: marker.name for marker in start}
    panel = match(corpus.names, start)
    wrong = []
    for marker, known, rule in zip(corpus, panel["marker"], panel["how"], strict=True):
        if marker.id == (start[known].id if known else None):
            continue
        if rule == "exact":
            wrong.append(f"{marker.name}: {marker.id} in the corpus, {start[known].id} in the model")
        elif marker.id in used:
            wrong.append(f"{marker.name}: {marker.id} in the corpus, where the model has {used[marker.id]}")
    if wrong:
        msg = (
            f"{len(wrong)} of {len(corpus)} markers of the corpus have other ids than in the start model "
            f"{start.name!r}: {listed(wrong, most=5)}. "
            'Write vocabulary = "FOLDER OF THE START MODEL" under [corpus] of the manifest and build again, or leave '
            "run.start out."
        )
        raise ValueError(msg)


def _is_export(folder: Path) -> bool:
    return all((folder / part / "config.json").is_file() for part in (OWN, OFFICIAL))


def _require_shape(start: ViTConfig, asked: ViTConfig, path: str) -> None:
    """Raise a ValueError that names the settings in which a start model differs."""
    own = start.to_dict()
    different = {key: value for key, value in asked.to_dict().items() if value != own[key]}
    if different:
        said = ", ".join(f"model.{key} is {value} and its own {own[key]}" for key, value in different.items())
        fix = " ".join(f"model.{key}={own[key]}" for key in different)
        msg = (
            f"The start model {Path(path).name!r} has another shape than the settings: {said}. Set {fix}, or leave "
            "run.start out."
        )
        raise ValueError(msg)


def _heads(path: str) -> dict[str, torch.Tensor]:
    """Return the heads that lie beside the backbone in a checkpoint of the official layout, prototypes by our name."""
    file = _official_file(Path(path).expanduser())
    if file is None:
        return {}
    teacher = torch.load(file, map_location="cpu", weights_only=True)["teacher"]
    heads = {key: value for key, value in teacher.items() if key.startswith((DINO, IBOT))}
    for prefix in (DINO, IBOT):
        for direction, gain in DIRECTION.items():
            if prefix + direction not in heads:
                continue
            weight = heads.pop(prefix + direction)
            norm = heads.pop(prefix + gain, torch.ones(1))
            # with other gains, these would be other logits: the head does not fit
            if torch.allclose(norm.float(), torch.ones(1)):
                heads[prefix + "last_layer.weight"] = weight
    return heads


def _official_file(place: Path) -> Path | None:
    """Return the checkpoint of the official layout at a place, or None."""
    if _is_export(place):
        place = place / OFFICIAL
    if place.is_dir():
        settings = json.loads((place / "config.json").read_text(encoding="utf-8"))
        named = place / f"kronos_{settings.get('model_type')}_model.pt"
        others = sorted(place.glob("*.pt"))
        place = named
        if not named.is_file() and others:
            place = others[0]
    return place if place.suffix == ".pt" and place.is_file() else None


def _fitting(
    heads: Mapping[str, torch.Tensor], prefix: str, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, torch.Tensor], str]:
    """Return a head for `prefix` and where it is from; the DINO head serves masked tokens too where it was shared.

    Empty if none fits.
    """
    expected = {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}
    for source in (prefix, DINO):
        head = {key.removeprefix(source): value for key, value in heads.items() if key.startswith(source)}
        if {key: tuple(value.shape) for key, value in head.items()} == expected:
            return {prefix + key: value.float() for key, value in head.items()}, source
    return {}, ""
