"""The polite end of a run."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from kronos_pretrain import stop as module
from kronos_pretrain.stop import Stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_request_is_remembered(number) -> None:
    before = signal.getsignal(number)
    with Stop() as stop:
        assert not stop.asked
        os.kill(os.getpid(), number)
        assert stop.asked
        os.kill(os.getpid(), number)  # its echo, from a launcher say
    assert signal.getsignal(number) is before


def test_a_later_interrupt_ends_at_once(monkeypatch) -> None:
    monkeypatch.setattr(module, "REPEAT", -1.0)
    with Stop():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # a scheduler may repeat itself
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_other_threads_can_train_too() -> None:
    asked = []

    def work() -> None:
        with Stop() as stop:
            asked.append(stop.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [False]
