"""Everything that a step changes: student, teacher, optimiser, centres, loss scale.

A checkpoint holds this and the number of steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from kronos_pretrain import parallel
from kronos_pretrain.network import Network
from kronos_pretrain.optim import LossScale, adamw
from kronos_pretrain.self_distillation import SelfDistillation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kronos_pretrain.config.schema import Config
    from kronos_pretrain.parallel import Processes


class State:
    """The state of a run on this process.

    Parameters
    ----------
    config
        Settings.
    procs
        The processes that share it.
    start
        Weights to begin with, by the names of the network's parameters; missing ones are drawn from the seed.
    """

    def __init__(self, config: Config, procs: Processes, start: Mapping[str, torch.Tensor] | None = None) -> None:
        weights = start or {}
        self.student = self._network(config, procs, weights, learns=True)
        self.teacher = self._network(config, procs, weights, learns=False)
        self.optimizer = adamw(self.student, config)
        _init_moments(self.optimizer)
        self.objective = SelfDistillation(config, procs.device)
        self.scale = LossScale(config.run.precision)

    @staticmethod
    def _network(config: Config, procs: Processes, start: Mapping[str, torch.Tensor], *, learns: bool) -> Network:
        network = Network(config)
        network.load_state_dict(start, strict=False)
        return parallel.shard(network, config, procs, learns=learns)

    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student."""
        parallel.average_into(list(self.teacher.parameters()), list(self.student.parameters()), momentum)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all tensors by name, as they are, so that loading into them restores the state."""
        tensors = {f"student.{name}": value for name, value in self.student.state_dict().items()}
        tensors |= {f"teacher.{name}": value for name, value in self.teacher.state_dict().items()}
        tensors |= {f"objective.{name}": value for name, value in self.objective.tensors().items()}
        for name, parameter in self.student.named_parameters():
            moments = self.optimizer.state[parameter]
            tensors |= {f"optim.{name}.{slot}": value for slot, value in moments.items()}
        return tensors

    def metadata(self) -> dict[str, Any]:
        """Return what is no tensor."""
        return {"loss_scale": self.scale.state_dict()}

    def restore(self, metadata: Mapping[str, Any]) -> None:
        """Take back what :meth:`metadata` returned."""
        self.scale.load_state_dict(metadata["loss_scale"])


def _init_moments(optimizer: torch.optim.Optimizer) -> None:
    """Give every parameter the state that its first step would make.

    A checkpoint can then be loaded into an optimiser that took none.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            moments = {slot: torch.zeros_like(parameter) for slot in ("exp_avg", "exp_avg_sq")}
            optimizer.state[parameter] = {"step": torch.zeros((), dtype=torch.float32), **moments}
