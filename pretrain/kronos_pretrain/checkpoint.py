"""Checkpoints of a run: safetensors written by all processes (DCP), whole or not at all.

Any number of processes can read them.

Nothing here is a pickle: tensors are safetensors files, everything else is `state.json`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import CheckpointException, HuggingFaceStorageReader, HuggingFaceStorageWriter

from kronos_sc._core.checks import listed
from kronos_sc._core.log import info

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from kronos_pretrain.parallel import Processes

FORMAT = "kronos-run/1"
FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d{8})")


def steps(run: Path) -> list[int]:
    """Return the steps of a run's complete checkpoints, in order."""
    folder = run / FOLDER
    complete = (path.parent.name for path in folder.glob("step-*/state.json"))
    matches = (_NAME.fullmatch(name) for name in complete)
    return sorted(int(match[1]) for match in matches if match)


def place(run: Path, step: int) -> Path:
    """Return the folder of a checkpoint; the step is the number of steps done."""
    return run / FOLDER / f"step-{step:08d}"


def newest(run: Path) -> int | None:
    """Return the step of the last complete checkpoint, or None."""
    return max(steps(run), default=None)


def require(run: Path, step: int | None) -> int:
    """Return the step asked for, or the last one; an error names what there is."""
    complete = steps(run)
    if not complete:
        msg = (
            f"{run} holds no complete checkpoint. Give the folder of a run (run.folder of its configuration) that has "
            "written one."
        )
        raise FileNotFoundError(msg)
    if step is not None and step not in complete:
        msg = (
            f"{run} holds no checkpoint of step {step}; there are: {', '.join(map(str, complete))}. Choose one of "
            "these, or leave the step out for the last."
        )
        raise FileNotFoundError(msg)
    return complete[-1] if step is None else step


def save(
    run: Path, step: int, tensors: dict[str, torch.Tensor], metadata: dict[str, Any], *, keep: int, procs: Processes
) -> Path:
    """Write a checkpoint from all processes, put it in place, then remove the oldest ones.

    Parameters
    ----------
    run
        Folder of the run, seen by all processes.
    step
        Steps done.
    tensors
        Tensors by name; sharded ones are written by the processes that hold them.
    metadata
        What JSON can hold.
    keep
        How many checkpoints stay.
    procs
        All processes call this together.

    Raises
    ------
    OSError
        On every process, if one could not write; earlier checkpoints stay as they were.
    """
    # written beside its place and renamed at the end: no half of it is ever taken for a checkpoint
    target = place(run, step)
    work = target.with_name(f".{target.name}.part")
    failure = ""
    if procs.first:
        failure = _prepare(work)
    _raise_together(failure, work, target, procs)
    try:
        dcp.save(tensors, storage_writer=HuggingFaceStorageWriter(str(work), save_distributed=True))
        # after everyone's tensors: a folder without it is not complete
        if procs.first:
            failure = _finish(work, target, {"format": FORMAT, "step": step, "world": procs.world, **metadata})
    except CheckpointException as error:
        failure = "; ".join(
            f"process {rank}: {_first_line(cause)}" for rank, (cause, _) in sorted(error.failures.items())
        )
    _raise_together(failure, work, target, procs)
    # only now, with the new one in place
    if procs.first:
        for old in steps(run)[:-keep]:
            _remove(place(run, old))
    return target


def _prepare(work: Path) -> str:
    """Make an empty folder to write into, and clear away what earlier processes left half written or half removed."""
    try:
        work.parent.mkdir(parents=True, exist_ok=True)
        for leftover in [*work.parent.glob(".step-*.part"), *work.parent.glob(".step-*.old")]:
            shutil.rmtree(leftover, ignore_errors=True)
        work.mkdir(exist_ok=True)
    except OSError as error:
        return f"process 0: {error}"
    return ""


def _remove(old: Path) -> None:
    """Remove a checkpoint that is not needed any more; one that cannot be removed is no reason to end the run."""
    aside = old.with_name(f".{old.name}.old")
    try:
        old.rename(aside)  # at once, so that no half of it can be taken for a checkpoint
    except OSError as error:
        info(f"{old} could not be removed: {error}")
        return
    shutil.rmtree(aside, ignore_errors=True)


def _finish(work: Path, target: Path, metadata: dict[str, Any]) -> str:
    """Add the metadata and move a checkpoint into place.

    Returns what went wrong, for the other processes to hear of.
    """
    try:
        with (work / "state.json").open("w", encoding="utf-8") as file:
            json.dump(metadata, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():  # a run that was set back to an earlier step comes by again
            _remove(target)
        work.rename(target)
    except OSError as error:
        return f"process 0: {error}"
    return ""


def _raise_together(failure: str, work: Path, target: Path, procs: Processes) -> None:
    """Raise an error on every process if the checkpoint did not come to be."""
    if not procs.any(bool(failure)):
        return
    if procs.first:
        shutil.rmtree(work, ignore_errors=True)
    last = newest(target.parents[1])
    kept = "There is no earlier checkpoint"
    if last is not None:
        kept = f"The checkpoint of step {last} is intact"
    cause = failure or "another process failed; see its message"
    msg = (
        f"The checkpoint {target} could not be written ({cause}). {kept}; "
        "make room on the disk (checkpoints.keep says how many stay) and run the same command again to go on from it."
    )
    raise OSError(msg)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def read_metadata(run: Path, step: int) -> dict[str, Any]:
    """Return what `state.json` of a checkpoint says."""
    path = place(run, step) / "state.json"
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(run, step, error) from error
    if metadata.get("format") != FORMAT:
        msg = (
            f"{path} says format {metadata.get('format')!r}, not {FORMAT!r}. It was written by another version: use "
            "that one, or start a new run.folder."
        )
        raise ValueError(msg)
    return dict(metadata)


def load(run: Path, step: int, tensors: dict[str, torch.Tensor]) -> None:
    """Fill tensors, sharded or not, with the values of a checkpoint, whatever the number of processes that wrote it."""
    path = place(run, step)
    _require_fit(path, run, step, tensors)
    try:
        with warnings.catch_warnings():  # export and evaluation run without processes on purpose
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=not dist.is_initialized())
    except (CheckpointException, OSError, ValueError, RuntimeError) as error:
        raise _damaged(run, step, error) from error


def _require_fit(path: Path, run: Path, step: int, tensors: dict[str, torch.Tensor]) -> None:
    """Raise a ValueError if a sound checkpoint holds other tensors than those to fill."""
    try:
        saved = HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata
    except Exception as error:  # safetensors and the reader raise what they like on a damaged file
        raise _damaged(run, step, error) from error
    wrong = [
        f"{name} {tuple(saved[name].size) if name in saved else 'missing'} for {tuple(tensor.shape)}"
        for name, tensor in tensors.items()
        if not _fits(saved, name, tensor)
    ]
    if wrong:
        msg = (
            f"The checkpoint {path} belongs to a network of another shape: {listed(wrong, most=3)}. "
            "Set model.* and head.* back to what its state.json says; --override cannot change them."
        )
        raise ValueError(msg)


def _fits(saved: dict[str, Any], name: str, tensor: torch.Tensor) -> bool:
    return name in saved and tuple(saved[name].size) == tuple(tensor.shape)


def _damaged(run: Path, step: int, error: Exception) -> OSError:
    causes = [_first_line(error)]
    if isinstance(error, CheckpointException):
        causes = [_first_line(cause) for cause, _ in error.failures.values()]
    earlier = [str(s) for s in steps(run) if s != step]
    msg = (
        f"The checkpoint {place(run, step)} cannot be read ({listed(dict.fromkeys(causes), most=2)}). "
        f"Other checkpoints of this run: {', '.join(earlier) or 'none'}. Move the damaged one away to go on from the "
        "last of these."
    )
    return OSError(msg)
