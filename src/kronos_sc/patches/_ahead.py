"""Work ahead in a thread, one step before it is needed."""

from __future__ import annotations

import threading
from queue import Queue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


def in_thread(items: Iterable[T], ahead: int) -> Iterator[T]:
    """Yield `items` while a thread makes the next ones; errors of the thread are raised here, and it ends when the caller stops."""
    queue: Queue[tuple[bool, Any]] = Queue(maxsize=max(1, ahead))
    stop = threading.Event()

    def work() -> None:
        try:
            for item in items:
                _put(queue, (True, item), stop)
                del item
                if stop.is_set():
                    return
            _put(queue, (False, None), stop)
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            _put(queue, (False, error), stop)

    thread = threading.Thread(target=work, name="kronos_sc-reader", daemon=True)
    thread.start()
    try:
        while True:
            more, value = queue.get()
            if not more:
                if value is not None:
                    raise value
                return
            yield value
            del value
    finally:
        stop.set()
        thread.join()


def _put(queue: Queue[Any], item: Any, stop: threading.Event) -> None:
    """Put an item, giving up when the caller has stopped."""
    from queue import Full

    while not stop.is_set():
        try:
            queue.put(item, timeout=0.1)
        except Full:
            continue
        return
