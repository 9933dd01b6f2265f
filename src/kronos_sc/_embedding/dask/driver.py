"""Blocks on the workers of a cluster.

They are sent out a few at a time, accepted here, and tried again elsewhere where one fails.
"""

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
from kronos_sc._embedding.dask.worker import BlockError, BlockResult, WorkerState, deserialize, embed_block
from kronos_sc._embedding.sinks import MemorySink

if TYPE_CHECKING:
    from distributed import Client, Future

    from kronos_sc._embedding.compute import InferenceConfig
    from kronos_sc._embedding.jobs import RegionJob
    from kronos_sc._embedding.sinks import Sink

# of the event loop; of Dask, whose results are no longer to be had
CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)
_MAX_TRIES = 3
_MAX_WORKER_LOSSES = 2  # times that a block was on workers that died, several each time: among others, then alone
_MAX_BYTES_IN_FLIGHT = 2**30  # bytes on their way, where pixels travel
_REFRESH_SECONDS = 2.0  # seconds between two looks at who is there
_FINISH_SECONDS = 120.0  # seconds without a block that comes back, after which a run that has failed waits for no more


def compute_on_cluster(
    client: Client, jobs: list[RegionJob], config: InferenceConfig, sink: Sink, *, device: str | None
) -> None:
    """Embed all blocks of the jobs on the workers of a client.

    Parameters
    ----------
    client
        Of dask.distributed.
    jobs
        What to read; images that are not in a Zarr store are read here, and their pixels sent.
    config
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
    with (
        bar(total=total, description="embed", unit="unit") as progress,
        _ClusterRun(client, jobs, config, sink, progress) as run,
    ):
        run.send_model(config, device)
        run.embed()


class _ClusterRun:
    """The driver's side of a call."""

    def __init__(
        self, client: Client, jobs: list[RegionJob], config: InferenceConfig, sink: Sink, progress: Any
    ) -> None:
        self._client = client
        self._nan = config.nan
        self._sink = sink
        self._progress = progress
        self._queue = deque(tasks(jobs))
        self._suspects: list[Task] = []  # were on workers that died: each is tried once more, alone
        self._failed: list[Task] = []
        self._pending: dict[Any, tuple[Future, Task]] = {}
        self._returned: SimpleQueue[Any] = SimpleQueue()
        self._name = f"kronos-sc-embed-{token_hex(4)}"
        self._worker_state: Future | None = None
        self._workers: dict[str, int] = {}
        self._devices: set[str] = set()
        self._retried = 0
        self._last_refresh = -_REFRESH_SECONDS

    def __enter__(self) -> _ClusterRun:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Accept what is done, whatever happened, and call the rest off."""
        if self._client.status != "running":
            return
        # of a run that failed: what workers have finished is kept
        while error is not None and not self._returned.empty():
            self._accept_if_done(self._returned.get())
        self._cancel(list(self._pending))

    def send_model(self, config: InferenceConfig, device: str | None) -> None:
        """Give the model to the cluster: as the result of a task, so that a worker that needs it can always get it."""
        import torch
        from distributed import wait
        from distributed.protocol import serialize_bytes

        self._refresh_workers()
        info(f"blocks go to the workers of {self._client.scheduler.address} ({len(self._workers)} now)")
        # on the processor, and in its final number format: half the bytes travel, and every worker has the same numbers
        model = config.model.at(torch.device("cpu"), config.dtype)
        data = serialize_bytes(WorkerState(replace(config, model=model), device, self._sink.stager))
        self._worker_state = self._submit(deserialize, data, key=f"{self._name}-model")
        try:
            wait(self._worker_state)
            error = self._worker_state.exception()
        except CANCELLED as gone:
            raise cluster_lost(gone) from gone
        if error is not None:
            msg = (
                f"The model {config.model.card.name!r} could not be brought to the workers ({type(error).__name__}: "
                f"{error}). What it is made of must be importable there: put its class into a module that is installed "
                "on every machine."
            )
            raise RuntimeError(msg) from error

    def embed(self) -> None:
        """Send blocks out and accept them until all are done or have failed for good."""
        while self._queue or self._pending or self._suspects:
            task = self._next_task()
            if task is not None:
                self._send(task)
            self._receive(wait=task is None)
        if self._failed:
            raise self._error()
        if len(self._devices) > 1:
            warn(
                f"Some blocks were embedded on {', others on '.join(sorted(self._devices))}: equal units differ in "
                "their last digits."
            )

    def _next_task(self) -> Task | None:
        """Return a block to send, if there is room for one; those in doubt last and alone."""
        room = max(64, 4 * sum(self._workers.values()))  # enough for a cluster that grows with what waits
        if self._queue:
            in_flight = sum(task.bytes for _, task in self._pending.values())
            full = len(self._pending) >= room or in_flight >= _MAX_BYTES_IN_FLIGHT
            return None if full else self._queue.popleft()
        # alone: should the worker die again, nothing else can have been the cause
        if self._suspects and not self._pending:
            return self._suspects.pop()
        return None

    def _send(self, task: Task) -> None:
        try:
            data = task.serialize(self._nan)
        except (OSError, ValueError) as error:  # pixels that only this process can read
            self._fail(task, BlockError.of(error))
            return
        task.bytes = len(data)
        others = [address for address in self._workers if address not in task.avoid_workers]
        placement: dict[str, Any] = {}
        if task.avoid_workers and others:
            placement = {"workers": others, "allow_other_workers": True}
        key = (self._name, task.job.numbers[task.index], token_hex(4))
        future = self._submit(embed_block, self._worker_state, data, key=key, **placement)
        self._pending[key] = future, task
        future.add_done_callback(lambda done: self._returned.put(done.key))

    def _submit(self, function: Any, *args: Any, **kwargs: Any) -> Future:
        import dask

        # pixels and models may well travel: no warning that a graph is large
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
            try:
                return self._client.submit(function, *args, pure=False, **kwargs)
            except Exception as error:
                if self._client.status == "running":
                    raise
                raise cluster_lost(error) from error

    def _receive(self, *, wait: bool) -> None:
        """Settle one block that came back; look around if none does."""
        if time.monotonic() - self._last_refresh > _REFRESH_SECONDS:
            self._refresh_workers()
        with suppress(Empty):
            self._handle_result(self._returned.get(block=wait, timeout=_REFRESH_SECONDS))

    def _refresh_workers(self) -> None:
        """Find out who is there."""
        if self._client.status != "running":
            raise cluster_lost(f"the client is {self._client.status}")
        try:
            self._workers = dict(self._client.nthreads())
        except (OSError, TimeoutError) as error:
            raise cluster_lost(error) from error
        self._last_refresh = time.monotonic()
        self._show_counts()

    def _show_counts(self) -> None:
        counts = {"workers": len(self._workers), "retried": self._retried, "failed": len(self._failed)}
        text = ", ".join(f"{n} {what}" for what, n in counts.items() if n or what == "workers")
        self._progress.set_postfix_str(text, refresh=False)

    def _handle_result(self, key: Any) -> None:
        """Accept a block that came back, or find out what to do about it."""
        future, task = self._pending.pop(key, (None, None))
        if future is None:  # called off
            return
        try:
            outcome = future.result()
        except CANCELLED as error:
            raise cluster_lost(error) from error
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
        self._progress.update(task.units)

    def _fail(self, task: Task, why: BlockError) -> None:
        """Decide whether a block is tried again."""
        task.error = why
        if why.final:
            self._finish_running()
            raise (ValueError if why.final == "ValueError" else OSError)(why.message)
        # several workers in a row; but perhaps through the fault of another block
        is_worker_loss = why.kind == "KilledWorker"

        task.tries += 1
        task.worker_losses += is_worker_loss
        task.avoid_workers |= {why.worker} - {""}
        if task.tries < _MAX_TRIES and task.worker_losses < _MAX_WORKER_LOSSES:
            (self._suspects if task.worker_losses else self._queue).append(task)
            self._retried += 1
        else:
            self._failed.append(task)
            hopeless = len(self._failed) >= _MAX_TRIES and not self._devices  # nothing ever worked
            if hopeless or isinstance(self._sink, MemorySink):
                raise self._error()
        self._show_counts()

    def _finish_running(self) -> None:
        """Call off what has not begun, and accept what has."""
        running: set[Any] = set()
        with suppress(Exception):  # a cluster that does not answer has nothing that is worth waiting for
            running = {key for keys in self._client.processing().values() for key in keys}
        self._cancel([key for key, (future, _) in self._pending.items() if key not in running and not future.done()])
        with suppress(Empty):
            while self._pending:
                self._accept_if_done(self._returned.get(timeout=_FINISH_SECONDS))
        self._cancel(list(self._pending))

    def _accept_if_done(self, key: Any) -> None:
        """Accept a block if it is done; nothing is tried again."""
        future, task = self._pending.pop(key, (None, None))
        with suppress(Exception, asyncio.CancelledError):
            if future is not None and isinstance(done := future.result(), BlockResult):
                self._sink.accept(done.staged)
                self._progress.update(task.units)

    def _cancel(self, keys: list[Any]) -> None:
        if futures := [self._pending.pop(key)[0] for key in keys]:
            self._client.cancel(futures, force=True)

    def _error(self) -> Exception:
        """Return an error that names the blocks that failed."""
        descriptions = "; ".join(f"{task}: {task.error}" for task in self._failed[:5])
        more = f"; and {len(self._failed) - 5} more" if len(self._failed) > 5 else ""
        kept = "All others are kept."
        if isinstance(self._sink, MemorySink):
            kept = "Features in memory are lost with it: store= keeps them."
        tried = f"each tried {_MAX_TRIES} times"
        if any(task.worker_losses for task in self._failed):
            tried += f", or lost {_MAX_WORKER_LOSSES} times with its workers"
        kind = OSError if all(task.error.system for task in self._failed) else RuntimeError
        return kind(
            f"{len(self._failed)} of the blocks could not be embedded, {tried}: {descriptions}{more}. {kept} "
            "Mend what is wrong and make the same call again."
        )


def cluster_lost(why: object) -> ConnectionError:
    """Return the error of a cluster that is gone."""
    return ConnectionError(
        f"The cluster no longer works for this run ({why}). Connect to one again, or close the client to embed here, "
        "and make the same call again."
    )
