"""Putting what is finished in its place."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kronos_sc._core.progress import track

_AT_ONCE = 16


def swap(new: Path, target: Path, *, aside: Path) -> None:
    """Put a finished folder in its place; an old one goes only afterwards, and comes back if that fails."""
    if target.exists():
        target.rename(aside)
    try:
        new.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk; a file that could not be written whole does not stay behind."""
    try:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def on_disk(folder: Path) -> None:
    """Wait until a folder is on the disk: the files that only it has, and the names of all."""
    paths = [Path(root, name) for root, _, files in os.walk(folder) for name in (*files, "")]
    waiting = [path for path in paths if path.is_dir() or path.stat().st_nlink == 1]  # links are on the disk already
    # the file system puts requests that come together into one
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in track(pool.map(sync, waiting), total=len(waiting), description="to disk", unit="file"):
            pass


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; folders cannot be asked for on Windows."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
