"""The folder of an embedding: what may stand there, and what is never touched."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from kronos_sc._core.checks import listed
from kronos_sc._store._lock import LOCK
from kronos_sc._store._stage import BRIGHTEST, PARTS, PIXELS

if TYPE_CHECKING:
    from pathlib import Path

    import zarr

FORMAT = "kronos-sc embedding/1"
ROOT = "zarr.json"
_OURS = {LOCK, PARTS, ROOT, "record", "marker", "cls", PIXELS, BRIGHTEST, "row", "edge", "names"}


def open_group(path: Path) -> zarr.Group:
    """Open the group of a store, or raise an error that says what lies there instead."""
    import zarr

    if not (path / ROOT).is_file():
        what = "holds no embedding" if path.exists() else "does not exist"
        msg = f"{path} {what}. Make one with tl.embed(sdata, store={str(path)!r})."
        raise FileNotFoundError(msg)
    group = zarr.open_group(path, mode="r", use_consolidated=False)
    if (found := group.attrs.get("format")) != FORMAT:
        msg = (
            f"{path} is not an embedding of this version of kronos-sc (format {found!r}, not {FORMAT!r}). Choose another place with store=."
        )
        raise ValueError(msg)
    return group


def exists(path: Path) -> bool:
    """Whether a path holds an embedding; anything else that stands there is an error."""
    if (path / ROOT).is_file():
        open_group(path)
        return True
    require_free(path)
    return False


def require_free(path: Path) -> None:
    """Raise a FileExistsError unless a path is free, or holds nothing but an embedding of ours or the beginnings of one."""
    if not path.exists():
        return
    found = {child.name for child in path.iterdir()} if path.is_dir() else {path.name}
    begun = ROOT in found or PARTS in found or found <= {LOCK}  # names alone prove nothing: people have folders called "marker"
    if not path.is_dir() or not found <= _OURS or not begun:
        what = listed(sorted(found - _OURS or found), most=4)
        msg = f"{path} holds something else than an embedding ({what}) and is not touched. Choose another place with store=."
        raise FileExistsError(msg)
    if ROOT in found:
        open_group(path)


def discard(path: Path) -> None:
    """Remove an embedding, all but its lock."""
    (path / PARTS).mkdir(parents=True, exist_ok=True)  # until the end: it says that what is left is ours
    (path / ROOT).unlink(missing_ok=True)  # first: without it nobody takes the rest for an embedding
    for name in sorted(_OURS - {LOCK, PARTS, ROOT}):
        if (path / name).exists():
            shutil.rmtree(path / name)
    shutil.rmtree(path / PARTS)
