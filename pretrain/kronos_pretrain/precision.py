"""In which number format a run computes: `run.precision`, with `"auto"` made a format once, for the whole run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from kronos_pretrain import checkpoint
from kronos_sc._core.log import info
from kronos_sc.models.inference import placement

if TYPE_CHECKING:
    from pathlib import Path

    from kronos_pretrain.config.schema import Config
    from kronos_pretrain.parallel import Processes

AUTO = "auto"


def resolve_precision(config: Config, procs: Processes, folder: Path, saved: int | None) -> Config:
    """Return settings whose precision is a number format.

    `"auto"` is that of the checkpoint which the run goes on from, so that a run is one computation wherever it is
    resumed; of a new run bfloat16, if every process is fast in it, else float32.

    Parameters
    ----------
    config
        Settings as they were given.
    procs
        The processes of the run.
    folder
        Of the run.
    saved
        Step of its last checkpoint, or None.
    """
    name = config.run.precision
    if name == AUTO and saved is not None:
        name = checkpoint.read_metadata(folder, saved)["config"]["run"]["precision"]
        info(f"run.precision is {name!r}, as {folder} was begun")
    elif name == AUTO:
        # one process that is slow in bfloat16 would keep all others waiting
        slow = procs.any(placement.choose_dtype(AUTO, procs.device) != torch.bfloat16)
        name = "float32" if slow else "bfloat16"
        place = "on all processes" if procs.world > 1 else "here"
        info(f"run.precision is {name!r}, the faster one of float32 and bfloat16 {place}")
    if warning := placement.slow(getattr(torch, name), procs.device):
        info(warning)
    return replace(config, run=replace(config.run, precision=name))
