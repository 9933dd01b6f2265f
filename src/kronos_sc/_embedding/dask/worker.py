"""What runs on the workers of a cluster: one model per process, block after block."""

from __future__ import annotations

import errno
import sys
import threading
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kronos_sc._embedding.compute import InferenceConfig, embed_blocks
from kronos_sc.models.inference import placement
from kronos_sc.patches import _serialize

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import torch

    from kronos_sc._embedding.jobs import RegionJob
    from kronos_sc._store import FeatureBlock

_DEVICE_LOCK = threading.Lock()  # threads of one process read and write at the same time, and take turns at the device
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # the same on every worker


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker is.

    Parameters
    ----------
    device
        Type of its device.
    dtype
        Number format in which it runs networks.
    version
        Of this package.
    """

    device: str
    dtype: torch.dtype
    version: str


@dataclass(frozen=True)
class BlockResult:
    """A block that was embedded and staged.

    Parameters
    ----------
    staged
        For the sink to accept.
    device
        Type of the device it was embedded on.
    """

    staged: Any
    device: str


@dataclass(frozen=True)
class BlockError:
    """Why a block could not be embedded.

    Parameters
    ----------
    worker
        Address of the worker.
    kind
        Name of the error.
    message
        Its text.
    system
        Whether it was an OSError: disks, networks.
    final
        `"ValueError"` or `"OSError"` where no other worker would fare better, else empty.
    """

    worker: str
    kind: str
    message: str
    system: bool = False
    final: str = ""

    @classmethod
    def of(cls, error: BaseException) -> BlockError:
        """Return what a driver needs to know of an error."""
        system = isinstance(error, OSError)
        final = ""
        if isinstance(error, ValueError):
            final = "ValueError"
        elif system and error.errno in _DISK_ERRORS:
            final = "OSError"
        return cls(_worker_address(), type(error).__name__, str(error), system, final)

    def __str__(self) -> str:
        origin = f" (on {self.worker})" if self.worker else ""
        return f"{self.kind}: {self.message}{origin}"


class WorkerState:
    """What all blocks of a call have in common; one copy per worker, made by a task, so that a lost one is made again.

    Parameters
    ----------
    config
        The model on the processor, in its final number format.
    device
        Asked for; None for the fastest of each worker.
    stage
        Puts a finished block where the driver can accept it.
    """

    def __init__(self, config: InferenceConfig, device: str | None, stage: Callable[[FeatureBlock], Any]) -> None:
        self._config = config
        self._device = device
        self._stage = stage
        self._placed: InferenceConfig | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is on this worker's device when another worker asks for a copy."""
        return self.__dict__ | {"_placed": None}

    def __call__(self, job: RegionJob) -> BlockResult:
        """Embed a job of one block, and stage it."""
        _serialize.check_visible(job.plan, nan=self._config.nan)
        config = self._config_on_device()
        with _current_device(config.device):
            (block,) = embed_blocks(job, config, turn=_DEVICE_LOCK)
        return BlockResult(self._stage(block), config.device.type)

    def _config_on_device(self) -> InferenceConfig:
        """Return the configuration with the model on this worker's device, put there once."""
        # looked at twice: most blocks find the model in its place and need no lock
        if self._placed is None:
            with _DEVICE_LOCK:
                if self._placed is None:  # no other thread was first
                    device = device_of(self._device)
                    model = self._config.model.at(device, self._config.dtype)
                    self._placed = replace(self._config, model=model, device=device)
        return self._placed


def worker_info(device: str | None, precision: str) -> WorkerInfo:
    """Return what this worker is, or raise a ValueError if it cannot work as asked."""
    from kronos_sc import __version__

    torch_device = device_of(device)
    return WorkerInfo(torch_device.type, placement.choose_dtype(precision, torch_device), __version__)


def deserialize(data: bytes) -> Any:
    """Return what was packed for the workers; the scheduler hands it on unopened."""
    from distributed.protocol import deserialize_bytes

    return deserialize_bytes(data)


def embed_block(state: WorkerState, data: bytes) -> BlockResult | BlockError:
    """Embed one block, or return what went wrong.

    Errors come with the name of the worker, whether or not they could travel by themselves.
    """
    try:
        return state(deserialize(data))
    except Exception as error:  # noqa: BLE001 - the driver decides what to do about it
        return BlockError.of(error)


def _current_device(device: torch.device) -> AbstractContextManager[Any]:
    """Make a GPU the current one of this thread: threads of a worker begin with the first of the machine."""
    import torch

    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def device_of(device: str | None) -> torch.device:
    """Return the device of this worker: the one asked for, its own of several GPUs, or the fastest there is."""
    import torch

    if device is None and torch.cuda.is_available():
        device = f"cuda:{gpu(_worker_name(), torch.cuda.device_count(), assigned='dask_cuda' in sys.modules)}"
    return placement.choose_device(device)


def gpu(name: object, count: int, *, assigned: bool) -> int:
    """Return which of the visible GPUs is a worker's.

    The first where dask-cuda ordered them, else workers 0, 1, 2, … take turns.
    """
    return name % count if isinstance(name, int) and not assigned else 0


def _worker_name() -> object:
    from distributed import get_worker

    try:
        return get_worker().name
    except ValueError:
        return None


def _worker_address() -> str:
    from distributed import get_worker

    try:
        return get_worker().address
    except ValueError:
        return ""
