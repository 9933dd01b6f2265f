"""Batches: the same whoever reads them, in any order of starting and stopping, and nothing is left behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from kronos_pretrain.config.schema import Config, Data, Optim, Parallel
from kronos_pretrain.data.corpus import Corpus
from kronos_pretrain.data.dataset import Patches
from kronos_pretrain.data.loader import samples
from kronos_pretrain.data.store import ArraySource

FIELDS = ("index", "pixels", "marker_ids", "zero")


@pytest.fixture(scope="module")
def corpus(written) -> Corpus:
    return Corpus.open(written.folder)


@pytest.fixture(scope="module", autouse=True)
def _only_what_comes_now_is_collected():
    """What other tests have left is a second's work for each collection below."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """No process and no thread outlives a test."""
    processes = set(multiprocessing.active_children())
    threads = set(threading.enumerate())
    yield
    gc.collect()
    assert set(multiprocessing.active_children()) <= processes
    for thread in set(threading.enumerate()) - threads:
        thread.join(2)  # the feeders of multiprocessing's queues end soon after the queue
        assert not thread.is_alive(), thread.name


def _config(*, workers: int = 0, batch: int = 8, micro: int = 0, **data) -> Config:
    return Config(
        data=Data(patch=32, workers=workers, **data), optim=Optim(batch=batch), parallel=Parallel(micro_batch=micro)
    )


def _all(corpus: Corpus, config: Config, **options) -> list:
    with samples(corpus, config, **options) as batches:
        return list(batches)


def _same(some: list, others: list) -> bool:
    pairs = list(zip(some, others, strict=True))
    return all(a.step == b.step and all(torch.equal(getattr(a, f), getattr(b, f)) for f in FIELDS) for a, b in pairs)


@pytest.fixture(scope="module")
def six_steps(corpus) -> list:
    """Six steps of eight samples, read in this process."""
    return _all(corpus, _config(markers=(3, 4)), stop_step=6)


def test_a_batch_is_a_step_in_order(six_steps) -> None:
    assert [batch.step for batch in six_steps] == [0, 1, 2, 3, 4, 5]
    for batch in six_steps:
        assert batch.index.tolist() == list(range(8))
        assert batch.pixels.shape == (8, 1, batch.marker_ids.shape[-1], 32, 32)
        assert batch.wait >= 0
    assert {batch.marker_ids.shape[-1] for batch in six_steps} == {3, 4}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(corpus, six_steps, workers) -> None:
    assert _same(_all(corpus, _config(workers=workers, markers=(3, 4)), stop_step=6), six_steps)


def test_parts_that_do_not_come_out_even_make_the_same_batch(corpus, six_steps, monkeypatch) -> None:
    monkeypatch.setattr("kronos_pretrain.data.loader.PART", 3)
    assert _same(_all(corpus, _config(workers=2, markers=(3, 4)), stop_step=6), six_steps)


def test_batches_are_not_overwritten_while_they_wait(corpus) -> None:
    """Slow consumers, and many more batches than slots."""
    config = _config(workers=2, batch=2)
    expected = _all(corpus, _config(batch=2), stop_step=40)
    got = []
    with samples(corpus, config, stop_step=40) as batches:
        for batch in batches:
            got.append(batch)
            time.sleep(0.01 * (batch.step % 3))
    assert _same(got, expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_starting_later_is_skipping(corpus, six_steps, workers) -> None:
    assert _same(_all(corpus, _config(workers=workers, markers=(3, 4)), first_step=2, stop_step=6), six_steps[2:])


def test_processes_and_micro_batches_share_out_the_same_batch(corpus, six_steps) -> None:
    config = _config(micro=2, markers=(3, 4))
    ranks = [_all(corpus, config, stop_step=6, rank=rank, world=2) for rank in range(2)]
    assert [batch.index.tolist() for batch in ranks[1][:3]] == [[4, 5], [6, 7], [4, 5]]
    for step, whole in enumerate(six_steps):
        parts = [batch for share in ranks for batch in share if batch.step == step]
        for field in FIELDS:
            assert torch.equal(torch.cat([getattr(part, field) for part in parts]), getattr(whole, field))


def test_without_an_end_it_goes_on(corpus) -> None:
    batches = samples(corpus, _config(batch=2), first_step=10**9)
    assert [next(batches).step for _ in range(3)] == [10**9, 10**9 + 1, 10**9 + 2]
    batches.close()


@pytest.mark.parametrize(
    ("batch", "micro", "world", "message"),
    [(8, 0, 3, "multiple of 3, or start 1, 2, 4, 8 processes"), (8, 3, 2, "one of 1, 2, 4, or to 0")],
)
def test_shares_must_come_out_even(corpus, batch, micro, world, message) -> None:
    with pytest.raises(ValueError, match=message):
        samples(corpus, _config(batch=batch, micro=micro), world=world)


def test_settings_are_checked_before_anything_is_read(corpus) -> None:
    with pytest.raises(ValueError, match="samples of 6 markers"):
        samples(corpus, _config(markers=(3, 6)))


def test_too_little_shared_memory_is_said_at_the_start(corpus, monkeypatch) -> None:
    def refuse(*_):
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    with pytest.raises(RuntimeError, match=r"data.workers=4 needs 1 MiB of shared memory .*No space left.*--shm-size"):
        _all(corpus, _config(workers=4, batch=8), stop_step=1)


def test_torchs_global_random_state_is_left_alone(corpus) -> None:
    before = torch.get_rng_state()
    _all(corpus, _config(workers=1), stop_step=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_dataset_can_be_sent_to_a_new_process(corpus, six_steps) -> None:
    sent = pickle.loads(pickle.dumps(Patches(corpus, _config(markers=(3, 4)).data, seed=0)))
    assert torch.equal(sent[1, 5].pixels, six_steps[1].pixels[5])


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_wrong_with_a_file_is_said(spoilt, workers) -> None:
    for shard in (spoilt.folder / "images/0000-one/pixels.zarr/c").rglob("0"):
        if shard.is_file():
            shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(OSError, match=r"(?s)Image 'one', marker '.*Delete"):
        _all(Corpus.open(spoilt.folder), _config(workers=workers), stop_step=20)


class _Trap(ArraySource):
    """Calls `act` when step 2 reads it (the third batch of one sample each)."""

    def read(self, *where):
        self.act()
        return super().read(*where)


def _trapped(corpus: Corpus, written, act) -> Corpus:
    _Trap.act = staticmethod(act)
    return Corpus([replace(corpus.images[2], pixels=_Trap(written.pixels["three"]))], corpus.vocabulary, 32)


@pytest.mark.parametrize(
    ("act", "how"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"by signal 9 \(SIGKILL\)"),
        (lambda: os._exit(3), "with exit status 3"),
    ],
)
def test_a_worker_that_dies_is_reported(corpus, written, act, how) -> None:
    dying = _trapped(corpus, written, act)
    with (
        samples(dying, _config(workers=1), first_step=6) as batches,
        pytest.raises(RuntimeError, match=f"{how} while step 6 was read.*same command again"),
    ):
        next(batches)


def test_workers_leave_signals_to_the_training_process(corpus) -> None:
    with samples(corpus, _config(workers=2), stop_step=40) as batches:
        for _ in range(2):  # one of each worker, so that both have begun
            next(batches)
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGTERM)
            os.kill(child.pid, signal.SIGINT)
        assert [batch.step for batch in batches] == list(range(2, 40))


def test_waiting_is_measured(corpus, written) -> None:
    slow = _trapped(corpus, written, lambda: time.sleep(0.02))
    waits = [batch.wait for batch in _all(slow, _config(batch=4), stop_step=3)]
    assert min(waits) > 0.04
    batches = samples(slow, _config(batch=4), stop_step=3)
    next(batches)
    time.sleep(1.0)
    assert next(batches).wait < 0.07  # of at least 0.08 that it takes
    batches.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_it_can_be_closed_at_any_time(corpus, workers) -> None:
    unused = samples(corpus, _config(workers=workers))
    unused.close()
    used = samples(corpus, _config(workers=workers))
    next(used)
    used.close()
    used.close()
    with pytest.raises(StopIteration):
        next(used)
    forgotten = samples(corpus, _config(workers=workers))
    next(forgotten)


_LEFT_OPEN = """
import sys
from kronos_pretrain.config.schema import Config, Data, Optim
from kronos_pretrain.data.corpus import Corpus
from kronos_pretrain.data.loader import samples
batches = samples(Corpus.open(sys.argv[1]), Config(data=Data(patch=32, workers=2), optim=Optim(batch=8)))
print(next(batches).step)
if sys.argv[2] == "error":
    raise ValueError("the training loop failed")
"""


@pytest.mark.parametrize(("how", "status"), [("end", 0), ("error", 1)])
def test_a_program_that_leaves_it_open_ends(written, how, status) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LEFT_OPEN, str(written.folder), how],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (status, "0\n")
    assert ("the training loop failed" in done.stderr) == bool(status)
    assert "DataLoader" not in done.stderr


def test_arrays_alone_will_do(corpus, written, six_steps) -> None:
    images = [replace(image, pixels=ArraySource(np.asarray(written.pixels[image.name]))) for image in corpus.images]
    made = Corpus(images, corpus.vocabulary, corpus.patch)
    assert _same(_all(made, _config(markers=(3, 4)), stop_step=6), six_steps)
