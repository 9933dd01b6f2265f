"""What happens beside a step: lines of the log, evaluations of frozen features, pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from kronos_pretrain.evaluate import Evaluation
from kronos_pretrain.sources import open_labelled
from kronos_pretrain.watch import Watch, monitors, read
from kronos_sc._core.log import info

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from kronos_pretrain.config.schema import Config
    from kronos_pretrain.data.corpus import Corpus
    from kronos_pretrain.parallel import Processes
    from kronos_pretrain.schedule import Values
    from kronos_pretrain.self_distillation import Seen
    from kronos_pretrain.state import State


class Figures(NamedTuple):
    """What a step leaves behind for the log.

    Parameters
    ----------
    losses
        Mean over processes, by term, and `total`.
    norm
        Of the gradient, before clipping.
    seen
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
    seen: Seen
    markers: int
    wait: float
    stop: bool


class Watching:
    """Tells the log what a run does.

    Parameters
    ----------
    config
        Settings.
    procs
        Processes of the run.
    corpus
        Its vocabulary normalises the evaluation.
    state
        State of the run.
    first_step
        Steps done when the run starts.
    """

    def __init__(self, config: Config, procs: Processes, corpus: Corpus, state: State, *, first_step: int) -> None:
        self.config, self.procs, self.state = config, procs, state
        self.evaluation = None
        if config.watch.evaluate_every:
            self.evaluation = Evaluation(open_labelled(config), corpus.vocabulary, device=procs.device)
        self.watch = Watch(
            config, config.run.folder, procs.rank, world=procs.world, device=procs.device, first_step=first_step
        )
        self.first_step = first_step

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.close()

    def aside(self) -> AbstractContextManager[None]:
        """Return a context whose time does not count as training."""
        return self.watch.aside()

    def start(self) -> None:
        """Evaluate the weights that a run begins with, or what was due when it was stopped."""
        if self.first_step == 0:
            self.evaluate(0)
        elif self.procs.any(self.procs.first and not self._evaluated(self.first_step)):
            self.evaluate_if_due(self.first_step)

    def _evaluated(self, step: int) -> bool:
        """Return whether the log holds an evaluation of a step."""
        log = read(self.config.run.folder)
        scores = [values for name, values in log.items() if name.startswith("evaluate/")]
        return any(np.isfinite(values[log["step"] == step]).any() for values in scores)

    def log(self, step: int, figures: Figures, values: Values) -> None:
        """Log a step that is done."""
        found = {f"loss/{name}": value for name, value in figures.losses.items()}
        found |= {
            "optim/lr": values.lr,
            "optim/weight_decay": values.weight_decay,
            "optim/grad_norm": figures.norm,
            "optim/loss_scale": self.state.scale.value,
            "optim/skipped_steps": self.state.scale.skipped,
            "teacher/momentum": values.momentum,
            "teacher/temperature": values.teacher_temperature,
        }
        if self.watch.due(step):
            found |= monitors(figures.seen.cls, figures.seen.targets)
        self.watch.step(step, found, n_images=self.config.optim.batch, markers=figures.markers, wait=figures.wait)

    def evaluate_if_due(self, step: int) -> None:
        """Evaluate every so many steps, and after the last one."""
        every = self.config.watch.evaluate_every
        if every and (step % every == 0 or step == self.config.run.steps):
            self.evaluate(step)

    def evaluate(self, step: int) -> None:
        """Say what the teacher's frozen features are worth; all processes share the work."""
        if self.evaluation is None:
            return
        with self.watch.aside():
            found = self.evaluation.scores(self.state.teacher.frozen)
            self.watch.scalars(step, found)
            info(f"step {step}, balanced accuracy on {self.evaluation.labelled.name}: {_in_words(found)}")
            if self.config.watch.pictures:
                self.watch.picture(
                    step,
                    "tokens",
                    self.evaluation.pictures(self.state.teacher.frozen, count=self.config.watch.pictures),
                )


def _in_words(scores: Mapping[str, float]) -> str:
    rows = {"class token": "", "marker features": "marker_", "mean intensities": "mean_marker_"}
    pairs = {
        name: [scores[f"evaluate/{kind}{probe}_balanced_accuracy"] for probe in ("knn", "linear")]
        for name, kind in rows.items()
    }
    return "; ".join(f"{name} k-NN {knn:.3f}, linear {linear:.3f}" for name, (knn, linear) in pairs.items())
