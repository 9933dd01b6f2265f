"""The logger: one line when due, nothing on other ranks, the same files after going on."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tqdm import tqdm

from kronos_pretrain.config.schema import Config, Run, Watch
from kronos_pretrain.metrics_log import MetricsLogger
from kronos_pretrain.watch import read

CONFIG = Config(run=Run(epochs=2, epoch_steps=10, precision="float32"), watch=Watch(every=5, tensorboard=False))
SPEED = {f"speed/{name}" for name in ("images_per_s", "marker_tokens_per_s", "flop_utilisation", "data_wait")} | {
    "memory/gib"
}


@pytest.fixture(autouse=True)
def _no_measurement(monkeypatch):
    monkeypatch.setattr("kronos_pretrain.watch.meter.matrix_rate", lambda *_: 1e12)


def _run(folder, steps, *, config: Config = CONFIG, first_step: int = 0) -> None:
    logger = MetricsLogger(config, folder, 0, first_step=first_step)
    for step in steps:
        logger.step(step, {"loss/total": 1 / step}, n_images=4, wait=0.0)
    logger.close()


def test_a_line_every_few_steps_and_at_the_end(tmp_path) -> None:
    config = replace(CONFIG, watch=Watch(every=8, tensorboard=False))
    _run(tmp_path, range(1, 21), config=config)
    curves = read(tmp_path)
    assert curves["step"].tolist() == [8, 16, 20]
    assert curves["epoch"].tolist() == [0.8, 1.6, 2.0]
    assert curves["loss/total"].tolist() == [1 / 8, 1 / 16, 1 / 20]
    assert set(curves) == {"step", "epoch", "loss/total"} | SPEED
    assert (curves["speed/images_per_s"] > 0).all()


def test_due_tells_when_costly_figures_are_of_use(tmp_path) -> None:
    logger = MetricsLogger(CONFIG, tmp_path, 0)
    assert [step for step in range(1, 21) if logger.due(step)] == [5, 10, 15, 20]
    logger.close()


def test_going_on_gives_the_steps_of_an_uninterrupted_run(tmp_path) -> None:
    _run(tmp_path / "whole", range(1, 21))
    _run(tmp_path / "parts", range(1, 18))
    _run(tmp_path / "parts", range(13, 21), first_step=12)
    whole, parts = (read(tmp_path / name) for name in ("whole", "parts"))
    for name in ("step", "epoch", "loss/total"):
        np.testing.assert_array_equal(whole[name], parts[name])


def test_other_ranks_write_nothing(tmp_path) -> None:
    logger = MetricsLogger(CONFIG, tmp_path / "run", 1)
    logger.step(5, {"loss/total": 1.0}, n_images=4)
    logger.scalars(5, {"probe/knn": 0.5})
    logger.picture(5, "tokens", np.zeros((2, 2, 3), np.uint8))
    with logger.pause():
        pass
    assert not logger.due(5)
    logger.close()
    assert not (tmp_path / "run").exists()


def test_figures_of_their_own_line(tmp_path) -> None:
    logger = MetricsLogger(CONFIG, tmp_path, 0)
    logger.scalars(0, {"probe/knn": 0.5})
    logger.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 0, "epoch": 0.0, "probe/knn": 0.5}


def test_tensorboard_has_figures_and_pictures_and_hides_a_lost_future(tmp_path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = replace(CONFIG, watch=Watch(every=5, tensorboard=True))
    _run(tmp_path, range(1, 19), config=config)
    logger = MetricsLogger(config, tmp_path, 0, first_step=10)
    logger.step(20, {"loss/total": 7.0}, n_images=4)
    logger.picture(20, "tokens", np.zeros((4, 4, 3), np.uint8))
    logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, round(e.value, 4)) for e in events.Scalars("loss/total")] == [(5, 0.2), (10, 0.1), (20, 7.0)]
    assert [e.step for e in events.Images("tokens")] == [20]
    assert (tmp_path / "pictures" / "tokens" / "00000020.png").is_file()


def test_the_bar_shows_loss_speed_and_the_steps_done(tmp_path, monkeypatch) -> None:
    # a bar that neither our settings nor TQDM_DISABLE turn off
    monkeypatch.setattr(
        "kronos_pretrain.metrics_log.bar", lambda *, total, **_: tqdm(total=total, file=io.StringIO(), disable=False)
    )
    logger = MetricsLogger(CONFIG, tmp_path, 0, first_step=4)
    logger.step(5, {"loss/total": 2.5}, n_images=4)
    shown = str(logger._bar)
    logger.close()
    assert "5/20" in shown
    assert "loss 2.500" in shown
    assert "images/s" in shown


def test_logging_loads_no_analysis_stack() -> None:
    """Training machines may lack it."""
    code = (
        "import sys, tempfile\n"
        "from kronos_pretrain.config.schema import Config\n"
        "from kronos_pretrain.metrics_log import MetricsLogger\n"
        "import kronos_pretrain.watch.meter as meter\n"
        "meter.matrix_rate = lambda *_: 1e12\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    MetricsLogger(Config(), folder, 0).close()\n"
        "heavy = {'anndata', 'spatialdata', 'scanpy', 'matplotlib', 'sklearn', 'zarr', 'pandas'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
