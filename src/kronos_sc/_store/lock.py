"""One process at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc._storage import lock as lock

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

LOCK = ".lock"


def lock_store(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of a store; a BlockingIOError says that another process (or another thread of this one) does."""
    busy = (
        f"Another process is writing {folder}. Wait for it and make the same call again (what is complete is not "
        "computed twice), or choose another place with store=."
    )
    return lock.file_lock(folder / LOCK, busy=lambda: busy)
