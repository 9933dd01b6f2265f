"""How many operations a training step needs, and how many a device could do."""

# Shapes: t tokens of a sequence, d width, k prototypes.
from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from kronos_pretrain.data.batch import GLOBAL_VIEWS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kronos_pretrain.config.schema import Config, Head, Model

BACKWARD = 2  # a matrix product forward is two backward: one for its input, one for its weights
_SECONDS = 0.3
_EDGE = {"cuda": 8192, "cpu": 1024}


def sample_flops(config: Config, markers: int) -> float:
    """Return the floating-point operations of one sample in a training step.

    2 per multiply–add of every matrix product. Student forward and backward on all views, without what dropped paths
    skip; teacher forward on the global views; both heads. What is computed twice to save memory counts once, as usual
    for "model FLOPs" (Chowdhery et al. 2022, Appendix B); losses, norms and the optimiser are left out.

    Parameters
    ----------
    config
        Settings of the run.
    markers
        Markers of the sample.
    """
    model, views = config.model, config.views
    student = 0.0
    for count, size in ((GLOBAL_VIEWS, views.global_size), (views.local_count, views.local_size)):
        embed, blocks = _encoder(model, (size // model.patch) ** 2, markers)
        # pixels need no gradient: the token embedding's backward pass is one product, not two
        student += count * (2 * embed + (1 + BACKWARD) * (1 - model.drop_path) * blocks)
    embed, blocks = _encoder(model, (views.global_size // model.patch) ** 2, markers)
    teacher = GLOBAL_VIEWS * (embed + blocks)

    hidden = _hidden_tokens(config) * markers if config.loss.ibot else 0
    rows = (1 + BACKWARD) * (GLOBAL_VIEWS + views.local_count + hidden) + GLOBAL_VIEWS + hidden
    return student + teacher + rows * _head_row(config.head, model.dim)


def sample_tokens(config: Config, markers: int) -> int:
    """Return the marker tokens of one sample.

    Those of all its views that the student encodes, class and register tokens aside.
    """
    views = config.views
    patch = config.model.patch
    large = (views.global_size // patch) ** 2
    small = (views.local_size // patch) ** 2
    return markers * (GLOBAL_VIEWS * large + views.local_count * small)


def _encoder(model: Model, positions: int, markers: int) -> tuple[float, float]:
    """Return the operations of one forward pass of one crop: token embedding, and all blocks."""
    d = model.dim
    t = 1 + model.registers + markers * positions
    linear = 2 * t * d * d * (4 + 2 * model.mlp_ratio)  # queries, keys, values, projection; MLP
    attention = 2 * 2 * t * t * d
    return 2 * markers * positions * model.patch**2 * d, model.depth * (linear + attention)


def _hidden_tokens(config: Config) -> float:
    """Return the mean number of hidden positions of a sample's global views."""
    positions = (config.views.global_size // config.model.patch) ** 2
    return GLOBAL_VIEWS * config.masks.fraction * positions * sum(config.masks.ratio) / 2


def _head_row(head: Head, dim: int) -> float:
    widths = [dim, *[head.hidden] * (head.layers - 1), head.bottleneck, head.prototypes]
    return 2 * sum(before * after for before, after in pairwise(widths))


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations per second of a large square matrix product, the best of several.

    Takes about half a second.

    The yardstick of the utilisation: what this device reaches on this number format with the current number of threads,
    not what its data sheet promises.

    Parameters
    ----------
    device
        Where to measure.
    dtype
        Number format of the forward pass.
    """
    edge = _EDGE.get(device.type, 1024)
    # random numbers: on constant ones a GPU draws less power, and so clocks higher than on any real work
    random = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(edge, edge, device=device, generator=random).to(dtype) for _ in range(2))
    run = _repeated(lambda: left @ right, device)
    run(1)
    repeats = max(1, round(_SECONDS / 5 / run(1)))
    return 2 * edge**3 * repeats / min(run(repeats) for _ in range(5))


def _repeated(work: Callable[[], object], device: torch.device) -> Callable[[int], float]:
    """Return a function that does `work` so many times and returns the seconds that took, waiting for the device."""

    def run(times: int) -> float:
        _wait(device)
        start = time.perf_counter()
        for _ in range(times):
            work()
        _wait(device)
        return time.perf_counter() - start

    return run


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
