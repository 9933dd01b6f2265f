"""How fast a run is and what it waits for, between two lines of the log."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from kronos_pretrain.watch.flops import matrix_rate, sample_flops, sample_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kronos_pretrain.config.schema import Config

_GIB = 2**30


class Meter:
    """Counts steps and the time they take.

    Parameters
    ----------
    config
        Settings of the run.
    device
        Where this process computes.
    world
        Number of processes; each is taken to be as fast as this one.
    rate
        Operations per second that one process's device could do; measured if not given.
    clock
        Source of time in seconds.
    """

    def __init__(
        self,
        config: Config,
        device: torch.device,
        *,
        world: int = 1,
        rate: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.config = config
        self.device = device
        self.clock = clock
        self.rate = world * (rate or matrix_rate(device, getattr(torch, config.run.precision)))
        self._start_anew()

    def _start_anew(self) -> None:
        self.images = 0
        self.tokens = 0
        self.flops = 0.0
        self.waited = 0.0
        self.since = self.clock()

    def add(self, *, images: int, markers: int, wait: float) -> None:
        """Count a step.

        Parameters
        ----------
        images
            Samples over all processes.
        markers
            Markers of each.
        wait
            Seconds that this process waited for data.
        """
        self.images += images
        self.tokens += images * sample_tokens(self.config, markers)
        self.flops += images * sample_flops(self.config, markers)
        self.waited += wait

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave out the time of what is not training: evaluation, checkpoints."""
        start = self.clock()
        try:
            yield
        finally:
            self.since += self.clock() - start

    def read(self) -> dict[str, float]:
        """Return the means since the last reading, and start anew."""
        seconds = max(self.clock() - self.since, 1e-9)
        figures = {
            "speed/images_per_s": self.images / seconds,
            "speed/marker_tokens_per_s": self.tokens / seconds,
            "speed/flop_utilisation": self.flops / seconds / self.rate,
            "speed/data_wait": self.waited / seconds,
            "memory/gib": peak_memory(self.device) / _GIB,
        }
        self._start_anew()
        return figures


def peak_memory(device: torch.device) -> float:
    """Return the most bytes this process has held: on the GPU what tensors took, else its resident set.

    NaN where that is not known.
    """
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # not on Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
