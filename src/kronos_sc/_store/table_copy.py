"""A second table folder that shares all chunks with the first: files are linked, not copied, and none is written to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from kronos_sc._core.progress import bar

if TYPE_CHECKING:
    from collections.abc import Collection

    from tqdm.std import tqdm

METADATA = {"zarr.json", ".zattrs", ".zarray", ".zgroup", ".zmetadata"}


def clone(table: Path, new: Path, *, without: Collection[str]) -> None:
    """Make a copy of a table folder in which only metadata are files of their own.

    Chunks are hard links; where the file system has none, they are copied. What will be written (`without`, paths
    inside the table) is left out, so that no shared file can be written to.
    """
    with bar(description="prepare", unit="file") as progress:
        _clone(table, new, {table / name for name in without}, progress)


def _clone(folder: Path, new: Path, without: Collection[Path], progress: tqdm) -> None:
    new.mkdir()
    with os.scandir(folder) as entries:
        for entry in entries:
            source = Path(entry.path)
            target = new / entry.name
            if entry.is_symlink():
                msg = (
                    f"{source} is a symbolic link, and a table with links to other places cannot be copied safely. "
                    "Write the SpatialData anew with sdata.write(path), or put what it points to in its place."
                )
                raise OSError(msg)
            if source in without:
                continue
            if entry.is_dir():
                _clone(source, target, without, progress)
            else:
                _link(source, target)
                progress.update()
    shutil.copystat(folder, new)


def _link(source: Path, target: Path) -> None:
    if source.name not in METADATA:
        try:
            os.link(source, target)
        except OSError:  # no links on this file system, or not to files of others
            pass
        else:
            return
    shutil.copy2(source, target)
