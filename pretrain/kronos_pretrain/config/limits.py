"""What a single setting may be, by its key."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Range:
    """An interval of numbers.

    Parameters
    ----------
    low, high
        Its ends.
    above, below
        Whether `low` or `high` itself is left out.
    """

    low: float = -inf
    high: float = inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.above else value >= self.low
        below = value < self.high if self.below else value <= self.high
        return above and below

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        if self.high == inf:
            return low
        return f"{low} and {'below' if self.below else 'at most'} {self.high:g}"


COUNT = Range(0)
SOME = Range(1)
POSITIVE = Range(0, above=True)
SHARE = Range(0, 1)
PART = Range(0, 1, above=True)
BELOW_ONE = Range(0, 1, below=True)

CHOICES: dict[str, tuple[str, ...]] = {
    "run.device": ("auto", "cpu", "cuda"),
    "run.precision": ("float32", "bfloat16", "float16", "auto"),
    "loss.centering": ("softmax", "sinkhorn"),
}

# One entry for every number of the schema; both ends of a pair obey the same range.
RANGES: dict[str, Range] = {
    "run.seed": Range(0, 2**63, below=True),
    "run.epochs": SOME,
    "run.epoch_steps": SOME,
    "model.dim": SOME,
    "model.depth": SOME,
    "model.heads": SOME,
    "model.chunks": SOME,
    "model.patch": SOME,
    "model.grid": SOME,
    "model.registers": COUNT,
    "model.mlp_ratio": SOME,
    "model.layer_scale": POSITIVE,
    "model.drop_path": BELOW_ONE,
    "data.simulate.images": COUNT,
    "data.simulate.size": SOME,
    "data.simulate.seed": COUNT,
    "data.patch": SOME,
    "data.markers": Range(2),  # the nuclear stain and another: with fewer, markers mean nothing
    "data.workers": COUNT,
    "views.global_size": SOME,
    "views.global_scale": PART,
    "views.local_size": SOME,
    "views.local_scale": PART,
    "views.local_count": COUNT,
    "views.aspect": POSITIVE,
    "augment.gain": COUNT,
    "augment.offset": COUNT,
    "augment.blur": COUNT,
    "augment.noise": COUNT,
    "augment.marker_dropout": BELOW_ONE,
    "masks.fraction": SHARE,
    "masks.ratio": SHARE,
    "masks.aspect": PART,
    "loss.dino": COUNT,
    "loss.ibot": COUNT,
    "loss.koleo": COUNT,
    "loss.center_momentum": SHARE,
    "loss.sinkhorn_iterations": SOME,
    "loss.student_temperature": POSITIVE,
    "head.prototypes": Range(2),
    "head.hidden": SOME,
    "head.bottleneck": SOME,
    "head.layers": SOME,
    "optim.batch": SOME,
    "optim.lr": POSITIVE,
    "optim.lr_start": COUNT,
    "optim.lr_end": COUNT,
    "optim.warmup_epochs": COUNT,
    "optim.weight_decay": COUNT,
    "optim.weight_decay_end": COUNT,
    "optim.betas": BELOW_ONE,
    "optim.layer_decay": PART,
    "optim.patch_embed_lr": COUNT,
    "optim.clip": COUNT,
    "optim.freeze_last_layer_epochs": COUNT,
    "teacher.momentum": SHARE,
    "teacher.momentum_end": SHARE,
    "teacher.temperature_start": POSITIVE,
    "teacher.temperature": POSITIVE,
    "teacher.temperature_epochs": COUNT,
    "parallel.micro_batch": COUNT,
    "parallel.shard": COUNT,
    "checkpoints.every": SOME,
    "checkpoints.keep": SOME,
    "watch.every": SOME,
    "watch.evaluate_every": COUNT,
    "watch.simulated_cells": COUNT,
    "watch.pictures": COUNT,
}

# Pairs that run from a least to a largest value.
ORDERED = ("data.markers", "views.global_scale", "views.local_scale", "views.aspect", "masks.ratio")
