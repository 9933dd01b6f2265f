"""One writer at a time in a SpatialData store, and order after one that was killed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from kronos_sc._core.log import info
from kronos_sc._core.warn import warn
from kronos_sc._storage import lock as lock
from kronos_sc._storage.files import sync
from kronos_sc._store import root_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

LOCK = ".kronos_sc.lock"
WORK = ".kronos_sc-"  # readers of the store skip hidden folders
NEW, OLD, META = "new", "old", "metadata"
_HOLDER, _NOTE = "holder.json", "README.txt"
_TEXT = """A table of this store is being replaced (kronos_sc.io.write_embedding).

If no such process runs any more, it was killed. kronos_sc.io.recover(store) puts everything right. By hand: if \
tables/NAME is missing,
move old/NAME there; then remove this folder. Nothing else in it is needed.
"""


@contextmanager
def writing(store: Path, *, wait: float) -> Iterator[Path]:
    """Hold the lock of a store and lend a hidden folder in it, which goes afterwards.

    What a killed process left is put right first.

    Raises
    ------
    BlockingIOError
        Another process (or thread) holds the lock for longer than `wait` seconds.
    """
    with lock_table_store(store, wait=wait):
        restore_tables(store)
        # within the store: folders trade places on one file system only
        work = store / f"{WORK}{secrets.token_hex(4)}"
        try:
            for folder in (work, work / NEW, work / OLD):
                folder.mkdir()
            (work / _NOTE).write_text(_TEXT, encoding="utf-8")
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            holder = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
            (work / _HOLDER).write_text(json.dumps(holder))
            yield work
        except BaseException:
            with suppress(OSError):  # the error that led here says more
                restore_tables(store)
            raise
        restore_tables(store)


def lock_table_store(store: Path, *, wait: float) -> AbstractContextManager[None]:
    """Hold the lock of a store; a BlockingIOError says who still does after `wait` seconds."""

    def busy() -> str:
        return (
            f"{store} is being written to by {_holder(store)}, and still was after {wait:g} s. Nothing was written. "
            "Call io.write_embedding again when that process has finished, or with a longer wait=."
        )

    def waiting() -> None:
        info(f"waiting up to {wait:g} s for {_holder(store)} to finish writing to {store}")

    return lock.file_lock(store / LOCK, busy=busy, wait=wait, waiting=waiting)


def _holder(store: Path) -> str:
    """Return who holds the lock, as far as the folder that it works in says so."""
    for work in store.glob(f"{WORK}*"):
        if holder := root_metadata.metadata(work / _HOLDER):
            return f"process {holder.get('process')} on {holder.get('host')} (since {holder.get('since')})"
    return "another process"


def leftover_dirs(store: Path) -> list[Path]:
    """Return the work folders in a store: of a running writer, or of one that was killed."""
    return sorted(store.glob(f"{WORK}*"))


def missing_tables(store: Path, work: Path) -> list[Path]:
    """Return the tables that a work folder holds and the store lacks."""
    return [aside for aside in sorted((work / OLD).glob("*")) if not (store / "tables" / aside.name).exists()]


def restore_tables(store: Path) -> None:
    """Put back what a killed call set aside, under the lock.

    A table that was set aside takes its place again, metadata list what is there, work folders go.
    """
    for work in leftover_dirs(store):
        for aside in missing_tables(store, work):
            aside.rename(store / "tables" / aside.name)
            sync(store / "tables")
            info(f"put table {aside.name!r} back, which a killed process had set aside")
        if (work / META).exists() and not root_metadata.is_consolidated(store):
            _, whole = root_metadata.prepared(store, work / f"{META}-{secrets.token_hex(4)}", tables={})
            whole.replace(store / root_metadata.ROOT)
        if kept := [aside for aside in (work / OLD).glob("*") if (work / NEW / aside.name).exists()]:
            # the writer was killed between its two renames, and somebody has made a new table since: neither may go
            warn(
                f"{kept[0]} is table {kept[0].name!r} as it was when a process was killed; another one of that name "
                f"has been written since. Move the one you need, then remove {work}."
            )
        else:
            shutil.rmtree(work, ignore_errors=True)
