"""Batches, read ahead of the training loop."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import weakref
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from typing import Any

import torch

from kronos_pretrain.config.schema import Config
from kronos_pretrain.data.batch import Samples
from kronos_pretrain.data.corpus import Corpus
from kronos_pretrain.data.dataset import Key, Patches
from kronos_pretrain.data.slots import AHEAD, PART, Slots, Ticket
from kronos_sc.patches._ahead import in_thread


def samples(
    corpus: Corpus,
    config: Config,
    *,
    first_step: int = 0,
    stop_step: int | None = None,
    rank: int = 0,
    world: int = 1,
    device: str | torch.device = "cpu",
) -> Reader:
    """Return this process's share of every step, one :class:`Samples` per micro-batch, read ahead.

    What comes depends on the configuration and the step alone: `data.workers` changes how fast it comes, and another
    number of processes shares the same batch out differently.

    Parameters
    ----------
    corpus, config
        Images and settings.
    first_step, stop_step
        Steps from the first up to, not including, the last; without an end by default.
    rank, world
        This process, and how many there are.
    device
        Where the batches will be used; for CUDA they are put into pinned memory.

    Raises
    ------
    ValueError
        If the batch cannot be shared out evenly, or what :class:`Sampler` raises; before anything is read.
    OSError, RuntimeError
        From the iterator: a file that cannot be read, a worker that died.
    """
    plan = LoaderPlan(*_shares(config, world), rank=rank, first_step=first_step, stop_step=stop_step)
    patches = Patches(corpus, config.data, seed=config.run.seed)
    target = torch.device(device)
    if target.type == "cuda" and target.index is None:
        target = torch.device("cuda", torch.cuda.current_device())
    if config.data.workers:
        return Reader(_read_by_workers(patches, plan, config.data.workers, target))
    return Reader(_read_in_thread(patches, plan, target))


@dataclass(frozen=True)
class LoaderPlan:
    """The samples of every micro-batch of one process, in order: keys of :class:`Patches`.

    Parameters
    ----------
    share
        Samples of this process in a step.
    micro_batch
        Samples of one batch.
    rank
        This process.
    first_step, stop_step
        Steps from the first up to, not including, the last; `None` for no end.
    """

    share: int
    micro_batch: int
    rank: int = 0
    first_step: int = 0
    stop_step: int | None = None

    def __iter__(self) -> Iterator[list[Key]]:
        start = self.rank * self.share
        steps: Iterable[int] = count(self.first_step)
        if self.stop_step is not None:
            steps = range(self.first_step, self.stop_step)
        for step in steps:
            for first in range(start, start + self.share, self.micro_batch):
                yield [(step, index) for index in range(first, first + self.micro_batch)]


class Reader(Iterator[Samples]):
    """Batches from a thread that keeps one ready.

    Closing it ends the thread and all workers, and so does leaving it or the program.

    Parameters
    ----------
    batches
        What to read ahead.
    """

    def __init__(self, batches: Generator[Samples]) -> None:
        # In a thread even with workers: torch's DataLoader, used in the main thread, installs a signal handler that
        # would raise a worker's death anywhere in the training loop. So it comes out of `next`, and with our words.
        self._ahead = in_thread(batches, 1)
        self._finish = weakref.finalize(self, _finish, self._ahead, batches)
        atexit.register(self._finish)  # before multiprocessing waits for workers that nobody told to end

    def __next__(self) -> Samples:
        started = perf_counter()
        batch = next(self._ahead)
        return batch._replace(wait=perf_counter() - started)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and the workers; may be called again."""
        self._finish()
        atexit.unregister(self._finish)


def _finish(ahead: Iterator[Samples], batches: Generator[Samples]) -> None:
    ahead.close()  # type: ignore[attr-defined] - waits for the thread, so that nothing runs `batches` when it is closed
    batches.close()


def _pinned(target: torch.device) -> bool:
    """Return whether batches for `target` go into pinned memory, of whose device this thread then is."""
    if target.type != "cuda":
        return False
    # a thread's own; it starts with device 0, where every process would claim memory otherwise
    torch.cuda.set_device(target)
    return True


def _read_in_thread(patches: Patches, plan: LoaderPlan, target: torch.device) -> Generator[Samples]:
    """Yield batches read by the thread that asks."""
    pin = _pinned(target)
    for keys in plan:
        yield patches.read(keys, patches.blank(keys, pin=pin))


def _read_by_workers(patches: Patches, plan: LoaderPlan, workers: int, target: torch.device) -> Generator[Samples]:
    """Yield batches read by processes."""
    pin = _pinned(target)
    slots = Slots(patches, workers=workers, part=min(PART, plan.micro_batch))
    before = set(multiprocessing.active_children())
    tickets: Any = iter(
        torch.utils.data.DataLoader(
            slots,
            batch_sampler=(part for keys in plan for part in _parts(keys)),
            num_workers=workers,
            collate_fn=_unchanged,
            prefetch_factor=AHEAD,
            worker_init_fn=_ignore_signals,
            generator=torch.Generator(),  # which else would take a number from torch's global one
        )
    )
    # torch does not tell which processes it started
    processes = [child for child in multiprocessing.active_children() if child not in before]
    try:
        for keys in plan:
            batch = patches.blank(keys, pin=pin)
            for part in _parts(keys):
                try:
                    ticket = next(tickets)
                except RuntimeError as error:
                    if dead := [child for child in processes if child.exitcode]:
                        raise RuntimeError(_worker_death_message(dead[0].exitcode or 0, keys[0][0], workers)) from error
                    raise
                slots.collect(ticket, batch, part[0][1] - keys[0][1])
            yield batch
    finally:
        tickets._shutdown_workers()  # torch has no public way, and an error on its way up would keep the iterator alive
        for child in processes:
            child.kill()
            child.join()


def _parts(keys: list[Key]) -> list[list[Key]]:
    return [keys[first : first + PART] for first in range(0, len(keys), PART)]


def _ignore_signals(_worker: int) -> None:
    """Leave Ctrl-C and a cluster's preemption, both of which reach all processes, to the training process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _unchanged(ticket: Ticket) -> Ticket:
    return ticket


def _worker_death_message(exitcode: int, step: int, workers: int) -> str:
    cause = f"with exit status {exitcode}"
    if exitcode < 0:
        cause = f"by signal {-exitcode} ({signal.Signals(-exitcode).name})"
    return (
        f"A reading process died {cause} while step {step} was read; {workers} were at work (data.workers). Most often "
        "memory ran out. The last checkpoint is intact: run the same command again to resume from it, with fewer "
        "data.workers if it happens again."
    )


def _shares(config: Config, world: int) -> tuple[int, int]:
    """Return the samples of each process in a step, and those of a micro-batch."""
    batch = config.optim.batch
    micro = config.parallel.micro_batch
    if batch < 1 or batch % world:
        msg = (
            f"optim.batch={batch} cannot be shared evenly by {world} processes. Set optim.batch to a multiple of "
            f"{world}, or start {_divisors(batch)} processes."
        )
        raise ValueError(msg)
    share = batch // world
    if micro < 0 or (micro and share % micro):
        msg = (
            f"parallel.micro_batch={micro} does not divide the {share} samples that each of {world} processes has of "
            f"optim.batch={batch}. Set parallel.micro_batch to one of {_divisors(share)}, or to 0 for all at once."
        )
        raise ValueError(msg)
    return share, micro or share


def _divisors(number: int) -> str:
    return ", ".join(str(divisor) for divisor in range(1, number + 1) if number % divisor == 0)
