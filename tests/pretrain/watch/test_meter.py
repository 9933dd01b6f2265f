"""Speeds by a clock that tests turn by hand."""

from __future__ import annotations

import pytest
import torch

from kronos_pretrain.config.schema import Config
from kronos_pretrain.watch.flops import sample_flops, sample_tokens
from kronos_pretrain.watch.meter import Meter, peak_memory

CPU = torch.device("cpu")


class Clock:
    """Time that passes when told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_means_between_two_readings(clock: Clock) -> None:
    config = Config()
    meter = Meter(config, CPU, world=2, rate=1e12, clock=clock)
    for markers in (3, 5):
        meter.add(images=8, markers=markers, wait=0.5)
        clock.now += 2
    figures = meter.read()
    assert figures["speed/images_per_s"] == 4
    assert figures["speed/data_wait"] == 0.25
    assert figures["speed/marker_tokens_per_s"] == 8 * (sample_tokens(config, 3) + sample_tokens(config, 5)) / 4
    assert figures["speed/flop_utilisation"] == pytest.approx(
        8 * (sample_flops(config, 3) + sample_flops(config, 5)) / 4 / 2e12
    )
    meter.add(images=8, markers=3, wait=0)
    clock.now += 1
    assert meter.read()["speed/images_per_s"] == 8


def test_what_is_not_training_does_not_count(clock: Clock) -> None:
    meter = Meter(Config(), CPU, rate=1e12, clock=clock)
    meter.add(images=6, markers=3, wait=0)
    clock.now += 2
    with meter.pause():
        clock.now += 50
    assert meter.read()["speed/images_per_s"] == 3


def test_memory_is_that_of_the_process() -> None:
    before = peak_memory(CPU)
    block = torch.ones(60 * 2**20 // 4)
    assert peak_memory(CPU) >= before >= 2**20
    assert peak_memory(CPU) > block.nbytes
