"""Every setting of a run, typed; the defaults are those of the paper (Table S24), of DINOv2 where the paper is silent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _free(default: Any) -> Any:
    """Return a field that may differ when a run is resumed: it changes how the run goes, not what it computes."""
    return field(default=default, metadata={"free": True})


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
        Length of the run: an epoch is a number of steps, not a pass over the corpus.
    device
        `"auto"` (CUDA if there is one), `"cpu"` or `"cuda"`.
    precision
        `"float32"`, `"bfloat16"` or `"float16"` (with loss scaling) for the forward and backward pass; weights, gradients between
        processes and the optimiser stay in float32.
    start
        Model to start from: a folder written by `export`, or one in the official layout.
    """

    folder: str = _free("runs/kronos")
    seed: int = 0
    epochs: int = _free(100)
    epoch_steps: int = 1250
    device: str = _free("auto")
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
class Simulate:
    """Simulated tissue in place of a corpus, made when the run starts.

    Parameters
    ----------
    images
        Number of images; 0 for none.
    size
        Edge of each in pixels.
    seed
        Of the simulator.
    """

    images: int = 0
    size: int = 512
    seed: int = 0


@dataclass(frozen=True)
class Data:
    """Where samples come from.

    Parameters
    ----------
    corpus
        Folder written by `corpus build`.
    simulate
        Simulated tissue instead.
    patch
        Edge of a sample in pixels, at most that of the corpus; smaller ones lie anywhere inside a valid patch.
    markers
        Least and largest number of markers of a sample, the nuclear stain included; drawn anew for each step.
    shared_markers
        Whether all views of a sample show the same markers; if not, the two global views differ in all but the nuclear stain, and local
        views take those of one or the other.
    workers
        Processes that read ahead; 0 reads in a thread of the training process.
    """

    corpus: str = _free("")
    simulate: Simulate = field(default_factory=Simulate)
    patch: int = 256
    markers: tuple[int, int] = (3, 3)
    shared_markers: bool = True
    workers: int = _free(4)


@dataclass(frozen=True)
class Views:
    """Crops of a sample.

    Parameters
    ----------
    global_size, local_size
        Edge of a view in pixels after resizing; a multiple of the token size.
    global_scale, local_scale
        Range of the area of a crop, as a share of the sample.
    local_count
        Local views per sample; there are always two global ones.
    aspect
        Range of width over height of a crop.
    flip, rotate
        Random flips along both axes; random quarter turns.
    """

    global_size: int = 224
    global_scale: tuple[float, float] = (0.48, 1.0)
    local_size: int = 96
    local_scale: tuple[float, float] = (0.16, 0.48)
    local_count: int = 8
    aspect: tuple[float, float] = (0.75, 4 / 3)
    flip: bool = True
    rotate: bool = True


@dataclass(frozen=True)
class Augment:
    """Changes of intensity, all off in the paper; drawn for each view.

    Parameters
    ----------
    gain
        Standard deviation of the logarithm of a factor per marker, applied to intensities above zero signal.
    offset
        Standard deviation of a constant added per marker, in units of the marker's standard deviation.
    blur
        Largest standard deviation of a Gaussian blur in pixels of the view.
    noise
        Largest standard deviation of Gaussian noise, in units of the marker's standard deviation.
    marker_dropout
        Probability that a marker other than the nuclear stain is set to its mean.
    """

    gain: float = 0.0
    offset: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    marker_dropout: float = 0.0


@dataclass(frozen=True)
class Masks:
    """What the student does not see of global views; the same positions on every marker.

    Parameters
    ----------
    fraction
        Share of the global views that are masked.
    ratio
        Range of the share of positions hidden in a masked view.
    aspect
        Least height over width of a hidden block; the largest is its inverse.
    """

    fraction: float = 0.5
    ratio: tuple[float, float] = (0.1, 0.5)
    aspect: float = 0.3


@dataclass(frozen=True)
class Loss:
    """Weights and forms of the loss terms; a weight of 0 leaves the term out.

    Parameters
    ----------
    dino, ibot, koleo
        Weights.
    centering
        `"softmax"` (running centre) or `"sinkhorn"` (Sinkhorn–Knopp over the batch) for the teacher's targets.
    center_momentum, sinkhorn_iterations
        Of these.
    student_temperature
        Of the student's softmax.
    """

    dino: float = 1.0
    ibot: float = 1.0
    koleo: float = 0.1
    centering: str = "softmax"
    center_momentum: float = 0.9
    sinkhorn_iterations: int = 3
    student_temperature: float = 0.1


@dataclass(frozen=True)
class Head:
    """Projection heads.

    Parameters
    ----------
    prototypes, hidden, bottleneck, layers
        Outputs, width of hidden layers, width before the prototypes, linear layers before the prototypes.
    separate
        A head of its own for masked tokens, instead of one for both losses.
    """

    prototypes: int = 65536
    hidden: int = 2048
    bottleneck: int = 256
    layers: int = 3
    separate: bool = False


@dataclass(frozen=True)
class Optim:
    """AdamW and its schedules.

    Parameters
    ----------
    batch
        Samples per step over all processes.
    lr, lr_end, warmup_epochs
        Peak at a batch of 1,024, scaled by √(batch / 1,024); final value, not scaled; linear warm-up from zero.
    weight_decay, weight_decay_end
        Cosine from one to the other.
    betas
        Of AdamW.
    layer_decay
        Factor on the learning rate per block from the top.
    patch_embed_lr
        Further factor for the token embedding.
    clip
        Largest norm of the gradient; 0 for no limit.
    freeze_last_layer_epochs
        Epochs in which the prototypes do not learn.
    """

    batch: int = 1024
    lr: float = 0.004
    lr_end: float = 1e-6
    warmup_epochs: float = 10
    weight_decay: float = 0.04
    weight_decay_end: float = 0.4
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = 0.9
    patch_embed_lr: float = 0.2
    clip: float = 3.0
    freeze_last_layer_epochs: float = 1


@dataclass(frozen=True)
class Teacher:
    """The average of past students.

    Parameters
    ----------
    momentum, momentum_end
        Cosine from one to the other.
    temperature_start, temperature, temperature_epochs
        Linear warm-up of the temperature of its targets.
    """

    momentum: float = 0.992
    momentum_end: float = 1.0
    temperature_start: float = 0.04
    temperature: float = 0.07
    temperature_epochs: float = 30


@dataclass(frozen=True)
class Parallel:
    """How the work is spread; what is computed stays the same, but for the note on `micro_batch`.

    Parameters
    ----------
    micro_batch
        Samples per process and pass; 0 for all of a process's share at once. Sinkhorn–Knopp and KoLeo see the samples of one pass.
    shard
        Processes that share one copy of the weights; 0 for all of them. Fewer than all is hybrid sharding.
    recompute
        Recompute activations in the backward pass: less memory, about a third more time.
    compile
        Compile the blocks.
    """

    micro_batch: int = _free(0)
    shard: int = _free(0)
    recompute: bool = _free(default=False)
    compile: bool = _free(default=False)


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

    every: int = _free(1250)
    keep: int = _free(3)


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

    every: int = _free(10)
    tensorboard: bool = _free(default=True)
    evaluate_every: int = _free(0)
    labelled: str = _free("")
    simulated_cells: int = _free(0)
    pictures: int = _free(4)


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
