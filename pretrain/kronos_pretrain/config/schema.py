"""Every setting of a run, typed.

The defaults are those of the paper (Table S24), of DINOv2 where the paper is silent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kronos_pretrain.config.free import free
from kronos_pretrain.config.learning import Head, Loss, Optim, Teacher
from kronos_pretrain.config.samples import Augment, Data, Masks, Simulate, Views

__all__ = [
    "Augment",
    "Checkpoints",
    "Config",
    "Data",
    "Head",
    "Loss",
    "Masks",
    "Model",
    "Optim",
    "Parallel",
    "Run",
    "Simulate",
    "Teacher",
    "Views",
    "Watch",
]


@dataclass(frozen=True)
class Run:
    """What runs, where and for how long.

    Parameters
    ----------
    folder
        Where checkpoints, logs and pictures go.
    seed
        Decides weights, samples, views, masks and dropped paths.
    epochs, epoch_steps
        Length of the run: an epoch is a number of steps, not a pass over the corpus. Schedules run over the whole
        length, so a run that is made longer when it is resumed goes on at another point of them.
    device
        `"auto"` (CUDA if there is one), `"cpu"` or `"cuda"`.
    precision
        `"float32"`, `"bfloat16"` or `"float16"` (with loss scaling) for the forward and backward pass; weights,
        gradients between processes and the optimiser stay in float32. `"auto"` is bfloat16 where the hardware is fast
        in it, else float32, chosen when a run starts: a checkpoint holds the choice, and a resumed run keeps it on
        whatever machine.
    start
        Model to start from: a folder written by `export`, or one in the official layout.
    """

    folder: str = free("runs/kronos")
    seed: int = 0
    epochs: int = free(100)
    epoch_steps: int = 1250
    device: str = free("auto")
    precision: str = "float16"
    start: str = ""

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.epoch_steps


@dataclass(frozen=True)
class Model:
    """Shape of the network: the fields of :class:`kronos_sc.models.ViTConfig`, and how it is trained.

    Parameters
    ----------
    layer_scale
        Initial gain of every branch of a block.
    drop_path
        Share of the crops that each branch of each block skips.
    """

    dim: int = 384
    depth: int = 12
    heads: int = 6
    chunks: int = 4
    patch: int = 16
    grid: int = 14
    registers: int = 16
    mlp_ratio: int = 4
    layer_scale: float = 1e-5
    drop_path: float = 0.3


@dataclass(frozen=True)
class Parallel:
    """How the work is spread; what is computed stays the same, but for the note on `micro_batch`.

    Parameters
    ----------
    micro_batch
        Samples per process and pass; 0 for all of a process's share at once. Sinkhorn–Knopp and KoLeo see the samples
        of one pass.
    shard
        Processes that share one copy of the weights; 0 for all of them. Fewer than all is hybrid sharding.
    recompute
        Recompute activations in the backward pass: less memory, about a third more time.
    compile
        Compile the blocks.
    """

    micro_batch: int = free(0)
    shard: int = free(0)
    recompute: bool = free(default=False)
    compile: bool = free(default=False)


@dataclass(frozen=True)
class Checkpoints:
    """When to write a checkpoint.

    Parameters
    ----------
    every
        Steps between two.
    keep
        How many of the last ones stay.
    """

    every: int = free(1250)
    keep: int = free(3)


@dataclass(frozen=True)
class Watch:
    """What to log and when.

    Parameters
    ----------
    every
        Steps between two lines of the log.
    tensorboard
        Write TensorBoard files.
    evaluate_every
        Steps between two evaluations of frozen features (and one before the first step); 0 for none.
    labelled
        File of labelled patches written by `labelled`.
    simulated_cells
        Labelled cells to simulate instead; 0 for none.
    pictures
        Samples of the evaluation whose tokens are drawn.
    """

    every: int = free(10)
    tensorboard: bool = free(default=True)
    evaluate_every: int = free(0)
    labelled: str = free("")
    simulated_cells: int = free(0)
    pictures: int = free(4)


@dataclass(frozen=True)
class Config:
    """All settings of a run, one section per component."""

    run: Run = field(default_factory=Run)
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    views: Views = field(default_factory=Views)
    augment: Augment = field(default_factory=Augment)
    masks: Masks = field(default_factory=Masks)
    loss: Loss = field(default_factory=Loss)
    head: Head = field(default_factory=Head)
    optim: Optim = field(default_factory=Optim)
    teacher: Teacher = field(default_factory=Teacher)
    parallel: Parallel = field(default_factory=Parallel)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    watch: Watch = field(default_factory=Watch)
