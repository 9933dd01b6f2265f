"""Blocks on the workers of a cluster: sent out a few at a time, accepted here, tried again elsewhere where one fails."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from kronos_sc._core.log import info
from kronos_sc._core.progress import bar
from kronos_sc._core.warn import warn
from kronos_sc._embedding.dask.task import Task, tasks
from kronos_sc._embedding.dask.worker import BlockError, BlockResult, WorkerState, embed_block, unpacked
from kronos_sc._embedding.sinks import MemorySink

if TYPE_CHECKING:
    from distributed import Client, Future

    from kronos_sc._embedding.compute import InferenceConfig
    from kronos_sc._embedding.jobs import Job
    from kronos_sc._embedding.sinks import Sink

CANCELLED = (
    asyncio.CancelledError,
    concurrent.futures.CancelledError,
)  # of the event loop; of Dask, whose results are no longer to be had
_TRIES = 3
_DEATHS = 2  # times that a block was on workers that died, several each time: among others, then alone
_ROOM = 2**30  # bytes on their way, where pixels travel
_LOOK = 2.0  # seconds between two looks at who is there
_GRACE = 120.0  # seconds without a block that comes back, after which a run that has failed waits for no more


def compute_on(client: Client, jobs: list[Job], encoder: InferenceConfig, sink: Sink, *, device: str | None) -> None:
    """Embed all blocks of the jobs on the workers of a client.

    Parameters
    ----------
    client
        Of dask.distributed.
    jobs
        What to read; images that are not in a Zarr store are read here, and their pixels sent.
    encoder
        What to do with it; its device is the type that one of the workers named.
    sink
        Accepts what workers have staged.
    device
        For workers to take; None for the fastest of each.

    Raises
    ------
    ValueError
        As without a cluster: pixels that are wrong wherever they are read.
    OSError, RuntimeError
        Blocks that failed three times, by name; all others were computed and accepted.
    ConnectionError
        The cluster is gone.
    """
    total = sum(len(block.units) for job in jobs for block in job.plan.blocks)
    if not total:
        return
    with bar(total=total, description="embed", unit="unit") as shown, _Run(client, jobs, encoder, sink, shown) as run:
        run.equip(encoder, device)
        run.embed()


class _Run:
    """The driver's side of a call."""

    def __init__(self, client: Client, jobs: list[Job], encoder: InferenceConfig, sink: Sink, shown: Any) -> None:
        self._client, self._nan, self._sink, self._shown = client, encoder.nan, sink, shown
        self._waiting = deque(tasks(jobs))
        self._suspects: list[Task] = []  # were on workers that died: each is tried once more, alone
        self._failed: list[Task] = []
        self._pending: dict[Any, tuple[Future, Task]] = {}
        self._ready: SimpleQueue[Any] = SimpleQueue()
        self._name = f"kronos-sc-embed-{token_hex(4)}"
        self._work: Future | None = None
        self._workers: dict[str, int] = {}
        self._devices: set[str] = set()
        self._retried, self._looked = 0, -_LOOK

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Accept what is done, whatever happened, and call the rest off."""
        if self._client.status != "running":
            return
        while error is not None and not self._ready.empty():
            self._keep(self._ready.get())
        self._cancel(list(self._pending))

    def equip(self, encoder: InferenceConfig, device: str | None) -> None:
        """Give the model to the cluster: as the result of a task, so that a worker that needs it can always get it."""
        import torch
        from distributed import wait
        from distributed.protocol import serialize_bytes

        self._look()
        info(f"blocks go to the workers of {self._client.scheduler.address} ({len(self._workers)} now)")
        model = encoder.model.at(torch.device("cpu"), encoder.dtype)
        data = serialize_bytes(WorkerState(replace(encoder, model=model), device, self._sink.stager))
        self._work = self._submit(unpacked, data, key=f"{self._name}-model")
        try:
            wait(self._work)
            error = self._work.exception()
        except CANCELLED as gone:
            raise lost(gone) from gone
        if error is not None:
            msg = (
                f"The model {encoder.model.card.name!r} could not be brought to the workers ({type(error).__name__}: "
                f"{error}). "
                "What it is made of must be importable there: put its class into a module that is installed on every "
                "machine."
            )
            raise RuntimeError(msg) from error

    def embed(self) -> None:
        """Send blocks out and accept them until all are done or have failed for good."""
        while self._waiting or self._pending or self._suspects:
            task = self._next()
            if task is not None:
                self._send(task)
            self._take(wait=task is None)
        if self._failed:
            raise self._error()
        if len(self._devices) > 1:
            warn(
                f"Some blocks were embedded on {', others on '.join(sorted(self._devices))}: equal units differ in "
                "their last digits."
            )

    def _next(self) -> Task | None:
        """Return a block to send, if there is room for one; those in doubt last and alone."""
        room = max(64, 4 * sum(self._workers.values()))  # enough for a cluster that grows with what waits
        if self._waiting:
            full = len(self._pending) >= room or sum(task.bytes for _, task in self._pending.values()) >= _ROOM
            return None if full else self._waiting.popleft()
        return self._suspects.pop() if self._suspects and not self._pending else None

    def _send(self, task: Task) -> None:
        try:
            data = task.packed(self._nan)
        except (OSError, ValueError) as error:  # pixels that only this process can read
            self._fail(task, BlockError.of(error))
            return
        task.bytes = len(data)
        others = [address for address in self._workers if address not in task.avoid_workers]
        where = {"workers": others, "allow_other_workers": True} if task.avoid_workers and others else {}
        key = (self._name, task.job.numbers[task.index], token_hex(4))
        future = self._submit(embed_block, self._work, data, key=key, **where)
        self._pending[key] = future, task
        future.add_done_callback(lambda done: self._ready.put(done.key))

    def _submit(self, function: Any, *given: Any, **how: Any) -> Future:
        import dask

        with dask.config.set(
            {"distributed.admin.large-graph-warning-threshold": "1 TiB"}
        ):  # pixels and models may well travel
            try:
                return self._client.submit(function, *given, pure=False, **how)
            except Exception as error:
                if self._client.status == "running":
                    raise
                raise lost(error) from error

    def _take(self, *, wait: bool) -> None:
        """Settle one block that came back; look around if none does."""
        if time.monotonic() - self._looked > _LOOK:
            self._look()
        with suppress(Empty):
            self._settle(self._ready.get(block=wait, timeout=_LOOK))

    def _look(self) -> None:
        """Find out who is there."""
        if self._client.status != "running":
            raise lost(f"the client is {self._client.status}")
        try:
            self._workers = dict(self._client.nthreads())
        except (OSError, TimeoutError) as error:
            raise lost(error) from error
        self._looked = time.monotonic()
        self._say()

    def _say(self) -> None:
        counts = {"workers": len(self._workers), "retried": self._retried, "failed": len(self._failed)}
        self._shown.set_postfix_str(
            ", ".join(f"{n} {what}" for what, n in counts.items() if n or what == "workers"), refresh=False
        )

    def _settle(self, key: Any) -> None:
        """Accept a block that came back, or find out what to do about it."""
        future, task = self._pending.pop(key, (None, None))
        if future is None:  # called off
            return
        try:
            outcome = future.result()
        except CANCELLED as error:
            raise lost(error) from error
        except Exception as error:  # noqa: BLE001 - of Dask itself: workers that died, results that do not arrive
            outcome = BlockError("", type(error).__name__, str(error))
        if isinstance(outcome, BlockResult):
            try:
                self._sink.accept(outcome.staged)
            except FileNotFoundError as error:
                outcome = BlockError("", type(error).__name__, f"what the worker wrote is not seen here: {error}")
        if isinstance(outcome, BlockError):
            self._fail(task, outcome)
            return
        self._devices.add(outcome.device)
        self._shown.update(task.units)

    def _fail(self, task: Task, why: BlockError) -> None:
        """Decide whether a block is tried again."""
        task.error = why
        if why.final:
            self._finish_running()
            raise (ValueError if why.final == "ValueError" else OSError)(why.message)
        died = why.kind == "KilledWorker"  # several workers in a row; but perhaps through the fault of another block
        task.tries += 1
        task.worker_losses += died
        task.avoid_workers |= {why.worker} - {""}
        if task.tries < _TRIES and task.worker_losses < _DEATHS:
            (self._suspects if task.worker_losses else self._waiting).append(task)
            self._retried += 1
        else:
            self._failed.append(task)
            hopeless = len(self._failed) >= _TRIES and not self._devices  # nothing ever worked
            if hopeless or isinstance(self._sink, MemorySink):
                raise self._error()
        self._say()

    def _finish_running(self) -> None:
        """Call off what has not begun, and accept what has."""
        running: set[Any] = set()
        with suppress(Exception):  # a cluster that does not answer has nothing that is worth waiting for
            running = {key for keys in self._client.processing().values() for key in keys}
        self._cancel([key for key, (future, _) in self._pending.items() if key not in running and not future.done()])
        with suppress(Empty):
            while self._pending:
                self._keep(self._ready.get(timeout=_GRACE))
        self._cancel(list(self._pending))

    def _keep(self, key: Any) -> None:
        """Accept a block if it is done; nothing is tried again."""
        future, task = self._pending.pop(key, (None, None))
        with suppress(Exception, asyncio.CancelledError):
            if future is not None and isinstance(done := future.result(), BlockResult):
                self._sink.accept(done.staged)
                self._shown.update(task.units)

    def _cancel(self, keys: list[Any]) -> None:
        if futures := [self._pending.pop(key)[0] for key in keys]:
            self._client.cancel(futures, force=True)

    def _error(self) -> Exception:
        """Return an error that names the blocks that failed."""
        named = "; ".join(f"{task}: {task.error}" for task in self._failed[:5])
        more = f"; and {len(self._failed) - 5} more" if len(self._failed) > 5 else ""
        kept = (
            "Features in memory are lost with it: store= keeps them."
            if isinstance(self._sink, MemorySink)
            else "All others are kept."
        )
        kind = OSError if all(task.error.system for task in self._failed) else RuntimeError
        tried = f"each tried {_TRIES} times" + (
            f", or lost {_DEATHS} times with its workers" if any(task.worker_losses for task in self._failed) else ""
        )
        return kind(
            f"{len(self._failed)} of the blocks could not be embedded, {tried}: {named}{more}. {kept} Mend what is "
            "wrong and make the same call again."
        )


def lost(why: object) -> ConnectionError:
    """Return the error of a cluster that is gone."""
    return ConnectionError(
        f"The cluster no longer works for this run ({why}). Connect to one again, or close the client to embed here, "
        "and make the same call again."
    )
