"""What the teacher's frozen features are worth: every so many steps of a run, and of a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_pretrain.evaluate import Evaluation, evaluate
from kronos_pretrain.evaluate.labelled import Labelled
from kronos_pretrain.export import load_teacher
from kronos_pretrain.sources import open_labelled
from kronos_pretrain.watch import read
from kronos_sc._core.log import info

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kronos_pretrain.config.schema import Config
    from kronos_pretrain.data.corpus import Corpus
    from kronos_pretrain.metrics_log import MetricsLogger
    from kronos_pretrain.network import Network
    from kronos_pretrain.parallel import Processes


class TeacherEvaluation:
    """Evaluates the teacher of a run when it is due; without `watch.evaluate_every` no call does anything.

    Parameters
    ----------
    config
        Settings.
    procs
        Processes of the run.
    corpus
        Its vocabulary normalises the labelled patches.
    teacher
        The network, which all processes run together.
    """

    def __init__(self, config: Config, procs: Processes, corpus: Corpus, teacher: Network) -> None:
        self.config = config
        self.procs = procs
        self.teacher = teacher
        self.evaluation = None
        if config.watch.evaluate_every:
            self.evaluation = Evaluation(open_labelled(config), corpus.vocabulary, device=procs.device)

    def start(self, first_step: int, logger: MetricsLogger) -> None:
        """Evaluate the weights that a run begins with, or what was due when it was stopped."""
        if first_step == 0:
            self.evaluate(0, logger)
        elif self.procs.any(self.procs.first and not self._evaluated(first_step)):
            self.evaluate_if_due(first_step, logger)

    def _evaluated(self, step: int) -> bool:
        """Return whether the log holds an evaluation of a step."""
        log = read(self.config.run.folder)
        scores = [values for name, values in log.items() if name.startswith("evaluate/")]
        return any(np.isfinite(values[log["step"] == step]).any() for values in scores)

    def evaluate_if_due(self, step: int, logger: MetricsLogger) -> None:
        """Evaluate every so many steps, and after the last one."""
        every = self.config.watch.evaluate_every
        if every and (step % every == 0 or step == self.config.run.steps):
            self.evaluate(step, logger)

    def evaluate(self, step: int, logger: MetricsLogger) -> None:
        """Log what the teacher's frozen features are worth; all processes share the work."""
        if self.evaluation is None:
            return
        count = self.config.watch.pictures
        with logger.pause():
            scores = self.evaluation.scores(self.teacher.frozen)
            logger.scalars(step, scores)
            info(f"step {step}, balanced accuracy on {self.evaluation.labelled.name}: {_in_words(scores)}")
            if count:
                logger.picture(step, "tokens", self.evaluation.pictures(self.teacher.frozen, count=count))


def evaluate_run(run: Path, labelled: Path, *, step: int | None = None) -> dict[str, float]:
    """Return what the frozen features of a checkpoint's teacher are worth on a file of labelled patches."""
    teacher = load_teacher(run, step)
    return evaluate(teacher.network.frozen, Labelled.load(labelled), teacher.vocabulary)


def _in_words(scores: Mapping[str, float]) -> str:
    rows = {"class token": "", "marker features": "marker_", "mean intensities": "mean_marker_"}
    pairs = {
        name: [scores[f"evaluate/{kind}{probe}_balanced_accuracy"] for probe in ("knn", "linear")]
        for name, kind in rows.items()
    }
    return "; ".join(f"{name} k-NN {knn:.3f}, linear {linear:.3f}" for name, (knn, linear) in pairs.items())
