"""From the checkpoint of a run to its teacher: export and evaluation, in one process and on any machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_pretrain import checkpoint
from kronos_pretrain.config import from_dict
from kronos_pretrain.evaluate import evaluate
from kronos_pretrain.evaluate.labelled import Labelled
from kronos_pretrain.export import export, require_replaceable
from kronos_pretrain.network import Network
from kronos_sc.markers import Vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    from kronos_pretrain.config.schema import Config


def teacher(run: Path, step: int | None) -> tuple[Network, Config, Vocabulary, int]:
    """Return the teacher of a checkpoint (the last one by default), with its settings, vocabulary and step."""
    step = checkpoint.require(run, step)
    facts = checkpoint.read_facts(run, step)
    config = from_dict(facts["config"])
    network = Network(config).requires_grad_(requires_grad=False)
    checkpoint.load(run, step, {f"teacher.{name}": value for name, value in network.state_dict().items()})
    return network, config, Vocabulary.from_dict(facts["vocabulary"]), step


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
    network, config, vocabulary, step = teacher(run, step)
    export(
        network.state_dict(), config, vocabulary, out, name=name or run.resolve().name, step=step, overwrite=overwrite
    )
    return f"{out}: the teacher after step {step}. Use it with kronos_sc.tl.embed(sdata, model='{out / 'model'}')."


def evaluate_run(run: Path, labelled: Path, *, step: int | None = None) -> dict[str, float]:
    """Return what the frozen features of a checkpoint's teacher are worth on a file of labelled patches."""
    network, _, vocabulary, _ = teacher(run, step)
    return evaluate(network.frozen, Labelled.load(labelled), vocabulary)
