"""The teacher as a model for use: our safetensors folder, and a file in the layout of the released checkpoint."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from kronos_pretrain import checkpoint
from kronos_pretrain.backbone import architecture
from kronos_pretrain.config import from_dict
from kronos_pretrain.network import Network
from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc._storage.files import swap
from kronos_sc.markers import Vocabulary
from kronos_sc.models import Card, KronosModel, KronosViT, ViTConfig, save

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from kronos_pretrain.config.schema import Config

OWN, OFFICIAL = "model", "official"
BACKBONE = "backbone."
CUSTOM = "custom"  # model_type of a shape that has no name; config.json then spells the shape out
NAMED = {"vits16": ViTConfig(), "vitl16": ViTConfig(dim=1024, depth=24, heads=16)}


class LoadedTeacher(NamedTuple):
    """The teacher of a checkpoint, in one process and on any machine.

    Parameters
    ----------
    network
        With its weights, which learn no more.
    config
        Settings of the run.
    vocabulary
        Markers of its corpus.
    step
        Steps done.
    """

    network: Network
    config: Config
    vocabulary: Vocabulary
    step: int


def load_teacher(run: Path, step: int | None = None) -> LoadedTeacher:
    """Return the teacher of a checkpoint; that of the last one by default."""
    step = checkpoint.require(run, step)
    metadata = checkpoint.read_metadata(run, step)
    config = from_dict(metadata["config"])
    network = Network(config).requires_grad_(requires_grad=False)
    checkpoint.load(run, step, {f"teacher.{name}": value for name, value in network.state_dict().items()})
    return LoadedTeacher(network, config, Vocabulary.from_dict(metadata["vocabulary"]), step)


def export_run(
    run: Path, out: Path, *, step: int | None = None, name: str | None = None, overwrite: bool = False
) -> str:
    """Write the teacher of a checkpoint as a model, and say how to use it.

    Parameters
    ----------
    run
        Folder of the run.
    out
        Folder to write.
    step
        Of the checkpoint; the last one by default.
    name
        Name of the model.
    overwrite
        Replace an earlier export.
    """
    require_replaceable(out, overwrite=overwrite)  # before a large checkpoint is read for nothing
    teacher = load_teacher(run, step)
    export(
        teacher.network.state_dict(),
        teacher.config,
        teacher.vocabulary,
        out,
        name=name or run.resolve().name,
        step=teacher.step,
        overwrite=overwrite,
    )
    return (
        f"{out}: the teacher after step {teacher.step}. Use it with kronos_sc.tl.embed(sdata, model='{out / 'model'}')."
    )


def export(
    state: Mapping[str, torch.Tensor],
    config: Config,
    vocabulary: Vocabulary,
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    step: int,
    overwrite: bool = False,
) -> None:
    """Write a teacher for use by `kronos_sc.models.load`, whole or not at all.

    `folder/model` holds `model.safetensors` and `config.json` (backbone, vocabulary with statistics, card).
    `folder/official` holds the layout of the released checkpoint: `kronos_<type>_model.pt` (a dict of tensors under
    `teacher`, heads included), `config.json` and `marker_metadata.csv`; load it with `blocks="all"`, since official
    checkpoints run fewer blocks by default.

    Parameters
    ----------
    state
        Full state dict of the teacher, `backbone.*`, `dino_head.*` and, if there is one, `ibot_head.*`; not sharded.
    config
        Settings of the run.
    vocabulary
        Markers of the corpus, with ids and statistics.
    folder
        Where to.
    name
        Name of the model; the run folder's if left out.
    step
        Steps that were trained.
    overwrite
        Replace what was exported there before; any other folder is left alone.

    Raises
    ------
    FileExistsError
        The folder exists, and `overwrite` is off or it holds something else than an export.
    ValueError
        The weights do not fit the settings, or a marker lacks its id or statistics.
    """
    target = Path(folder)
    require_replaceable(target, overwrite=overwrite)
    _require_complete(vocabulary)
    state = {key: value.detach().to("cpu", torch.float32).contiguous() for key, value in state.items()}
    net = _backbone(state, architecture(config.model))
    card = _card(config, net, vocabulary, name=name or Path(config.run.folder).name, step=step)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    work = staging / "new"  # a folder of its own, so that it has the permissions of any new folder
    try:
        save(KronosModel(net, card, vocabulary), work / OWN)
        _write_official(state, net.config, vocabulary, work / OFFICIAL)
        swap(work, target, aside=staging / "old")
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    info(
        f"exported {card.name!r} after {step:,} steps to {target}: load it with "
        f"kronos_sc.models.load({str(target / OWN)!r})"
    )


def _backbone(state: Mapping[str, torch.Tensor], shape: ViTConfig) -> KronosViT:
    """Return the backbone with its weights."""
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        net = KronosViT(shape, blocks="all")
    weights = {key.removeprefix(BACKBONE): value for key, value in state.items() if key.startswith(BACKBONE)}
    expected = net.state_dict()
    missing = sorted(set(expected) - set(weights))
    extra = sorted(set(weights) - set(expected))
    shapes = [
        f"{key} {tuple(weights[key].shape)} for {tuple(value.shape)}"
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    if missing or extra or shapes:
        msg = (
            f"The teacher's backbone does not fit the settings: missing {listed(missing, most=3)}; unexpected "
            f"{listed(extra, most=3)}; other shape: {listed(shapes, most=3)}. Export with the settings of the run that "
            "wrote the checkpoint."
        )
        raise ValueError(msg)
    net.load_state_dict(weights, strict=True, assign=True)
    return net


def _card(config: Config, net: KronosViT, vocabulary: Vocabulary, *, name: str, step: int) -> Card:
    shape = net.config
    millions = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    # the corpus by name: paths do not belong into what is given away
    corpus = f"corpus {Path(config.data.corpus).name!r}"
    if config.data.simulate.images:
        corpus = f"{config.data.simulate.images} simulated images"
    return Card(
        name,
        "a marker-aware vision transformer pretrained with kronos_pretrain",
        "that of the training run's owner",
        trained=step > 0,
        source=f"run {name!r}, seed {config.run.seed}",
        architecture=(
            f"{_model_type(shape)}: width {shape.dim}, {shape.depth} blocks, {shape.heads} heads, "
            f"{millions:.1f} M parameters"
        ),
        citation="Shaban et al. 2025, arXiv:2506.03373 (method)",
        patch_multiple=shape.patch,
        notes=(
            f"{step:,} steps of {config.optim.batch:,} samples from {corpus}, {len(vocabulary)} markers. "
            "Teacher weights."
        ),
    )


def _model_type(shape: ViTConfig) -> str:
    """Return the name of a shape, or `custom`."""
    return next((name for name, known in NAMED.items() if known == shape), CUSTOM)


def _write_official(state: Mapping[str, torch.Tensor], shape: ViTConfig, vocabulary: Vocabulary, folder: Path) -> None:
    folder.mkdir()
    kind = _model_type(shape)
    torch.save({"teacher": dict(state)}, folder / f"kronos_{kind}_model.pt")
    settings: dict[str, Any] = {"model_type": kind, "token_overlap": False}
    if kind == CUSTOM:
        settings["architecture"] = shape.to_dict()
    (folder / "config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    # the released table has no roles: they are written only where ids and names do not tell them
    table = vocabulary.to_frame()
    without_roles = table.drop(columns="role")
    inferred = Vocabulary.from_frame(without_roles, name=vocabulary.name).to_frame()["role"]
    if inferred.equals(table["role"]):
        table = without_roles
    table.to_csv(folder / "marker_metadata.csv", index=False)


def _require_complete(vocabulary: Vocabulary) -> None:
    if lacking := [marker.name for marker in vocabulary if marker.id is None or not marker.has_statistics]:
        msg = (
            f"The vocabulary {vocabulary.name!r} has {len(lacking)} of {len(vocabulary)} markers without id, mean or "
            f"standard deviation ({listed(lacking, most=5)}); a model cannot normalise them. Export with the "
            "vocabulary of the corpus it was trained on."
        )
        raise ValueError(msg)


def require_replaceable(target: Path, *, overwrite: bool) -> None:
    """Raise a FileExistsError unless nothing, or with `overwrite` nothing but an export, stands at a path."""
    if not target.exists():
        return
    if not overwrite:
        msg = f"{target} exists already. Choose another folder, or pass overwrite=True (--overwrite) to replace it."
        raise FileExistsError(msg)
    files = sorted(path.name for path in target.iterdir()) if target.is_dir() else []
    if files != [OWN, OFFICIAL] or not (target / OWN / "model.safetensors").is_file():
        msg = (
            f"{target} holds something else than an export ({listed(files, most=4)}) and is not replaced. Choose "
            "another folder."
        )
        raise FileExistsError(msg)
