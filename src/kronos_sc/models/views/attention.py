"""What the class token looks at: a view of a model whose tokens of all markers attend to each other."""

# Shapes: b images, m markers, h heads, r × c tokens per marker, t tokens in all, d width.
from __future__ import annotations

import operator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.nn import functional as F

from kronos_sc._core.arrays import writable
from kronos_sc._core.checks import one_of
from kronos_sc.models.views.attention_nets import ChannelRows, KronosRows, rows_of
from kronos_sc.models.views.base import View

if TYPE_CHECKING:
    from kronos_sc.models._model import Model
    from kronos_sc.models.nets.layers import Block

METHODS = ("cls", "rollout", "gradient")


class AttentionView(View):
    """Attention of the class token per marker.

    Kinds: `"attention"` (b, m), summed over the tokens of each marker; `"attention_map"` (b, m · r · c), token by
    token.

    Parameters
    ----------
    model
        An encoder with one sequence over all markers.
    method
        `"cls"`: the class token's row of one block. `"rollout"`: products of (A + 1) / 2 over the blocks up to that one
        (Abnar & Zuidema 2020). `"gradient"`: that row times the gradient, where it is positive (Chefer, Gur & Wolf
        2021).
    head
        Number of a head, `"first"`, or `"mean"` of all; the first for `"cls"` and the mean for the others if None.
    layer
        Position among the blocks that run.
    inside
        Weigh each token by the share of its area that belongs to the unit.
    direction
        What the gradient is of: the class feature along this vector (d); the squared length of the class token before
        the last normalisation, which fixes the length, if None.
    """

    def __init__(
        self,
        model: Model,
        *,
        method: str = "cls",
        head: str | int | None = None,
        layer: int = -1,
        inside: bool = False,
        direction: np.ndarray | None = None,
    ) -> None:
        super().__init__(model)
        if (rows := rows_of(model.net)) is None:
            msg = (
                f"{model.card.name!r} has no token that attends to the tokens of all markers, so there is no attention "
                "per marker to show. Take one that reads all markers as one sequence ('kronos', 'ca-mae'), or see what "
                "dropping a marker changes with tl.marker_ablation."
            )
            raise ValueError(msg)
        one_of(method, METHODS, name="method")
        self.method = method
        self.inside = inside
        self.heads = _heads(head, rows.heads, method)
        self.layer = _position(layer, rows.running)
        self.direction = None if direction is None else _direction(direction, model.width("cls", 1))
        if method == "gradient":
            _check_gradient(model, rows, layer, self.layer)
        elif direction is not None:
            msg = (
                f"direction= says what a gradient is of, and method={method!r} takes none. Leave it out, or pass "
                "method='gradient'."
            )
            raise ValueError(msg)
        self.card = replace(model.card, features=("attention", "attention_map"))

    @property
    def rows(self) -> KronosRows | ChannelRows:
        """How attention is read off the network, wherever it is."""
        return cast("KronosRows | ChannelRows", rows_of(self.net))  # networks without rows were refused at the start

    def width(self, kind: str, markers: int) -> int:
        """Return one number per marker (and location)."""
        if kind.startswith("attention"):
            return markers
        return self.model.width(kind, markers)

    def encode(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask_bhw: torch.Tensor, kinds: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Return the attention of the class token, by marker and by token."""
        rows = self.rows
        x_btd, grid = rows.sequence(pixels_bmhw.to(self.model.input_format), marker_ids_bm)
        row_bt = self._class_row(rows, x_btd)
        map_bmrc = row_bt[:, rows.prefix :].unflatten(1, (marker_ids_bm.shape[1], *grid))
        weighted = map_bmrc
        if self.inside:
            weighted = map_bmrc * F.avg_pool2d(mask_bhw[:, None].float(), rows.patch, rows.step)
        features = {"attention": weighted.sum((2, 3)), "attention_map": map_bmrc.flatten(1)}
        return {kind: features[kind] for kind in kinds}

    def _class_row(self, rows: KronosRows | ChannelRows, x_btd: torch.Tensor) -> torch.Tensor:
        """Return what the class token attends to (b, t; float32)."""
        blocks: list[Any] = rows.blocks[: self.layer + 1]
        inputs = []
        for block in blocks[:-1]:
            inputs.append(x_btd)
            x_btd = block(x_btd)
        if self.method == "gradient":
            return _gradient_row(self.net, blocks[-1], x_btd, self.heads, self.direction)
        row_bt = rows.first_row(blocks[-1], x_btd, self.heads).mean(1)
        return row_bt if self.method == "cls" else _rollout(rows, inputs, row_bt, self.heads)


def _rollout(rows: Any, inputs: list[torch.Tensor], row_bt: torch.Tensor, heads: slice) -> torch.Tensor:
    """Return the class token's row of the product of all (A + 1) / 2.

    A row goes backwards, so no product of matrices is made.
    """
    out = row_bt / 2
    out[:, 0] += 0.5
    for block, x_btd in reversed(list(zip(rows.blocks, inputs, strict=False))):
        out = (out + rows.passed_on(block, x_btd, out, heads)) / 2
    return out


def _gradient_row(
    net: Any, last: Block, x_btd: torch.Tensor, heads: slice, direction: torch.Tensor | None
) -> torch.Tensor:
    """Return attention times its gradient, where positive, mean over heads (b, t).

    The gradient goes through the class token alone, all else stands still.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        # clones, because tensors of inference mode take part in no gradient
        normed = last.norm1(x_btd).clone()
        token = x_btd[:, 0].clone()
        row_bht = last.attn.first_row(normed).detach().requires_grad_()
        token = last.ls1(token, last.attn.first_output(normed, row_bht))
        token = last.ls2(token, last.mlp(last.norm2(token)))
        if direction is not None:
            direction = direction.to(token.device, copy=True)
        value = token.float().square() if direction is None else net.norm(token).float() @ direction
        (gradient,) = torch.autograd.grad(value.sum(), row_bht)
        return (row_bht.detach() * gradient).clamp_min(0)[:, heads].mean(1)


def _check_gradient(model: Model, rows: KronosRows | ChannelRows, layer: int, position: int) -> None:
    """Raise a ValueError where the gradient of a block is not what `_weighed` computes."""
    if not isinstance(rows, KronosRows):
        msg = (
            f"method='gradient' goes through a block of KRONOS; for {model.card.name!r} there are 'cls' and 'rollout'. "
            "Choose one with method=."
        )
        raise ValueError(msg)  # noqa: TRY004 - the model of a call, not the type of an argument
    if position != len(rows.running) - 1:
        msg = (
            f"method='gradient' reads the last block that runs, got layer={layer}: earlier rows reach the class token "
            "through all other tokens as well. Leave layer out, or pass method='rollout'."
        )
        raise ValueError(msg)


def _heads(head: str | int | None, count: int, method: str) -> slice:
    """Return which heads are meant."""
    if head is None:
        head = "first" if method == "cls" else "mean"
    if head == "mean":
        return slice(0, count)
    if head == "first":
        return slice(0, 1)
    if isinstance(head, bool | str) or not hasattr(head, "__index__") or not 0 <= operator.index(head) < count:
        msg = f"head={head!r} is not a choice; head can be 'first', 'mean' or a number from 0 to {count - 1}."
        raise ValueError(msg)
    return slice(operator.index(head), operator.index(head) + 1)


def _position(layer: int, running: tuple[int, ...]) -> int:
    """Return the position of a block among those that run, counted from the first."""
    count = len(running)
    if isinstance(layer, bool) or not hasattr(layer, "__index__") or not -count <= operator.index(layer) < count:
        msg = (
            f"layer={layer!r} is not a choice; {count} blocks run ({', '.join(map(str, running))}): layer can be 0 to "
            f"{count - 1}, or -1 for the last."
        )
        raise ValueError(msg)
    return operator.index(layer) % count


def _direction(direction: np.ndarray | torch.Tensor, width: int) -> torch.Tensor:
    """Return a direction of the class feature (d, float32)."""
    if not isinstance(direction, torch.Tensor):
        direction = torch.from_numpy(writable(direction, np.float32))
    values = direction.float()
    if values.shape != (width,) or not bool(values.isfinite().all()):
        msg = (
            f"direction has the shape {tuple(values.shape)}; {width} finite numbers are needed, one per class feature "
            "(features='cls'). Marker features do not pass through the class token's attention. Pass the weights of a "
            "classifier on class features."
        )
        raise ValueError(msg)
    return values
