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
    folder = Path(name)
    failure = ""
    # every process draws a number, and all take that of the first: no other run looks for this file
    token = int(procs.gather(torch.tensor([secrets.randbelow(2**31)], device=procs.device))[0])
    marker = folder / f".seen-{token}"
    if procs.first:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            marker.touch()
        except OSError as error:
            failure = error.strerror or str(error)
    if procs.any(bool(failure)):
        msg = (
            f"run.folder={name!r} cannot be written to ({failure or 'see the message of process 0'}). Choose a folder "
            "that is writable, and not a file."
        )
        raise OSError(msg)
    sees_it = procs.gather(torch.tensor([float(marker.exists())], device=procs.device)).flatten()
    blind = [rank for rank, sees in enumerate(sees_it.tolist()) if not sees]
    if procs.first:
        marker.unlink()
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
    newest = checkpoint.newest(folder)
    number = -1 if newest is None else newest  # a tensor holds no None
    steps = procs.gather(torch.tensor([number], device=procs.device)).flatten().tolist()
    if len(set(steps)) > 1:
        words = ", ".join(f"process {rank}: {'none' if step < 0 else step}" for rank, step in enumerate(steps))
        msg = (
            f"Processes see different last checkpoints in {folder} ({words}). All machines of a run must see the same "
            "folder; on a file system that is slow to show new files, wait a minute and try again."
        )
        raise OSError(msg)
    return newest
