"""What a run tells about its steps: one logger, by which the trainer writes figures, pictures and a progress bar."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import torch

from kronos_pretrain.watch.collapse import monitors
from kronos_pretrain.watch.log import METRICS, Lines, save_picture, tensorboard
from kronos_pretrain.watch.meter import Meter
from kronos_sc._core.progress import bar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from kronos_pretrain.config.schema import Config
    from kronos_pretrain.optim import LossScale
    from kronos_pretrain.schedule import Values
    from kronos_pretrain.self_distillation import TeacherOutputs


class StepResult(NamedTuple):
    """What a step leaves behind for the log.

    Parameters
    ----------
    losses
        Mean over processes, by term, and `total`.
    norm
        Of the gradient, before clipping.
    teacher_outputs
        Of the teacher's last pass.
    markers
        Markers of each sample.
    wait
        Seconds that this process waited for data.
    stop
        Whether any process was asked to stop.
    """

    losses: dict[str, float]
    norm: float
    teacher_outputs: TeacherOutputs
    markers: int
    wait: float
    stop: bool


class MetricsLogger:
    """Figures, pictures and a progress bar of a run, written by rank 0; on other ranks every call does nothing.

    Figures go to `metrics.jsonl` (one JSON object a line, read again by :func:`kronos_pretrain.watch.read`) and to
    TensorBoard.

    Parameters
    ----------
    config
        Settings of the run.
    folder
        Folder of the run.
    rank, world
        Number of this process, and of how many.
    device
        Where it computes.
    first_step
        Steps done when the run starts; what an earlier run wrote after them is dropped.
    """

    def __init__(
        self,
        config: Config,
        folder: str | Path,
        rank: int,
        *,
        world: int = 1,
        device: torch.device | str = "cpu",
        first_step: int = 0,
    ) -> None:
        self.config = config
        self.folder = Path(folder)
        self.writes = rank == 0
        if not self.writes:
            return
        self._lines = Lines(self.folder / METRICS, first_step=first_step)
        self._board = tensorboard(self.folder, first_step=first_step) if config.watch.tensorboard else None
        self._bar = bar(total=config.run.steps, description="training", unit="step")
        self._bar.n = self._bar.initial = first_step
        self._meter = Meter(config, torch.device(device), world=world)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def due(self, step: int) -> bool:
        """Return whether a line will be written for this step.

        Only then are costly figures, such as collapse monitors, of use.
        """
        return self.writes and (step % self.config.watch.every == 0 or step == self.config.run.steps)

    def log(self, step: int, result: StepResult, values: Values, scale: LossScale) -> None:
        """Log a step that is done, with the values it was done with and the loss scale after it."""
        metrics = {f"loss/{name}": value for name, value in result.losses.items()}
        metrics |= {
            "optim/lr": values.lr,
            "optim/weight_decay": values.weight_decay,
            "optim/grad_norm": result.norm,
            "optim/loss_scale": scale.value,
            "optim/skipped_steps": scale.skipped,
            "teacher/momentum": values.momentum,
            "teacher/temperature": values.teacher_temperature,
        }
        if self.due(step):
            metrics |= monitors(result.teacher_outputs.cls, result.teacher_outputs.targets)
        self.step(step, metrics, n_images=self.config.optim.batch, markers=result.markers, wait=result.wait)

    def step(
        self, step: int, values: Mapping[str, float], *, n_images: int, markers: int | None = None, wait: float = 0.0
    ) -> None:
        """Count a step, and write a line if one is due.

        Parameters
        ----------
        step
            Steps done.
        values
            Figures of this step, written as they are; speed and memory are added, as means since the last line.
        n_images
            Samples of the step over all processes.
        markers
            Markers of each; the most that the settings allow if not given.
        wait
            Seconds that this process waited for data.
        """
        if not self.writes:
            return
        self._meter.add(images=n_images, markers=markers or self.config.data.markers[1], wait=wait)
        if self.due(step):
            speed = self._meter.read()
            self.scalars(step, {**values, **speed})
            self._bar.set_postfix_str(
                f"loss {values.get('loss/total', float('nan')):.3f}, {speed['speed/images_per_s']:.1f} images/s",
                refresh=False,
            )
        self._bar.update()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write figures of a step at once."""
        if not self.writes:
            return
        self._lines.write({"step": step, "epoch": step / self.config.run.epoch_steps, **values})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Write a picture (rows, columns, 3), uint8: as `pictures/NAME/STEP.png`, and to TensorBoard."""
        if not self.writes:
            return
        save_picture(self.folder, step, name, picture)
        if self._board is not None:
            self._board.add_image(name, picture, step, dataformats="HWC")

    def pause(self) -> AbstractContextManager[None]:
        """Return a context whose time does not count as training: evaluation, checkpoints."""
        return self._meter.pause() if self.writes else nullcontext()

    def close(self) -> None:
        """Close files and the progress bar."""
        if not self.writes:
            return
        self._bar.close()
        self._lines.close()
        if self._board is not None:
            self._board.close()
