"""Processes and sharding, applied to a plain network from outside.

FSDP2 from one process on a laptop to many GPUs, one code path.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from kronos_sc._core.checks import one_of
from kronos_sc._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kronos_pretrain.config.schema import Config
    from kronos_pretrain.network import Network

DEVICES = ("auto", "cpu", "cuda")
TIMEOUT = timedelta(minutes=30)  # a process that builds a simulated corpus or evaluates may keep the others waiting


@dataclass(frozen=True)
class Processes:
    """Where one process stands among those of the run.

    Parameters
    ----------
    rank, world
        Number of this process and how many there are.
    device
        Where it computes.
    mesh
        All processes; two axes (copies, shards of a copy) with hybrid sharding.
    """

    rank: int
    world: int
    device: torch.device
    mesh: DeviceMesh

    @property
    def first(self) -> bool:
        """Whether this process writes logs and checkpoints' small files."""
        return self.rank == 0

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """Return a vector of every process (world, n)."""
        parts = [torch.empty_like(values) for _ in range(self.world)]
        dist.all_gather(parts, values.contiguous())
        return torch.stack(parts)

    def any(self, flag: bool) -> bool:  # noqa: FBT001 - a flag is what it is about
        """Return whether something holds on any process."""
        return bool(self.gather(torch.tensor([float(flag)], device=self.device)).any())


def choose_device(name: str) -> torch.device:
    """Return the device of this process: its own GPU where there are some."""
    one_of(name, DEVICES, name="run.device")
    cuda = torch.cuda.is_available()
    if name == "cuda" and not cuda:
        msg = "run.device is 'cuda', but torch sees no GPU. Install a CUDA build of torch, or say run.device=cpu."
        raise ValueError(msg)
    if name == "cpu" or not cuda:
        return torch.device("cpu")
    if "RANK" in os.environ and "LOCAL_RANK" not in os.environ and torch.cuda.device_count() > 1:
        msg = (
            "RANK is set and LOCAL_RANK is not: which of this machine's GPUs is this process's? Set LOCAL_RANK "
            "(SLURM_LOCALID under Slurm)."
        )
        raise ValueError(msg)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= torch.cuda.device_count():
        msg = (
            f"Process {local} of this machine has no GPU of its own; there are {torch.cuda.device_count()}. Start as "
            "many processes as GPUs."
        )
        raise ValueError(msg)
    return torch.device("cuda", local)


@contextmanager
def processes(config: Config) -> Iterator[Processes]:
    """Join the processes that torchrun (or a scheduler that sets the same variables) started; alone without it."""
    device = choose_device(config.run.device)
    backend = "gloo"
    device_id = None
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "nccl"
        device_id = device
    # a single process is a group of one, so that there is one code path
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        dist.init_process_group(backend, timeout=TIMEOUT, device_id=device_id)
    else:
        _require_alone()
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    verbosity = settings.verbosity
    try:
        if dist.get_rank():
            settings.verbosity = min(verbosity, 1)  # the first process speaks for all
        world = dist.get_world_size()
        yield Processes(dist.get_rank(), world, device, _mesh(device, world, config.parallel.shard))
    finally:
        settings.verbosity = verbosity
        dist.destroy_process_group()


def _require_alone() -> None:
    """Raise a ValueError if a scheduler started several processes that do not know of each other."""
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1:
        msg = (
            f"Slurm started {tasks} tasks, but RANK and WORLD_SIZE are not set, so each would train by itself into the "
            "same folder. Start them as pretrain/slurm/train.sbatch does, or one torchrun per machine."
        )
        raise ValueError(msg)


def _mesh(device: torch.device, world: int, shard: int) -> DeviceMesh:
    """Return one axis for full sharding, two (copies, shards) where fewer than all processes share a copy."""
    if shard in (0, world):
        return init_device_mesh(device.type, (world,), mesh_dim_names=("shard",))
    if shard < 0 or world % shard:
        msg = (
            f"parallel.shard is {shard}, but {world} processes cannot be split into groups of {shard}. Choose a "
            f"divisor of {world}, or 0."
        )
        raise ValueError(msg)
    return init_device_mesh(device.type, (world // shard, shard), mesh_dim_names=("copy", "shard"))


def shard(network: Network, config: Config, procs: Processes, *, learns: bool) -> Network:
    """Move a network to this process's device and shard every block, every head and the rest, in place.

    Parameters
    ----------
    network
        A plain network, the same on every process.
    config
        Settings of the run.
    procs
        The processes that share it.
    learns
        Whether backward passes follow its forward passes.
    """
    dtype = None if config.run.precision == "float32" else getattr(torch, config.run.precision)
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    network.to(procs.device).requires_grad_(learns)
    blocks = [network.backbone.block(index) for index in network.backbone.running]
    if config.parallel.compile:
        _keep_kernels_apart()
    for block in blocks:
        # on processors the model's inference kernels, which a network that never learns runs through, cannot be
        # compiled
        if config.parallel.compile and (learns or procs.device.type != "cpu"):
            block.compile(dynamic=True)  # dropped paths change the number of crops from process to process
        fully_shard(block, mesh=procs.mesh, mp_policy=policy)
    for head in filter(None, (network.dino_head, network.ibot_head)):
        fully_shard(head, mesh=procs.mesh, mp_policy=policy)
    # by default the outermost weights stay gathered from the forward to the backward pass; without one they would stay
    # so for ever, and the next forward pass would not see what became of them
    fully_shard(network, mesh=procs.mesh, mp_policy=policy, reshard_after_forward=not learns)
    register_fsdp_forward_method(network, "frozen")
    return network


def _keep_kernels_apart() -> None:
    """Let torch's cache of compiled code tell instruction sets apart.

    On its own, it hands code made for AVX2 to a process that has AVX-512 (machines that share TORCHINDUCTOR_CACHE_DIR,
    or one machine with and without ATEN_CPU_CAPABILITY); translated for the wider registers, that code writes past the
    ends of arrays.
    """
    caches = getattr(torch.compiler, "config", None)
    capability = torch.backends.cpu.get_cpu_capability()
    if capability not in getattr(caches, "cache_key_tag", capability):  # torch 2.6 has no tag
        caches.cache_key_tag += capability


def accumulate(network: FSDPModule, *, last: bool) -> None:
    """Say whether the next backward pass is the last one of the step: only then do processes exchange gradients."""
    network.set_requires_gradient_sync(last)
    network.set_is_last_backward(last)


def local(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Return the parts of sharded tensors that this process holds."""
    return [t.to_local() if isinstance(t, DTensor) else t for t in tensors]


@torch.no_grad()
def average_into(teacher: Sequence[torch.Tensor], student: Sequence[torch.Tensor], momentum: float) -> None:
    """Move the teacher towards the student: t ← m · t + (1 − m) · s, each process on its own part."""
    averages = local(teacher)
    torch._foreach_mul_(averages, momentum)
    torch._foreach_add_(averages, local(student), alpha=1 - momentum)


def norm(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the norm over all gradients and processes."""
    total = torch.nn.utils.get_total_norm(gradients, foreach=True)
    return total.full_tensor() if isinstance(total, DTensor) else total


def clip(gradients: Sequence[torch.Tensor], most: float) -> None:
    """Scale gradients so that their common norm is at most so large, in place."""
    if gradients:
        torch._foreach_mul_(local(gradients), (most / (norm(gradients) + 1e-6)).clamp(max=1.0))
