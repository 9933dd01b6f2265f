"""What happens beside a step: lines of the log, evaluations of frozen features, pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from kronos_pretrain.evaluate import Evaluation
from kronos_pretrain.sources import open_labelled
from kronos_pretrain.watch import Watch, monitors

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kronos_pretrain.config.schema import Config
    from kronos_pretrain.data.corpus import Corpus
    from kronos_pretrain.parallel import Processes
    from kronos_pretrain.schedule import Values
    from kronos_pretrain.state import State
    from kronos_pretrain.trainer import Figures


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
        self.config, self.state = config, state
        self.watch = Watch(config, config.run.folder, procs.rank, world=procs.world, device=procs.device, first_step=first_step)
        self.evaluation = None
        if config.watch.evaluate_every:
            self.evaluation = Evaluation(open_labelled(config), corpus.vocabulary, device=procs.device)
        self.first_step = first_step

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.close()

    def aside(self) -> AbstractContextManager[None]:
        """Return a context whose time does not count as training."""
        return self.watch.aside()

    def start(self) -> None:
        """Evaluate the weights that a run begins with; one that goes on has done so before."""
        if self.first_step == 0:
            self.evaluate(0)

    def after(self, step: int, figures: Figures, values: Values) -> None:
        """Log a step that is done, and evaluate if it is time to."""
        found = {f"loss/{name}": value for name, value in figures.losses.items()}
        found |= {
            "optim/lr": values.lr,
            "optim/weight_decay": values.weight_decay,
            "optim/grad_norm": figures.norm,
            "optim/loss_scale": self.state.scale.value,
            "teacher/momentum": values.momentum,
            "teacher/temperature": values.teacher_temperature,
        }
        if self.watch.due(step):
            found |= monitors(figures.seen.cls, figures.seen.targets)
        self.watch.step(step, found, n_images=self.config.optim.batch, markers=figures.markers, wait=figures.wait)
        every = self.config.watch.evaluate_every
        if every and (step % every == 0 or step == self.config.run.steps):
            self.evaluate(step)

    def evaluate(self, step: int) -> None:
        """Say what the teacher's frozen features are worth; all processes share the work."""
        if self.evaluation is None:
            return
        with self.watch.aside():
            self.watch.scalars(step, self.evaluation.scores(self.state.teacher.frozen))
            if self.config.watch.pictures:
                self.watch.picture(step, "tokens", self.evaluation.pictures(self.state.teacher.frozen, count=self.config.watch.pictures))
