from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kronos_pretrain.config.schema import Config, Optim, Run, Teacher
from kronos_pretrain.schedule import cosine, linear, schedules

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "dinov2_losses.json"


@pytest.fixture
def golden() -> dict:
    return json.loads(GOLDEN.read_text())


@pytest.fixture
def config() -> Config:
    """1,000 steps with the golden warm-up lengths."""
    return Config(
        run=Run(epochs=10, epoch_steps=100), optim=Optim(warmup_epochs=1), teacher=Teacher(temperature_epochs=3)
    )


def table(start, end, steps, warmup):
    """Return the whole schedule as an array, by another route: a climb, then a cosine, one after the other."""
    turn = np.linspace(0, np.pi, steps - warmup, endpoint=False)
    return np.concatenate([np.linspace(0, start, warmup), (start + end) / 2 + np.cos(turn) * (start - end) / 2])


def test_golden_values(golden, config) -> None:
    at = schedules(config)
    assert [at(s).lr for s in (0, 1, 50, 99, 100, 101, 500, 999, 1000)] == pytest.approx(golden["lr"], rel=1e-12)
    assert [at(s).momentum for s in (0, 500, 999)] == pytest.approx(golden["momentum"], rel=1e-12)
    assert [at(s).teacher_temperature for s in (0, 150, 299, 400)] == pytest.approx(golden["teacher_temp"], rel=1e-12)


@pytest.mark.parametrize(("steps", "warmup"), [(50, 0), (50, 1), (50, 2), (50, 17), (50, 50)])
def test_every_step_is_that_of_the_table(steps, warmup) -> None:
    got = [cosine(s, start=0.3, end=0.01, steps=steps, warmup=warmup) for s in range(steps)]
    np.testing.assert_allclose(got, table(0.3, 0.01, steps, warmup), rtol=1e-12, atol=1e-15)


def test_the_last_value_stays(config) -> None:
    at = schedules(config)
    for step in (1000, 5000):
        values = at(step)
        assert (values.lr, values.weight_decay, values.momentum, values.teacher_temperature) == (1e-6, 0.4, 1.0, 0.07)


def test_rate_grows_with_the_root_of_the_batch_but_its_end_does_not(config) -> None:
    small = schedules(replace(config, optim=replace(config.optim, batch=256)))
    assert small(100).lr == pytest.approx(0.002)
    assert small(1000).lr == 1e-6


def test_the_first_rate_is_a_setting_and_grows_with_the_batch(config) -> None:
    """From a quarter of the peak on a straight line; Table S24 has start and peak alike, which is a constant."""
    quarter = schedules(replace(config, optim=replace(config.optim, lr_start=0.001, batch=256)))
    np.testing.assert_allclose([quarter(s).lr for s in range(100)], np.linspace(0.0005, 0.002, 100))
    to_the_letter = schedules(replace(config, optim=replace(config.optim, lr_start=0.004)))
    np.testing.assert_allclose([to_the_letter(s).lr for s in range(101)], 0.004)
    after = [200, 500, 999, 1000]
    assert [to_the_letter(s).lr for s in after] == [schedules(config)(s).lr for s in after]


def test_prototypes_are_frozen_at_first(config) -> None:
    at = schedules(config)
    assert [at(s).prototypes_frozen for s in (0, 99, 100, 999)] == [True, True, False, False]


def test_weight_decay_rises_by_a_cosine(config) -> None:
    at = schedules(config)
    assert [at(s).weight_decay for s in (0, 500)] == pytest.approx([0.04, 0.22])


def test_no_and_shortest_warm_up() -> None:
    assert linear(0, start=0.04, end=0.07, steps=0) == 0.07
    assert [linear(s, start=0.04, end=0.07, steps=1) for s in (0, 1)] == [0.04, 0.07]


def test_same_step_same_values(config) -> None:
    assert schedules(config)(317) == schedules(config)(317)
