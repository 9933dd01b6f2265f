"""What runs on the workers of a cluster: one model per process, block after block."""

from __future__ import annotations

import errno
import sys
import threading
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kronos_sc._embedding.compute import InferenceConfig, embedded
from kronos_sc.models.inference import placement
from kronos_sc.patches import _sent

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import torch

    from kronos_sc._embedding.jobs import Job
    from kronos_sc._store import FeatureBlock

_NETWORK = threading.Lock()  # threads of one process read and write at the same time, and take turns at the device
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # the same on every worker


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
        final = "ValueError" if isinstance(error, ValueError) else "OSError" if system and error.errno in _FULL else ""
        return cls(_address(), type(error).__name__, str(error), system, final)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" + (f" (on {self.worker})" if self.worker else "")


class WorkerState:
    """What all blocks of a call have in common; one copy per worker, made by a task, so that a lost one is made again.

    Parameters
    ----------
    encoder
        The model on the processor, in its final number format.
    device
        Asked for; None for the fastest of each worker.
    stage
        Puts a finished block where the driver can accept it.
    """

    def __init__(self, encoder: InferenceConfig, device: str | None, stage: Callable[[FeatureBlock], Any]) -> None:
        self._encoder, self._device, self._stage = encoder, device, stage
        self._placed: InferenceConfig | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is on this worker's device when another worker asks for a copy."""
        return self.__dict__ | {"_placed": None}

    def __call__(self, job: Job) -> BlockResult:
        """Embed a job of one block, and stage it."""
        _sent.check_visible(job.plan, nan=self._encoder.nan)
        encoder = self._at_device()
        with _current(encoder.device):
            (block,) = embedded(job, encoder, turn=_NETWORK)
        return BlockResult(self._stage(block), encoder.device.type)

    def _at_device(self) -> InferenceConfig:
        """Return the encoder on this worker's device, put there once."""
        if self._placed is None:
            with _NETWORK:
                if self._placed is None:  # no other thread was first
                    device = device_of(self._device)
                    model = self._encoder.model.at(device, self._encoder.dtype)
                    self._placed = replace(self._encoder, model=model, device=device)
        return self._placed


def worker_info(device: str | None, precision: str) -> WorkerInfo:
    """Return what this worker is, or raise a ValueError if it cannot work as asked."""
    from kronos_sc import __version__

    here = device_of(device)
    return WorkerInfo(here.type, placement.choose_dtype(precision, here), __version__)


def unpacked(data: bytes) -> Any:
    """Return what was packed for the workers; the scheduler hands it on unopened."""
    from distributed.protocol import deserialize_bytes

    return deserialize_bytes(data)


def embed_block(work: WorkerState, data: bytes) -> BlockResult | BlockError:
    """Embed one block; errors are returned, with the name of the worker, whether or not they could travel by themselves."""
    try:
        return work(unpacked(data))
    except Exception as error:  # noqa: BLE001 - the driver decides what to do about it
        return BlockError.of(error)


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Make a GPU the current one of this thread: threads of a worker begin with the first of the machine."""
    import torch

    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def device_of(device: str | None) -> torch.device:
    """Return the device of this worker: the one asked for, its own of several GPUs, or the fastest there is."""
    import torch

    if device is None and torch.cuda.is_available():
        device = f"cuda:{gpu(_name(), torch.cuda.device_count(), assigned='dask_cuda' in sys.modules)}"
    return placement.choose_device(device)


def gpu(name: object, count: int, *, assigned: bool) -> int:
    """Return which of the visible GPUs is a worker's: the first where dask-cuda ordered them, else workers 0, 1, 2, … take turns."""
    return name % count if isinstance(name, int) and not assigned else 0


def _name() -> object:
    from distributed import get_worker

    try:
        return get_worker().name
    except ValueError:
        return None


def _address() -> str:
    from distributed import get_worker

    try:
        return get_worker().address
    except ValueError:
        return ""
