"""The model and its heads: what student and teacher both are.

Everything that needs weights happens inside one forward.
"""

# Shapes: n crops, m markers, p positions, t tokens, d width, q hidden tokens, k prototypes.
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from kronos_pretrain import backbone
from kronos_pretrain.data.batch import Crops
from kronos_pretrain.heads import Head
from kronos_sc.models import Features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kronos_pretrain.config.schema import Config


class Hidden(NamedTuple):
    """Positions of the global crops that the student does not see.

    Parameters
    ----------
    mask
        (n, p), True where hidden.
    rows
        Rows of the hidden tokens among all tokens (n · m · p) of the global crops (q,): by crop, marker, position.
    """

    mask: torch.Tensor
    rows: torch.Tensor

    @classmethod
    def from_mask(cls, mask_np: torch.Tensor, markers: int, device: torch.device) -> Hidden:
        """Return the hidden tokens of a mask.

        Found before the mask goes to the device, so that the device need not be waited for.
        """
        n, p = mask_np.shape
        rows = mask_np[:, None].expand(n, markers, p).flatten().nonzero()[:, 0]
        return cls(mask_np.to(device, non_blocking=True), rows.to(device, non_blocking=True))


class Outputs(NamedTuple):
    """What a network says of a batch.

    Rows are the class tokens of each size of crop, then the hidden tokens (q, if there is a mask).

    The rows are split by the methods and not by the network: sharded modules must not return views.

    Parameters
    ----------
    normed
        Tokens after the final norm (rows, d).
    scores
        Over the prototypes (rows, k); without the hidden tokens if those have a head of their own.
    separate
        Scores of the hidden tokens by their own head (q, k), or None.
    sizes
        Class tokens by size of crop, then hidden tokens.
    """

    normed: torch.Tensor
    scores: torch.Tensor
    separate: torch.Tensor | None
    sizes: list[int]

    def cls(self) -> list[torch.Tensor]:
        """Return the class tokens by size of crop, (n, d) each."""
        return list(self.normed.split(self.sizes))[:-1]

    def parts(self) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the scores of the class tokens by size of crop, (n, k) each, and those of the hidden tokens (q, k)."""
        if self.separate is not None:
            return list(self.scores.split(self.sizes[:-1])), self.separate
        *cls, hidden = self.scores.split(self.sizes)
        return cls, hidden


class Network(nn.Module):
    """The model and its heads: what the student and the teacher both are.

    Everything that needs weights happens inside `forward`, so that sharding (which gathers weights when a module is
    entered) can be applied from outside.

    Parameters
    ----------
    config
        Settings of the run.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.backbone = backbone.make(config.model, seed=config.run.seed, recompute=config.parallel.recompute)
        self.dino_head = Head(config.head, config.model.dim)
        self.ibot_head = Head(config.head, config.model.dim) if config.head.separate else None
        for number, head in enumerate(filter(None, (self.dino_head, self.ibot_head)), start=1):
            head.reset(backbone.weight_rng(config.run.seed, module=number))

    def forward(
        self,
        crops: Sequence[Crops],
        hidden: Hidden | None = None,
        *,
        see_all: bool = False,
        drop: backbone.DropPath | None = None,
    ) -> Outputs:
        """Encode crops by size, the global ones first, and score class tokens and hidden tokens.

        Parameters
        ----------
        crops
            Crops by size.
        hidden
            Hidden positions of the first size.
        see_all
            Score the hidden positions without hiding them: the teacher's side.
        drop
            Dropped paths.
        """
        net = self.backbone
        mask = None if hidden is None or see_all else hidden.mask
        xs = backbone.encode(net, crops, mask_np=mask, drop=drop)

        # the final norm and the heads see only the tokens that a loss needs
        tokens = [x[:, 0] for x in xs]
        n_hidden = 0
        if hidden is not None:
            tokens.append(_tokens(xs[0], hidden.rows, before=1 + net.config.registers))
            n_hidden = len(hidden.rows)
        sizes = [*(len(x) for x in xs), n_hidden]
        rows = net.norm(torch.cat(tokens))

        if hidden is None or self.ibot_head is None:
            # all rows at once, so that the head's sharded weights are gathered once
            return Outputs(rows, self.dino_head(rows), None, sizes)
        count = sum(sizes[:-1])
        return Outputs(rows, self.dino_head(rows[:count]), self.ibot_head(rows[count:]), sizes)

    @torch.no_grad()
    def frozen(self, pixels_nmhw: torch.Tensor, marker_ids_nm: torch.Tensor) -> Features:
        """Return class token, marker means and tokens of patches, as the exported model gives them.

        Float32 and without a graph.
        """
        net = self.backbone
        x_ntd = net.norm(backbone.encode(net, [Crops(pixels_nmhw, marker_ids_nm, views=1)])[0]).float()
        grid = [edge // net.config.patch for edge in pixels_nmhw.shape[-2:]]
        tokens = x_ntd[:, 1 + net.config.registers :].unflatten(1, (marker_ids_nm.shape[1], *grid))
        return Features(x_ntd[:, 0], tokens.mean((2, 3)), tokens)


def _tokens(x_ntd: torch.Tensor, rows_q: torch.Tensor, *, before: int) -> torch.Tensor:
    """Return some tokens (q, d) by their rows among all tokens of all crops.

    Each sequence has `before` others in front.
    """
    tokens = x_ntd.shape[1] - before
    return x_ntd.flatten(0, 1).index_select(0, rows_q + (rows_q // tokens + 1) * before)
