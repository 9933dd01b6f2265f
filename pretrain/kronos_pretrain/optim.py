"""AdamW as DINOv2 sets it up (Oquab et al. 2023), and the loss scale that float16 needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.tensor import DTensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import nn

    from kronos_pretrain.config.schema import Config
    from kronos_pretrain.schedule import Values

_BLOCK = re.compile(r"backbone\.blocks\.\d+\.(\d+)\.")  # blocks.CHUNK.INDEX, the index counted through all chunks
_NOT_DECAYED = re.compile(r"\.bias$|norm|gamma")


def parameter_groups(module: nn.Module, config: Config) -> list[dict[str, Any]]:
    """Return the groups of AdamW for a network with a `backbone` and heads.

    The learning rate falls by `optim.layer_decay` per block from the top: the heads and the last norm have the full
    one, block i has decay^(depth − i), everything before the first block decay^(depth + 1), the token embedding
    `optim.patch_embed_lr` times that. Biases, norms and the gains of LayerScale know no weight decay.

    Returns
    -------
    One dict for each combination that occurs, in order of first appearance: `params`, `names`, `lr_factor`,
    `decay_factor` and `last_layer`.
    """
    groups: dict[tuple[float, float, bool], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        lr_factor = _lr_factor(name, config)
        decay_factor = 0.0 if _NOT_DECAYED.search(name) else 1.0
        last_layer = "last_layer" in name
        empty = {
            "params": [],
            "names": [],
            "lr_factor": lr_factor,
            "decay_factor": decay_factor,
            "last_layer": last_layer,
        }
        group = groups.setdefault((lr_factor, decay_factor, last_layer), empty)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def _lr_factor(name: str, config: Config) -> float:
    # layers from the bottom: 0 is what comes before the first block, `top` the last norm and the heads
    top = config.model.depth + 1
    layer = top
    if block := _BLOCK.match(name):
        layer = int(block[1]) + 1
    elif name.startswith("backbone.") and not name.startswith("backbone.norm."):
        layer = 0
    further = config.optim.patch_embed_lr if name.startswith("backbone.patch_embed.") else 1.0
    return config.optim.layer_decay ** (top - layer) * further


def adamw(module: nn.Module, config: Config) -> torch.optim.AdamW:
    """Return the optimiser.

    One kernel for all parameters where they are whole, one per operation where they are sharded.
    """
    sharded = any(isinstance(parameter, DTensor) for parameter in module.parameters())
    groups = parameter_groups(module, config)
    return torch.optim.AdamW(
        groups, lr=0.0, betas=config.optim.betas, eps=1e-8, weight_decay=0.0, fused=not sharded, foreach=sharded
    )


def set_values(optimizer: torch.optim.Optimizer, values: Values) -> None:
    """Give every group the learning rate and weight decay of a step."""
    for group in optimizer.param_groups:
        group["lr"] = values.lr * group["lr_factor"]
        if values.prototypes_frozen and group["last_layer"]:
            group["lr"] = 0.0
        group["weight_decay"] = values.weight_decay * group["decay_factor"]


class LossScale:
    """Factor on the loss that keeps the gradients of float16 off zero; the optimiser sees them without it.

    Always a power of two, so that scaling loses no digit. Doubled after `interval` steps without overflow, halved at
    every overflow; an overflow at `floor` is an error, since no scale would help. For float32 and bfloat16 it is
    constantly one.

    Parameters
    ----------
    precision
        `run.precision` of the settings.
    start, floor, ceiling
        First, least and largest scale.
    interval
        Steps without overflow before it grows.
    """

    def __init__(
        self,
        precision: str = "float16",
        *,
        start: float = 2.0**16,
        floor: float = 1.0,
        ceiling: float = 2.0**24,
        interval: int = 2000,
    ) -> None:
        if precision != "float16":
            start = floor = ceiling = 1.0
        self.precision = precision
        self.value = start
        self.floor = floor
        self.ceiling = ceiling
        self.interval = interval
        self.calm = 0  # steps since the last change
        self.skipped = 0  # steps that an overflow left out

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss to call `backward` on."""
        return loss if self.value == 1 else loss * self.value

    def unscale_(self, grads: Iterable[torch.Tensor]) -> None:
        """Take the factor off gradients, in place."""
        scaled = list(grads)
        if self.value != 1 and scaled:
            torch._foreach_mul_(scaled, 1 / self.value)

    def update(self, *, finite: bool) -> bool:
        """Return whether the optimiser may take this step, and set the scale of the next.

        Parameters
        ----------
        finite
            Whether the gradients of all processes were; must be the same on all of them.

        Raises
        ------
        FloatingPointError
            If they were not, with the scale at its floor.
        """
        if not finite and self.value <= self.floor:
            msg = (
                f"Gradients are not finite at a loss scale of {self.value:g}, the least allowed. Scaling cannot help: "
                "look for the loss term that grew in the log, lower optim.lr, or train with run.precision='bfloat16'."
            )
            raise FloatingPointError(msg)
        if not finite:
            self.value = max(self.value / 2, self.floor)
            self.calm = 0
            self.skipped += 1
            return False
        self.calm += 1
        if self.calm >= self.interval:
            self.value = min(self.value * 2, self.ceiling)
            self.calm = 0
        return True

    def state_dict(self) -> dict[str, float | str]:
        """Return what a checkpoint keeps."""
        return {"precision": self.precision, "value": self.value, "calm": self.calm, "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; one of another precision says nothing about the scale, which then starts afresh."""
        if state["precision"] == self.precision:
            self.value = float(state["value"])
            self.calm = int(state["calm"])
            self.skipped = int(state["skipped"])
