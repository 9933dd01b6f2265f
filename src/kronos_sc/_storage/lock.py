"""One writer at a time: a lock of the operating system, which ends with its process, however that ends."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_NOTICED = 0.5  # seconds of waiting that need no word


@contextmanager
def file_lock(
    lock: Path, *, busy: Callable[[], str], wait: float = 0.0, waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold a lock.

    Parameters
    ----------
    lock
        Its file; made where it is not there, and never removed.
    busy
        Returns the text of the error.
    wait
        Seconds to wait for another process.
    waiting
        Called once it is clear that there is something to wait for.

    Raises
    ------
    BlockingIOError
        Another process (or another thread of this one) holds it, for longer than `wait`.
    """
    from filelock import FileLock, Timeout

    file = FileLock(lock, mode=0o666)  # whoever may write into the folder may hold it
    try:
        try:
            file.acquire(timeout=min(wait, _NOTICED))
        except Timeout:
            if wait > _NOTICED and waiting is not None:
                waiting()
            file.acquire(timeout=max(0.0, wait - _NOTICED))
    except Timeout:
        raise BlockingIOError(busy()) from None
    try:
        yield
    finally:
        file.release()
