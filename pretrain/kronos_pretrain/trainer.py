"""The run: build, resume, step, watch, save. Each part is a page of its own; here is the order in which they happen."""

# Shapes: w processes, f figures.
from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from kronos_pretrain import backbone, checkpoint, parallel
from kronos_pretrain.config import check_machine, require_same
from kronos_pretrain.data.fingerprint import fingerprint, require_same_corpus
from kronos_pretrain.data.loader import samples
from kronos_pretrain.data.masks import masks
from kronos_pretrain.data.views import views
from kronos_pretrain.finite import require_finite_gradients, require_finite_losses
from kronos_pretrain.folder import agreed_step, shared_folder
from kronos_pretrain.metrics_log import MetricsLogger, StepResult
from kronos_pretrain.network import Hidden
from kronos_pretrain.optim import set_values
from kronos_pretrain.precision import resolve_precision
from kronos_pretrain.schedule import schedules
from kronos_pretrain.self_distillation import TERMS, Batch
from kronos_pretrain.sources import open_corpus, open_start
from kronos_pretrain.state import State
from kronos_pretrain.stop import Stop
from kronos_pretrain.teacher_evaluation import TeacherEvaluation
from kronos_sc._core.log import info
from kronos_sc.models.inference import instructions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kronos_pretrain.config.schema import Config
    from kronos_pretrain.data.batch import Samples
    from kronos_pretrain.data.corpus import Corpus
    from kronos_pretrain.parallel import Processes


def train(config: Config, *, override: bool = False) -> Path:
    """Train to the end, from the last checkpoint if there is one, and return the folder of the run.

    Ends early, with a checkpoint and without an error, when SIGTERM or Ctrl-C asks for it.

    Parameters
    ----------
    config
        Settings.
    override
        Resume although settings differ that decide what is computed.

    Raises
    ------
    FloatingPointError
        A loss or a gradient is not finite; the optimiser has not moved.
    ValueError
        The settings differ from those of the run in the folder.
    """
    with parallel.processes(config) as procs, Stop() as stop:
        check_machine(config, processes=procs.world, device=procs.device.type)
        corpus = open_corpus(config)
        trainer = Trainer(config, procs, corpus)
        trainer.resume(override=override)
        trainer.run(stop)
    return Path(config.run.folder)


class Trainer:
    """A run on this process.

    Parameters
    ----------
    config
        Settings.
    procs
        The processes of the run.
    corpus
        Where samples come from.
    """

    def __init__(self, config: Config, procs: Processes, corpus: Corpus) -> None:
        self.procs = procs
        self.corpus = corpus
        self.folder = shared_folder(config.run.folder, procs)
        self.saved = agreed_step(self.folder, procs)
        self.config = resolve_precision(config, procs, self.folder, self.saved)
        if self.config != config:  # the format in which the run was begun may not fit this machine
            check_machine(self.config, processes=procs.world, device=procs.device.type)
        config = self.config
        # a run that has begun needs the weights it started from no more, and they need not be there
        start = open_start(config, corpus) if self.saved is None else None
        self.state = State(config, procs, start)
        self.values = schedules(config)
        self.step = 0  # steps done
        share = config.optim.batch // procs.world
        self.passes = share // (config.parallel.micro_batch or share)

    @cached_property
    def _corpus_fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.corpus)

    def resume(self, *, override: bool) -> None:
        """Go on from the last checkpoint of the folder, if there is one."""
        if (step := self.saved) is None:
            return
        metadata = checkpoint.read_metadata(self.folder, step)
        require_same(metadata["config"], self.config, override=override)
        require_same_corpus(metadata["corpus"], self._corpus_fingerprint, override=override)

        checkpoint.load(self.folder, step, self.state.tensors())
        self.state.restore(metadata["state"])
        self.step = step
        writers = _counted(metadata["world"], "process", "processes")
        info(f"{self.folder} goes on from step {step}, written by {writers}")

    def run(self, stop: Stop) -> None:
        """Train until the last step, or until asked to stop."""
        config, procs = self.config, self.procs
        last = config.run.steps
        if self.step >= last:
            info(
                f"{self.folder} is complete: {self.step} steps. {self._next_command()}, or raise run.epochs to train on"
            )
            return
        started = perf_counter()
        first = self.step

        # in this order, so that settings which the corpus or the labelled patches refuse leave no log behind
        reader = samples(
            self.corpus,
            config,
            first_step=first,
            stop_step=last,
            rank=procs.rank,
            world=procs.world,
            device=procs.device,
        )
        with instructions.products(getattr(torch, config.run.precision), procs.device), reader:
            evaluation = TeacherEvaluation(config, procs, self.corpus, self.state.teacher)
            with MetricsLogger(
                config, config.run.folder, procs.rank, world=procs.world, device=procs.device, first_step=first
            ) as logger:
                self.announce()
                evaluation.start(first, logger)
                result = self._take_steps(reader, stop, logger, evaluation)

        done = "complete"
        if self.step < last:
            done = f"stopped as asked ({stop.reason}); the same command goes on from there"
        info(
            f"{self.folder}: step {self.step} of {last} after {perf_counter() - started:.0f} s ({self.step - first} "
            f"steps), loss {result.losses['total']:.3f}; {done}. {self._next_command()}"
        )

    def _take_steps(
        self, reader: Iterator[Samples], stop: Stop, logger: MetricsLogger, evaluation: TeacherEvaluation
    ) -> StepResult:
        """Train until the last step, or until asked to stop, and return the result of the last step taken."""
        last = self.config.run.steps
        while self.step < last:
            result = self.take_step(reader, stop)
            self.step += 1
            logger.log(self.step, result, self.values(self.step - 1), self.state.scale)
            if result.stop or self.step == last or self.step % self.config.checkpoints.every == 0:
                with logger.pause():
                    self.save()
            if result.stop:
                break
            # after the checkpoint: whatever goes wrong here, the steps are kept
            evaluation.evaluate_if_due(self.step, logger)
        return result

    def _next_command(self) -> str:
        return f"Export with `python -m kronos_pretrain export {self.folder} OUT`"

    def announce(self) -> None:
        """Say what is about to run."""
        if not self.procs.first:
            return
        config, corpus, procs = self.config, self.corpus, self.procs
        passes = _counted(self.passes, "pass", "passes")
        count = sum(p.numel() for p in self.state.student.backbone.parameters())
        info(
            f"{config.run.folder}: step {self.step} of {config.run.steps}; {count / 1e6:.1f} M parameters in "
            f"{config.run.precision} on {procs.world} × {procs.device.type}, {config.optim.batch} samples a step in "
            f"{passes} of each process; {len(corpus.images)} images in "
            f"{len(corpus.subsets)} subsets, {len(corpus.vocabulary)} markers"
        )

    def save(self) -> None:
        """Write a checkpoint of the steps done."""
        metadata = {
            "config": asdict(self.config),
            "state": self.state.metadata(),
            "vocabulary": self.corpus.vocabulary.to_dict(),
            "corpus": self._corpus_fingerprint,
        }
        checkpoint.save(
            self.folder, self.step, self.state.tensors(), metadata, keep=self.config.checkpoints.keep, procs=self.procs
        )

    def take_step(self, reader: Iterator[Samples], stop: Stop) -> StepResult:
        """Run one step: losses and gradients of all passes, a check, the optimiser, the teacher, the centres."""
        state = self.state
        values = self.values(self.step)
        set_values(state.optimizer, values)

        totals: dict[str, torch.Tensor] = {}
        wait = 0.0
        for number in range(self.passes):
            read = next(reader)
            parallel.accumulate(state.student, last=number == self.passes - 1)
            terms, outputs = state.objective(state.student, state.teacher, self.batch(read), values.teacher_temperature)
            state.scale.scale(terms["total"] / self.passes).backward()
            totals = {name: totals.get(name, 0) + value.detach() / self.passes for name, value in terms.items()}
            wait += read.wait
        losses, stopping = self._reduce_losses(totals, stop)

        norm = self._apply_gradients()
        if norm is not None:  # a step that an overflow left out has taught the student nothing
            state.update_teacher(values.momentum)
        state.objective.update_centers()
        grad_norm = float("nan") if norm is None else float(norm)
        return StepResult(losses, grad_norm, outputs, read.marker_ids.shape[2], wait, stopping)

    def batch(self, read: Samples) -> Batch:
        """Return crops, masks and dropped paths of samples, on the device."""
        config = self.config
        device = self.procs.device
        large, small = views(read.to(device), config, seed=config.run.seed)
        hidden = None
        if config.loss.ibot:
            edge = config.views.global_size // config.model.patch
            mask = masks(
                config.masks,
                seed=config.run.seed,
                step=read.step,
                index=read.index,
                batch=config.optim.batch,
                grid=(edge, edge),
            )
            hidden = Hidden.from_mask(mask, read.marker_ids.shape[2], device)
        drop = None
        if config.model.drop_path:
            drop = backbone.DropPath(
                config.model.drop_path,
                seed=config.run.seed,
                step=read.step,
                index=read.index,
                batch=config.optim.batch,
                device=device,
            )
        return Batch(large, small if config.views.local_count else None, hidden, drop)

    def _reduce_losses(self, totals: dict[str, torch.Tensor], stop: Stop) -> tuple[dict[str, float], bool]:
        """Return losses over all processes and whether to stop: one exchange a step.

        Not-finite losses are an error on every process.
        """
        names = [name for name in (*TERMS, "total") if name in totals]
        asked = totals["total"].new_tensor(float(stop.asked), dtype=torch.float32)
        row = torch.stack([*(totals[name].float() for name in names), asked])
        table_wf = self.procs.gather(row).cpu()
        losses_wf = table_wf[:, :-1]
        require_finite_losses(losses_wf, names, self.step)
        return dict(zip(names, losses_wf.mean(0).tolist(), strict=True)), bool(table_wf[:, -1].any())

    def _apply_gradients(self) -> torch.Tensor | None:
        """Clip, check and apply the gradient, and return its norm.

        None if loss scaling overflowed and the step was left out.
        """
        state = self.state
        parameters = [p for p in state.student.parameters() if p.grad is not None]
        state.scale.unscale_(parallel.local(p.grad for p in parameters))
        norm = parallel.norm([p.grad for p in parameters])
        # above the floor, an overflow is part of the search for the scale of float16
        if state.scale.value <= state.scale.floor:
            require_finite_gradients(norm, state.student.named_parameters(), self.step, self.procs.rank)
        if not state.scale.update(finite=bool(norm.isfinite())):
            state.optimizer.zero_grad(set_to_none=True)
            return None
        if self.config.optim.clip:
            # each part by itself, as DINOv2 does: a steep head does not slow the backbone down
            for part in state.student.children():
                parallel.clip([p.grad for p in part.parameters() if p.grad is not None], self.config.optim.clip)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        return norm


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {several if number > 1 else one}"
