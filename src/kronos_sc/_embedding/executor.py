"""Where blocks are embedded: with the device of this process, or on the workers of a cluster."""

from __future__ import annotations

import sys
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from kronos_sc._core.log import info
from kronos_sc._embedding.compute import compute_locally
from kronos_sc._embedding.dask.driver import CANCELLED, cluster_lost, compute_on_cluster
from kronos_sc._embedding.dask.worker import WorkerInfo, worker_info
from kronos_sc.models.inference import placement

if TYPE_CHECKING:
    import torch
    from distributed import Client, Future

    from kronos_sc._embedding.compute import InferenceConfig
    from kronos_sc._embedding.jobs import RegionJob
    from kronos_sc._embedding.sinks import Sink

_SILENT_SECONDS = 5.0  # seconds until a line says that no worker is there yet


def choose_executor(device: str | torch.device | None) -> LocalExecutor | DaskExecutor:
    """Return the cluster of the active client if there is one, else this process.

    A device that is not there is an error.
    """
    client = active_client()
    if client is None:
        return LocalExecutor(placement.choose_device(device))
    return DaskExecutor(client, None if device is None else str(device))


def active_client() -> Client | None:
    """Return the current client of dask.distributed; None where nobody made one, and inside of a task."""
    if "distributed" not in sys.modules:
        return None
    from distributed import Client, get_worker

    try:
        client = Client.current()
    except ValueError:
        return None
    if client.status != "running" or _inside_task(get_worker):
        return None
    if client.asynchronous:
        msg = (
            "The active Dask client is asynchronous; tl.embed waits for its workers. Make it with Client(...), without "
            "asynchronous=True."
        )
        raise ValueError(msg)
    return client


def _inside_task(get_worker: Any) -> bool:
    try:
        get_worker()
    except ValueError:
        return False
    return True


class LocalExecutor:
    """The process that called.

    Parameters
    ----------
    device
        Of it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def resolve_device(self, precision: str) -> tuple[torch.device, torch.dtype]:
        """Return the device, and the number format of networks."""
        return self.device, placement.choose_dtype(precision, self.device)

    def compute(self, jobs: list[RegionJob], config: InferenceConfig, sink: Sink) -> None:
        """Embed all blocks of the jobs."""
        compute_locally(jobs, config, sink)


class DaskExecutor:
    """The workers of a client.

    Parameters
    ----------
    client
        Of dask.distributed.
    device
        Asked for; None for the fastest of each worker.
    """

    def __init__(self, client: Client, device: str | None) -> None:
        self.client = client
        self.device = device

    def resolve_device(self, precision: str) -> tuple[torch.device, torch.dtype]:
        """Return the type of device and the number format of one worker, for all; waits for the first worker."""
        import torch

        from kronos_sc import __version__

        worker = self._query_worker(precision)
        if worker.version != __version__:
            msg = (
                f"The workers of {self.address} have kronos-sc {worker.version}, this process has {__version__}; their "
                "features could differ. Install the same version everywhere."
            )
            raise RuntimeError(msg)
        return torch.device(worker.device), worker.dtype

    def compute(self, jobs: list[RegionJob], config: InferenceConfig, sink: Sink) -> None:
        """Embed all blocks of the jobs."""
        compute_on_cluster(self.client, jobs, config, sink, device=self.device)

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return self.client.scheduler.address

    def _query_worker(self, precision: str) -> WorkerInfo:
        key = f"kronos-sc-facts-{token_hex(4)}"
        future = self.client.submit(worker_info, self.device, precision, key=key, pure=False)
        try:
            self._wait_for_worker(future)
            if (error := future.exception()) is None:
                return future.result()
        except CANCELLED as gone:
            raise cluster_lost(gone) from gone
        if isinstance(error, ValueError):
            msg = f"On a worker of {self.address}: {error}"
            raise ValueError(msg) from error  # noqa: TRY004 - what the worker raised
        msg = (
            f"The workers of {self.address} cannot embed ({type(error).__name__}: {error}). Install kronos-sc with all "
            "it needs on them and on the scheduler, as in this process; or close the client to embed here."
        )
        raise RuntimeError(msg) from error

    def _wait_for_worker(self, future: Future) -> None:
        """Wait for the first worker to answer; on a cluster that has yet to start one that may take its time."""
        from distributed import wait

        try:
            wait(future, timeout=_SILENT_SECONDS)
        except TimeoutError:
            if not self.client.nthreads():
                info(f"{self.address} has no worker yet; waiting for the first")
            wait(future)
