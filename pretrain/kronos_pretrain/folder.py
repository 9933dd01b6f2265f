"""The folder of a run: one place that all processes see, and one answer to where the run stands."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kronos_pretrain import checkpoint

if TYPE_CHECKING:
    from kronos_pretrain.parallel import Processes


def shared_folder(name: str, procs: Processes) -> Path:
    """Return the folder of the run, made if need be, after every process has seen in it what the first one wrote.

    Raises
    ------
    OSError
        On every process, if it cannot be written to or is not the same place for all.
    """
    folder, failure, token = Path(name), "", secrets.randbelow(2**31)
    token = int(procs.gather(torch.tensor([token], device=procs.device))[0])
    mark = folder / f".seen-{token}"
    if procs.first:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            mark.touch()
        except OSError as error:
            failure = error.strerror or str(error)
    if procs.any(bool(failure)):
        msg = (
            f"run.folder={name!r} cannot be written to ({failure or 'see the message of process 0'}). Choose a folder "
            "that is writable, and not a file."
        )
        raise OSError(msg)
    blind = (
        (procs.gather(torch.tensor([float(mark.exists())], device=procs.device)) == 0)
        .flatten()
        .nonzero()
        .flatten()
        .tolist()
    )
    if procs.first:
        mark.unlink()
    if blind:
        msg = (
            f"Processes {', '.join(map(str, blind))} of {procs.world} do not see the run.folder={name!r} of process 0. "
            "All machines of a run must see the same folder: choose one on a shared file system."
        )
        raise OSError(msg)
    return folder


def agreed_step(folder: Path, procs: Processes) -> int | None:
    """Return the step of the last checkpoint, None if there is none.

    An OSError on every process if they see different ones.
    """
    mine = checkpoint.newest(folder)
    steps = procs.gather(torch.tensor([-1 if mine is None else mine], device=procs.device)).flatten().tolist()
    if len(set(steps)) > 1:
        words = ", ".join(f"process {rank}: {'none' if step < 0 else step}" for rank, step in enumerate(steps))
        msg = (
            f"Processes see different last checkpoints in {folder} ({words}). All machines of a run must see the same "
            "folder; on a file system that is slow to show new files, wait a minute and try again."
        )
        raise OSError(msg)
    return mine
