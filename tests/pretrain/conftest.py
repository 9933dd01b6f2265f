"""A run so small that a step takes milliseconds, on one thread of torch."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kronos_pretrain import parallel
from kronos_pretrain.config.schema import (
    Checkpoints,
    Config,
    Data,
    Head,
    Model,
    Optim,
    Parallel,
    Run,
    Simulate,
    Views,
    Watch,
)
from kronos_pretrain.data.batch import Samples
from kronos_pretrain.trainer import Trainer

MARKERS = (4, 140, 200)
SIDE = 96


def settings(**sections: dict) -> Config:
    """Return settings of a run of a few steps on a tiny network; `section={"key": value}` changes some."""
    base = Config(
        run=Run(device="cpu", precision="float32", epochs=2, epoch_steps=10),
        model=Model(dim=48, depth=4, heads=3, chunks=2, grid=4, registers=4, layer_scale=0.5, drop_path=0.3),
        data=Data(simulate=Simulate(images=1, size=128), patch=SIDE, workers=0),
        views=Views(global_size=64, local_size=32, local_count=3),
        head=Head(prototypes=96, hidden=32, bottleneck=16),
        optim=Optim(batch=4, lr=0.016, warmup_epochs=0.2, freeze_last_layer_epochs=0.1),
        parallel=Parallel(),
        checkpoints=Checkpoints(every=1000),
        watch=Watch(every=1, tensorboard=False),
    )
    return replace(base, **{name: replace(getattr(base, name), **values) for name, values in sections.items()})


class Fixed:
    """The same random samples in every step, in place of a loader."""

    def __init__(self, config: Config, *, rank: int = 0, world: int = 1, first_step: int = 0) -> None:
        share = config.optim.batch // world
        self.passes = [
            torch.arange(a, a + (config.parallel.micro_batch or share)) for a in self._starts(config, rank, share)
        ]
        rng = np.random.default_rng(5)
        shape = (config.optim.batch, 1, len(MARKERS), config.data.patch, config.data.patch)
        self.pixels = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
        self.turn = first_step * len(self.passes)

    @staticmethod
    def _starts(config: Config, rank: int, share: int) -> range:
        return range(rank * share, (rank + 1) * share, config.parallel.micro_batch or share)

    def __next__(self) -> Samples:
        step, part = divmod(self.turn, len(self.passes))
        self.turn += 1
        index = self.passes[part]
        return Samples(step, index, self.pixels[index], torch.tensor(MARKERS).expand(len(index), 1, len(MARKERS)))


class Going:
    """Nobody asks the run to stop."""

    asked = False


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread):
    return one_thread


@pytest.fixture(scope="session")
def small() -> SimpleNamespace:
    """`settings(section={...})`, `Fixed` in place of a loader, `Going` in place of a signal handler."""
    return SimpleNamespace(settings=settings, Fixed=Fixed, Going=Going)


@pytest.fixture
def alone(small, tmp_path):
    """Makes trainers of one process without a corpus, by sections of the settings."""

    def make(**sections) -> Trainer:
        run = {"folder": str(tmp_path), **sections.pop("run", {})}
        return Trainer(small.settings(run=run, **sections), procs, None)

    with parallel.processes(small.settings()) as procs:
        yield make
