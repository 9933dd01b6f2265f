"""Continued pretraining: the weights of an exported model, or of one in the official layout, for a new run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kronos_pretrain.export import BACKBONE, OFFICIAL, OWN, architecture
from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc.markers import match
from kronos_sc.models import KronosModel, ViTConfig, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kronos_pretrain.config.schema import Config
    from kronos_sc.markers import Vocabulary

DINO, IBOT = "dino_head.", "ibot_head."
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
    model = load(folder / OWN if _is_export(folder) else folder if folder.exists() else path, blocks="all")
    if not isinstance(model, KronosModel):
        msg = (
            f"run.start={path!r} has no network to start from ({type(model).__name__}). Name a folder written by "
            "export, or one in the official layout."
        )
        raise ValueError(msg)  # noqa: TRY004 - the setting is at fault, not the type of an argument
    return model


def starting_state(path: str, network: torch.nn.Module, config: Config) -> dict[str, torch.Tensor]:
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

    Raises
    ------
    ValueError
        The start model has another shape than the settings ask for; the message names the keys to change.
    """
    model = starting_model(path)
    _require_shape(model.net.config, architecture(config.model), path)
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    taken = {BACKBONE + key: value for key, value in model.net.state_dict().items()}
    if odd := sorted({key for key in wanted if key.startswith(BACKBONE)} ^ set(taken)):
        msg = (
            f"The network's backbone and the start model's differ in {listed(odd, most=3)}. Pass a network with the "
            "parameter names of KronosViT."
        )
        raise ValueError(msg)
    heads, told = _heads(path), {}
    for prefix in (p for p in (DINO, IBOT) if any(key.startswith(p) for key in wanted)):
        head, source = _fitting(heads, prefix, wanted)
        taken |= head
        told[prefix] = f"taken from {source.rstrip('.')}" if source else "fresh: the start model has none that fits"
    words = "; ".join(f"{prefix.rstrip('.')} {words}" for prefix, words in told.items())
    info(f"starting from {model.card.name!r}: backbone of {len(model.net.state_dict())} tensors; {words}")
    return taken


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
    for marker, known, how in zip(corpus, panel["marker"], panel["how"], strict=True):
        if marker.id == (start[known].id if known else None):
            continue
        if how == "exact":
            wrong.append(f"{marker.name}: {marker.id} in the corpus, {start[known].id} in the model")
        elif marker.id in used:
            wrong.append(f"{marker.name}: {marker.id} in the corpus, where the model has {used[marker.id]}")
    if wrong:
        msg = (
            f"{len(wrong)} of {len(corpus)} markers of the corpus have other ids than in the start model "
            f"{start.name!r}: {listed(wrong, most=5)}. "
            'Write vocabulary = "FOLDER OF THE START MODEL" under [corpus] of the manifest and build again, or leave run.start out.'
        )
        raise ValueError(msg)


def _is_export(folder: Path) -> bool:
    return all((folder / part / "config.json").is_file() for part in (OWN, OFFICIAL))


def _require_shape(start: ViTConfig, wanted: ViTConfig, path: str) -> None:
    """Raise a ValueError that names the settings in which a start model differs."""
    here, there = wanted.to_dict(), start.to_dict()
    if other := [key for key in here if here[key] != there[key]]:
        found = ", ".join(f"model.{key} is {here[key]} and its own {there[key]}" for key in other)
        fix = " ".join(f"model.{key}={there[key]}" for key in other)
        msg = (
            f"The start model {Path(path).name!r} has another shape than the settings: {found}. Set {fix}, or leave "
            "run.start out."
        )
        raise ValueError(msg)


def _heads(path: str) -> dict[str, torch.Tensor]:
    """Return the heads that lie beside the backbone in a checkpoint of the official layout, prototypes by our name."""
    place = Path(path).expanduser()
    place = place / OFFICIAL if _is_export(place) else place
    if place.is_dir():
        file = (
            place
            / f"kronos_{json.loads((place / 'config.json').read_text(encoding='utf-8')).get('model_type')}_model.pt"
        )
        place = file if file.is_file() else next(iter(sorted(place.glob("*.pt"))), file)
    if place.suffix != ".pt" or not place.is_file():
        return {}
    teacher = torch.load(place, map_location="cpu", weights_only=True)["teacher"]
    heads = {key: value for key, value in teacher.items() if key.startswith((DINO, IBOT))}
    for prefix in (DINO, IBOT):
        for direction, gain in DIRECTION.items():
            if prefix + direction not in heads:
                continue
            weight, size = heads.pop(prefix + direction), heads.pop(prefix + gain, torch.ones(1))
            if torch.allclose(
                size.float(), torch.ones(1)
            ):  # with other gains, these would be other logits: the head does not fit
                heads[prefix + "last_layer.weight"] = weight
    return heads


def _fitting(
    heads: Mapping[str, torch.Tensor], prefix: str, wanted: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, torch.Tensor], str]:
    """Return a head for `prefix` and where it is from; the DINO head serves masked tokens too where it was shared.

    Empty if none fits.
    """
    names = {key.removeprefix(prefix): shape for key, shape in wanted.items() if key.startswith(prefix)}
    for source in (prefix, DINO):
        found = {key.removeprefix(source): value for key, value in heads.items() if key.startswith(source)}
        if {key: tuple(value.shape) for key, value in found.items()} == names:
            return {prefix + key: value.float() for key, value in found.items()}, source
    return {}, ""
