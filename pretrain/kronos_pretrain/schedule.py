"""What changes over a run, as pure functions of the step (DINOv2: Oquab et al. 2023; values: paper, Table S24)."""

from __future__ import annotations

from math import cos, pi, sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from kronos_pretrain.config.schema import Config


class Values(NamedTuple):
    """Settings of one step.

    Parameters
    ----------
    lr
        Learning rate before the factors of the groups.
    weight_decay
        Of the groups that decay.
    momentum
        Share of the teacher that stays.
    teacher_temperature
        Of the teacher's targets.
    prototypes_frozen
        Whether the last layer of the heads stands still.
    """

    lr: float
    weight_decay: float
    momentum: float
    teacher_temperature: float
    prototypes_frozen: bool


def cosine(step: int, *, start: float, end: float, steps: int, warmup: int = 0, first: float = 0.0) -> float:
    """Return half a cosine from `start` to `end` over `steps` steps, after a linear climb.

    The first `warmup` of the steps climb from `first` to `start`. The climb takes in both its ends: its last step has
    the full value, and so has the first step of the cosine. `end` is reached at step number `steps`, one after the last
    of a run, and stays from there on.
    """
    if step >= steps:
        return end
    if step < warmup:
        return linear(step, start=first, end=start, steps=warmup)
    return end + 0.5 * (start - end) * (1 + cos(pi * (step - warmup) / (steps - warmup)))


def linear(step: int, *, start: float, end: float, steps: int) -> float:
    """Return a straight line from `start` at step 0 to `end` at step `steps` − 1, and `end` from there on."""
    if step >= steps:
        return end
    if steps == 1:
        return start
    return start + (end - start) * step / (steps - 1)


def schedules(config: Config) -> Callable[[int], Values]:
    """Return the function from a step to its values.

    The learning rate and its start grow with the root of the batch over 1,024; its end does not.
    """
    run = config.run
    optim = config.optim
    teacher = config.teacher
    scale = sqrt(optim.batch / 1024)
    peak = optim.lr * scale
    first = optim.lr_start * scale

    def steps(epochs: float) -> int:
        return round(epochs * run.epoch_steps)

    def values(step: int) -> Values:
        return Values(
            lr=cosine(
                step, start=peak, end=optim.lr_end, steps=run.steps, warmup=steps(optim.warmup_epochs), first=first
            ),
            weight_decay=cosine(step, start=optim.weight_decay, end=optim.weight_decay_end, steps=run.steps),
            momentum=cosine(step, start=teacher.momentum, end=teacher.momentum_end, steps=run.steps),
            teacher_temperature=linear(
                step, start=teacher.temperature_start, end=teacher.temperature, steps=steps(teacher.temperature_epochs)
            ),
            prototypes_frozen=step < steps(optim.freeze_last_layer_epochs),
        )

    return values
