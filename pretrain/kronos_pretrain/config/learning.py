"""Settings of what is learned: losses, heads, optimiser, teacher."""

from __future__ import annotations

from dataclasses import dataclass


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
    lr, lr_start, lr_end, warmup_epochs
        Peak at a batch of 1,024 and value of the first step, both scaled by √(batch / 1,024); final value, not scaled;
        linear warm-up from start to peak. The paper's Table S24 gives 0.004 for start and peak alike, which makes its
        warm-up a constant.
    weight_decay, weight_decay_end
        Cosine from one to the other.
    betas
        Of AdamW.
    layer_decay
        Factor on the learning rate per block from the top.
    patch_embed_lr
        Further factor for the token embedding.
    clip
        Largest norm of the gradient of the backbone, and of that of each head; 0 for no limit.
    freeze_last_layer_epochs
        Epochs in which the prototypes do not learn.
    """

    batch: int = 1024
    lr: float = 0.004
    lr_start: float = 0.0
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
