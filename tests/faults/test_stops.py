"""Ctrl-C and errors in the middle: what is complete is kept and counted, threads are gone, the lock is free."""

import gc
import os
import signal
import threading
import time
import weakref

import numpy as np
import pytest

from kronos_sc import settings
from kronos_sc._store import BlockWriter, FeatureBlock
from kronos_sc.models import KronosModel

from .conftest import BLOCKS

pytestmark = pytest.mark.slow(12)  # seconds, for the file


def in_pass(monkeypatch, turn, act):
    """Do something in one pass of the network."""
    encode = KronosModel.encode
    turns = iter(range(1000))

    def watched(self, *arguments):
        if next(turns) == turn:
            act()
        return encode(self, *arguments)

    monkeypatch.setattr(KronosModel, "encode", watched)


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)  # the signal is handled between two steps of Python


def out_of_memory():
    np.empty(2**62, np.uint8)


def broken():
    msg = "no kernel image"
    raise RuntimeError(msg)


def leave():
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("turn", "act", "error"),
    [
        (0, broken, RuntimeError),
        (0, ctrl_c, KeyboardInterrupt),
        (6, ctrl_c, KeyboardInterrupt),
        (6, out_of_memory, MemoryError),
        (6, leave, SystemExit),
        (11, ctrl_c, KeyboardInterrupt),
        (11, broken, RuntimeError),
    ],
)
def test_stopped(case, monkeypatch, act, error, turn):
    sdata = case.read()
    case.embed(sdata, store=False)  # threads of libraries are there now
    before = set(threading.enumerate())
    del sdata["table"].obsm["X_kronos"], sdata["table"].obsm["X_kronos_cls"]
    with monkeypatch.context() as patch:
        in_pass(patch, turn, act)
        with pytest.raises(error) as caught:
            case.embed(sdata)
    ours = [one.name for one in set(threading.enumerate()) - before if "kronos" in one.name]
    assert ours == []
    done = case.check_partial()
    assert max(0, turn - 2) <= done <= turn  # all but the one or two in hand
    assert (
        f"{done} of {BLOCKS} blocks are complete in {case.store}; the same call goes on from there."
        in caught.value.__notes__
    )
    assert not set(sdata["table"].obsm) & {"X_kronos", "X_kronos_cls"}
    assert not list(case.store.glob(".parts/*"))
    case.check(case.embed(sdata))


@pytest.mark.slow(8)
def test_ctrl_c_at_random_moments(case):
    """The signal comes at any time of the call, from another thread; the end is the same."""
    rng = np.random.default_rng(8)
    sdata = case.read()
    stopped = 0
    case.check(case.embed(sdata))
    spans = {
        False: 1.0,
        True: 1.0,
    }  # signals come within what such a call takes on this machine; at first, later than that
    for _ in range(12):
        overwrite = stopped % 2 == 1
        timer = threading.Timer(rng.uniform(0, spans[overwrite]), os.kill, (os.getpid(), signal.SIGINT))
        began = time.monotonic()
        try:
            timer.start()
            case.embed(sdata, overwrite=overwrite)
            timer.cancel()
            timer.join()
            spans[overwrite] = min(spans[overwrite], time.monotonic() - began)
        except KeyboardInterrupt:
            stopped += 1
        finally:
            timer.cancel()
        case.check_partial()
    deadline = time.monotonic() + 120
    while any("kronos" in one.name for one in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [one.name for one in threading.enumerate() if "kronos" in one.name]
    assert stopped
    case.check(case.embed(sdata))


def test_few_blocks_are_held_when_the_disk_is_slow(case, monkeypatch):
    alive = weakref.WeakSet()
    most = []
    made, stage = FeatureBlock.__init__, BlockWriter.__call__

    def counted(self, *arguments, **named):
        made(self, *arguments, **named)
        alive.add(self)
        most.append(len(alive))

    def slow(self, block):
        time.sleep(0.1)
        return stage(self, block)

    monkeypatch.setattr(FeatureBlock, "__init__", counted)
    monkeypatch.setattr(FeatureBlock, "__hash__", object.__hash__)
    monkeypatch.setattr(BlockWriter, "__call__", slow)
    monkeypatch.setattr(settings, "read_threads", 2)
    case.check(case.embed())
    assert len(most) == BLOCKS
    assert max(most) <= 2 + 2  # being written, and the next
    gc.collect()
    assert not alive


def test_the_error_of_the_disk_is_not_hidden_by_the_next(case, monkeypatch):
    """The first of several blocks that cannot be written is the one that is told."""
    stage = BlockWriter.__call__
    turns = iter(range(100))

    def failing(self, block):
        turn = next(turns)
        if turn >= 3:
            raise OSError(28, f"No space left on device ({turn})")
        return stage(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(BlockWriter, "__call__", failing)
        with pytest.raises(OSError, match="No space left") as caught:
            case.embed()
    assert any("3 of 12 blocks are complete" in note for note in caught.value.__notes__)
    assert case.check_partial() == 3
    case.check(case.embed())


def test_ctrl_c_while_the_reader_starts(case, monkeypatch):
    """The moment at which a thread is there and nobody has it in hand yet."""
    start = threading.Thread.start

    def interrupted(self):
        start(self)
        if self.name == "kronos_sc-reader":
            ctrl_c()

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            case.embed()
    assert not [one.name for one in threading.enumerate() if one.name == "kronos_sc-reader"]
    case.check(case.embed())
