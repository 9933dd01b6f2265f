"""A polite end: the signal that a cluster sends before it takes a machine away, or Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import FrameType, TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
REPEAT = 3.0  # seconds in which a second Ctrl-C is the echo of the first, which a terminal and a launcher both deliver


class Stop:
    """Remembers that the run was asked to end. A later Ctrl-C ends it at once; SIGTERM may come as often as it likes.

    Attributes
    ----------
    asked
        Whether a signal came. Nothing is said when it does: a signal may fall into the middle of a line.
    reason
        Its name.
    """

    def __init__(self) -> None:
        self.asked = False
        self.reason = "by another process"
        self._first = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # elsewhere signals cannot be caught
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            self.reason = signal.Signals(number).name
            self._first = time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._first > REPEAT:
            raise KeyboardInterrupt

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
