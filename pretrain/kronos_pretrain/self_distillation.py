"""Student and teacher → a dictionary of losses.

No backward pass, no optimiser, no logging (Oquab et al. 2023; Zhou et al. 2022).
"""

# Shapes: b samples, d width, q hidden tokens, k prototypes; global crops are 2b, view 0 of every sample first.
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from kronos_pretrain.data.batch import GLOBAL_VIEWS
from kronos_pretrain.losses.centering import Center, sinkhorn
from kronos_pretrain.losses.dino import dino_loss
from kronos_pretrain.losses.ibot import ibot_loss
from kronos_pretrain.losses.koleo import koleo

if TYPE_CHECKING:
    from kronos_pretrain.backbone import DropPath
    from kronos_pretrain.config.schema import Config
    from kronos_pretrain.data.batch import Crops
    from kronos_pretrain.network import Hidden, Network, Outputs

TERMS = ("dino_global", "dino_local", "ibot", "koleo")


class Batch(NamedTuple):
    """What one pass works on.

    Parameters
    ----------
    large, small
        Global and local crops; no local ones if None.
    hidden
        What the student does not see of the global crops.
    drop
        The student's dropped paths.
    """

    large: Crops
    small: Crops | None
    hidden: Hidden | None
    drop: DropPath | None


class TeacherOutputs(NamedTuple):
    """What the monitors look at, of the teacher and without a graph.

    Parameters
    ----------
    cls
        Class tokens of the global crops (2b, d).
    targets
        Their targets (2b, k).
    """

    cls: torch.Tensor
    targets: torch.Tensor


class SelfDistillation:
    """The losses of DINOv2, and the centres of the teacher's scores.

    Parameters
    ----------
    config
        Settings of the run.
    device
        Where the centres live.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config = config.loss
        self.weights = {
            "dino_global": config.loss.dino,
            "dino_local": config.loss.dino,
            "ibot": config.loss.ibot,
            "koleo": config.loss.koleo,
        }
        self.centers = {
            name: Center(config.head.prototypes, momentum=config.loss.center_momentum).to(device)
            for name in ("dino", "ibot")
        }

    def __call__(
        self, student: Network, teacher: Network, batch: Batch, temperature: float
    ) -> tuple[dict[str, torch.Tensor], TeacherOutputs]:
        """Return the loss terms, not weighted, their weighted sum as `total`, and what the monitors look at.

        Parameters
        ----------
        student, teacher
            Networks of the same shape; the teacher gets no gradient.
        batch
            Crops and masks of this pass.
        temperature
            Of the teacher's targets.
        """
        dino_targets, ibot_targets, teacher_outputs = self._targets(teacher, batch, temperature)
        crops = [batch.large] if batch.small is None else [batch.large, batch.small]
        outputs = student(crops, batch.hidden, drop=batch.drop)
        terms = self._terms(outputs, batch, dino_targets, ibot_targets)
        terms["total"] = sum(self.weights[name] * value for name, value in terms.items())
        return terms, teacher_outputs

    @torch.no_grad()
    def _targets(
        self, teacher: Network, batch: Batch, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor | None, TeacherOutputs]:
        outputs = teacher([batch.large], batch.hidden, see_all=True)
        (scores,), hidden = outputs.parts()
        dino = self._probabilities("dino", scores, temperature)
        ibot = None if batch.hidden is None else self._probabilities("ibot", hidden, temperature)
        return dino, ibot, TeacherOutputs(outputs.cls()[0], dino)

    def _probabilities(self, name: str, scores: torch.Tensor, temperature: float) -> torch.Tensor:
        if self.config.centering == "sinkhorn":
            return sinkhorn(scores, temperature, iterations=self.config.sinkhorn_iterations)
        targets = self.centers[name].probabilities(scores, temperature)
        self.centers[name].observe(scores)  # takes effect with the next step
        return targets

    def _terms(
        self, outputs: Outputs, batch: Batch, dino_targets: torch.Tensor, ibot_targets: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """Return the terms whose weight is not 0."""
        loss = self.config
        terms: dict[str, torch.Tensor] = {}
        (large, *small), hidden = outputs.parts()
        if loss.dino:
            local = small[0] if small else large[:0]
            pairs = dino_loss(large, local, dino_targets, temperature=loss.student_temperature)
            terms |= {"dino_global": pairs.cross, "dino_local": pairs.local}
        if loss.ibot and batch.hidden is not None:
            markers = batch.large.marker_ids.shape[1]
            terms["ibot"] = ibot_loss(
                hidden, ibot_targets, batch.hidden.mask, markers=markers, temperature=loss.student_temperature
            )
        if loss.koleo:  # within each view: two views of one sample are meant to be neighbours
            terms["koleo"] = sum(koleo(view) for view in outputs.cls()[0].chunk(GLOBAL_VIEWS))
        return terms

    def update_centers(self) -> None:
        """Apply what the passes of a step observed, over all processes."""
        if self.config.centering == "softmax":
            for center in self.centers.values():
                center.update()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the centres by name."""
        return {f"center.{name}": center.center for name, center in self.centers.items()}
