"""One process at a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a store; the system frees it when the process ends, however it ends.

    Raises
    ------
    BlockingIOError
        Another process (or another thread of this one) holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        msg = (
            f"Another process is writing {folder}. Wait for it and make the same call again (what is complete is not computed twice), "
            "or choose another place with store=."
        )
        raise BlockingIOError(msg) from None
    try:
        yield
    finally:
        lock.release()
