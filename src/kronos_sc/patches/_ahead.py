"""Work ahead in a thread, one step before it is needed."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import Future

T = TypeVar("T")
S = TypeVar("S")


def in_thread(items: Iterable[T], ahead: int) -> Generator[T, None, None]:
    """Yield `items` while a thread makes up to `ahead` next ones.

    Errors of the thread are raised here, and it ends when the caller stops.
    """
    queue: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
    free_slots = threading.Semaphore(max(1, ahead))
    stop = threading.Event()

    def work() -> None:
        iterator = iter(items)
        try:
            # the slot first: what is being made takes memory like what waits
            while free_slots.acquire() and not stop.is_set():
                queue.put((True, next(iterator)))
        except StopIteration:
            queue.put((False, None))
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            queue.put((False, error))
        finally:
            if (close := getattr(iterator, "close", None)) is not None:
                close()

    thread = threading.Thread(target=work, name="kronos_sc-reader", daemon=True)
    try:
        thread.start()  # an interrupt may come while it begins
        while True:
            more, value = queue.get()
            if not more:
                if value is not None:
                    raise value
                return
            free_slots.release()
            yield value
            del value  # or this frame would hold a block that the caller is done with
    finally:
        stop.set()
        free_slots.release()  # the thread may wait for one
        if thread.ident is not None:
            thread.join()


def in_threads(work: Callable[[S], T], items: Iterable[S], threads: int) -> Iterator[T]:
    """Yield what `work` makes of `items`, in order, from several threads.

    At most one result more than there are threads waits.
    """
    if threads < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, "kronos_sc-worker") as pool:
        under_way: deque[Future[T]] = deque()
        try:
            for item in items:
                under_way.append(pool.submit(work, item))
                if len(under_way) > threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
