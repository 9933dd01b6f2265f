"""Checkpoints: reading the official layout and our own, writing our own. No pickle is ever executed."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kronos_sc._core.checks import listed
from kronos_sc._storage.files import swap
from kronos_sc.markers import Vocabulary
from kronos_sc.models import _state
from kronos_sc.models._card import Card
from kronos_sc.models.encoders.kronos import KronosModel
from kronos_sc.models.nets.config import ViTConfig, config
from kronos_sc.models.nets.layers import LAYER_SCALE_INIT
from kronos_sc.models.nets.vit import KronosViT

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

FORMAT = "kronos-sc/1"


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(state: Mapping[str, torch.Tensor]) -> str:
    """Return the checksum of tensors and their names, for weights that another package keeps."""
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(state[key].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_config(folder: Path) -> dict[str, Any]:
    """Return the `config.json` of a model folder."""
    path = folder / "config.json"
    if not path.is_file():
        files = [p.name for p in sorted(folder.iterdir())]
        msg = (
            f"{folder} holds no config.json (it holds {listed(files)}). A model folder has config.json, the weights "
            "and, if official, marker_metadata.csv."
        )
        raise FileNotFoundError(msg)
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        msg = f"{path} is not valid JSON ({error}). Download the file again."
        raise ValueError(msg) from error


def from_folder(path: Path, card: Card, *, blocks: str | None, token_overlap: bool | None) -> KronosModel:
    """Load a model folder, or one checkpoint of it, in the official layout or in ours."""
    folder = path if path.is_dir() else path.parent
    settings = read_config(folder)
    own = settings.get("format") == FORMAT
    net = _empty_net(settings, own=own, blocks=blocks, token_overlap=token_overlap)
    weights = folder / "model.safetensors" if own else _official_weights(path, settings)
    if path.is_file() and path not in (weights, folder / "config.json"):
        msg = (
            f"{path.name} is not what config.json beside it describes, which is {weights.name}. Put it into a folder "
            "with its own config.json."
        )
        raise ValueError(msg)

    state = _own_state(weights) if own else _official_state(weights)
    fix = "Check model_type, or that both files come from the same model."
    _state.fill(net, state, weights, what="its config.json", fix=fix)

    # our config.json holds card and vocabulary as well; an official folder has its markers in a table
    if own:
        vocabulary = Vocabulary.from_dict(settings["vocabulary"])
        card = Card(**_tuples(settings["card"]))
    else:
        vocabulary = Vocabulary.from_csv(folder / "marker_metadata.csv", name=card.name)
    return KronosModel(net, card, vocabulary, sha256(weights))


def _empty_net(settings: Mapping[str, Any], *, own: bool, blocks: str | None, token_overlap: bool | None) -> KronosViT:
    """Return the network that a `config.json` describes, its weights still to be filled in."""
    architecture = settings.get("architecture")  # ours, and official checkpoints whose shape has no name
    model_type = str(settings.get("model_type"))
    shape = ViTConfig(**architecture) if isinstance(architecture, dict) else config(model_type)
    # our own files say how the network runs; official ones run as the released package, whatever config.json says
    if own and token_overlap is None:
        token_overlap = settings.get("token_overlap", False)
    if not blocks:
        blocks = settings["blocks"] if own else "official"
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        return KronosViT(shape, blocks=blocks, token_overlap=bool(token_overlap))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _official_weights(path: Path, settings: Mapping[str, Any]) -> Path:
    """Return the checkpoint that was named, or the only one of a folder."""
    if path.is_file() and path.suffix == ".pt":
        return path
    folder = path if path.is_dir() else path.parent
    official = folder / f"kronos_{settings.get('model_type')}_model.pt"
    if official.is_file():
        return official
    checkpoints = sorted(folder.glob("*.pt"))
    if len(checkpoints) != 1:
        msg = (
            f"{folder} holds no {official.name} (checkpoints there: {listed(p.name for p in checkpoints)}). "
            "Put the official checkpoint beside config.json."
        )
        raise FileNotFoundError(msg)
    return checkpoints[0]


def _official_state(path: Path) -> dict[str, torch.Tensor]:
    """Return the backbone of an official checkpoint: key `teacher`, prefix `backbone.`; the head is left out."""
    checkpoint = _state.read_checkpoint(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("teacher"), dict):
        keys = listed(checkpoint) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        msg = (
            f"{path} is not a KRONOS checkpoint: a dict with the key 'teacher' is expected, found {keys}. For weights "
            "trained here use models.save."
        )
        raise ValueError(msg)  # noqa: TRY004 - a file of another kind, not an argument of another type
    prefix = "backbone."
    return {key.removeprefix(prefix): value for key, value in checkpoint["teacher"].items() if key.startswith(prefix)}


def _own_state(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        msg = (
            f"{path} is missing. A model folder of ours holds config.json and model.safetensors; write one with "
            "models.save."
        )
        raise FileNotFoundError(msg)
    return _state.read_safetensors(path)


def save(model: KronosModel, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a model as safetensors and JSON, whole or not at all.

    Parameters
    ----------
    model
        A marker-aware vision transformer.
    folder
        Where to; holds `model.safetensors` and `config.json` (architecture, blocks, vocabulary with statistics, card).
    overwrite
        Replace a model that was saved there before; any other folder is left alone.

    Raises
    ------
    FileExistsError
        The folder exists, and `overwrite` is off or it holds something else than a saved model.
    TypeError
        The model has no weights to save.
    """
    from safetensors.torch import save

    if not isinstance(model, KronosModel):
        msg = (
            f"A marker-aware vision transformer can be saved, got {type(model).__name__}. Make one with "
            "models.KronosModel(net, card, vocabulary)."
        )
        raise TypeError(msg)
    target = Path(folder)
    _require_replaceable(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    staged = scratch / "model"  # a folder of its own, so that it has the permissions of any new folder
    staged.mkdir()
    try:
        weights = save({key: value.contiguous() for key, value in model.net.state_dict().items()})
        (staged / "model.safetensors").write_bytes(weights)
        settings = {
            "format": FORMAT,
            "architecture": model.net.config.to_dict(),
            "blocks": model.net.blocks_mode,
            "token_overlap": model.net.token_overlap,
            "vocabulary": model.vocabulary.to_dict(),
            "card": dict(model.card.__dict__),
        }
        (staged / "config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
        swap(staged, target, aside=scratch / "old")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _require_replaceable(target: Path, *, overwrite: bool) -> None:
    """Raise a FileExistsError unless nothing, or with `overwrite` nothing but a model of ours, stands at a path."""
    if not target.exists():
        return
    if not overwrite:
        msg = f"{target} exists already. Choose another folder, or pass overwrite=True to replace it."
        raise FileExistsError(msg)
    files = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if files != {"config.json", "model.safetensors"} or read_config(target).get("format") != FORMAT:
        msg = (
            f"{target} holds something else than a model saved here ({listed(sorted(files), most=4)}) and is not "
            "replaced. Choose another folder."
        )
        raise FileExistsError(msg)


def diagnose(net: KronosViT) -> str:
    """Say in one line what the LayerScale gammas imply about the blocks a checkpoint was trained with.

    A block that never ran in training keeps its gammas at their initial 1e-5; running it changes almost nothing.
    """
    blocks = [net.block(index) for index in range(net.config.depth)]
    gain = np.array([(b.ls1.gamma.abs().mean().item() + b.ls2.gamma.abs().mean().item()) / 2 for b in blocks])
    moved = np.abs(gain - LAYER_SCALE_INIT) > 0.5 * LAYER_SCALE_INIT
    official = np.zeros(len(gain), bool)
    official[list(net.config.blocks_run("official"))] = True
    table = ", ".join(f"{i}: {value:.1e}" for i, value in enumerate(gain))
    if not moved.any():
        verdict = "no block has moved from its initial value: the weights are untrained"
    elif (moved == official).all():
        verdict = "only the blocks of the official forward were trained: blocks='official' and 'all' agree"
    elif moved[~official].any():
        verdict = (
            "blocks that the official forward skips were trained: blocks='all' runs the network as trained, 'official' "
            "matches published embeddings"
        )
    else:
        verdict = "some blocks of the official forward were not trained"
    return f"{verdict} (mean |gamma| per block: {table})"
