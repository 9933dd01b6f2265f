"""The transformer of `kronos_sc` as it is trained, from outside.

Dropped paths, crops of several sizes in one pass, recomputation.
"""

# Shapes: n crops, m markers, h × w pixels, p positions (tokens of one marker), t tokens, d width, k kept crops.
from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from kronos_pretrain.rng import RngStream, generator
from kronos_sc._core.arrays import writable
from kronos_sc.models import KronosViT, ViTConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kronos_pretrain.config.schema import Model
    from kronos_pretrain.data.batch import Crops
    from kronos_sc.models.nets.layers import Attention, Block, LayerScale

BRANCHES = 2  # attention and MLP
# On processors, torch's fused attention is slow in the backward pass of short sequences (measured for 20 to 125 tokens,
# with gradients: 1.0 to 3.5 times the time of three plain operations in float32, 2.3 to 5 times in bfloat16); beyond
# some hundred tokens it is the faster one.
SHORT = 256


class Kept(NamedTuple):
    """Which crops of one size a branch runs on.

    Parameters
    ----------
    rows
        Their rows (k,), int64.
    scale
        Factor on the branch, so that its expectation is that of running on all.
    """

    rows: torch.Tensor
    scale: float


class DropPath:
    """Dropped paths of one step (Huang et al. 2016).

    Each branch of each block skips the same number of crops, others every time.

    The crops are drawn from all crops of the step over all processes, by their numbers: the same ones are dropped
    however the batch is spread. Skipped crops are left out of the computation, as DINOv2 does, and not multiplied by
    zero.

    Parameters
    ----------
    rate
        Share that is skipped.
    seed, step
        Of the run.
    index
        Numbers of this pass's samples in the batch.
    batch
        Samples of the step over all processes.
    device
        Where the network runs.
    """

    def __init__(
        self, rate: float, *, seed: int, step: int, index: torch.Tensor, batch: int, device: torch.device
    ) -> None:
        self.rate = rate
        self.seed = seed
        self.step = step
        self.batch = batch
        self.index = index.cpu()
        self.device = device

    def kept(self, block: int, branch: int, group: int, views: int) -> Kept | None:
        """Return the crops that one branch of one block runs on, among the crops of one size; None for all of them."""
        total = views * self.batch
        count = max(round(total * (1 - self.rate)), 1)
        if count == total:
            return None
        place = (block * BRANCHES + branch) * 8 + group  # 8: more than there are sizes
        rng = generator(self.seed, RngStream.DROP_PATH, step=self.step, index=place)
        chosen = rng.permutation(total)[:count]

        # drawn among all crops of the step, then those of this pass's samples
        runs = torch.zeros(total, dtype=torch.bool)
        runs[torch.from_numpy(writable(chosen))] = True
        rows = runs.view(views, self.batch)[:, self.index].flatten().nonzero()[:, 0]
        if len(rows) == 0:
            # none on this process: run one with weight 0, for the sake of the processes that wait for its gradient
            return Kept(rows.new_zeros(1).to(self.device), 0.0)
        return Kept(rows.to(self.device, non_blocking=True), total / count)


class TrainedBlock(nn.Module):
    """A block that runs over crops of several sizes; it shares the block's modules, and so the names of its parameters.

    Parameters
    ----------
    block
        Block of the model.
    recompute
        Compute activations again in the backward pass instead of keeping them.
    """

    def __init__(self, block: Block, *, recompute: bool = False) -> None:
        super().__init__()
        self.norm1 = block.norm1
        self.attn = block.attn
        self.ls1 = block.ls1
        self.norm2 = block.norm2
        self.mlp = block.mlp
        self.ls2 = block.ls2
        self.recompute = recompute

    def forward(
        self, xs: Sequence[torch.Tensor], kept: Sequence[tuple[Kept | None, Kept | None]]
    ) -> list[torch.Tensor]:
        """Run attention and MLP on each tensor (n, t, d), both on the crops that are kept."""
        if self.recompute and torch.is_grad_enabled():
            return [
                checkpoint(self._run, x, *branches, use_reentrant=False) for x, branches in zip(xs, kept, strict=True)
            ]
        return [self._run(x, *branches) for x, branches in zip(xs, kept, strict=True)]

    def _run(self, x_ntd: torch.Tensor, first: Kept | None, second: Kept | None) -> torch.Tensor:
        x_ntd = _add(x_ntd, lambda x: _attend(self.attn, self.norm1(x)), self.ls1, first)
        return _add(x_ntd, lambda x: self.mlp(self.norm2(x)), self.ls2, second)


def _attend(attn: Attention, x_ntd: torch.Tensor) -> torch.Tensor:
    """Return the model's attention, by plain operations where they are the faster way to the same numbers."""
    if x_ntd.device.type != "cpu" or x_ntd.shape[1] > SHORT or not torch.is_grad_enabled():
        return attn(x_ntd)
    q, k, v = attn.split(x_ntd)
    weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)
    return attn.proj((weights @ v).transpose(1, 2).flatten(2))


def _add(
    x_ntd: torch.Tensor, branch: Callable[[torch.Tensor], torch.Tensor], gain: LayerScale, kept: Kept | None
) -> torch.Tensor:
    """Return x + γ · branch(x), with the branch computed for the kept crops alone."""
    if kept is None:
        return gain(x_ntd, branch(x_ntd))
    out_ktd = branch(x_ntd[kept.rows]) * gain.gamma
    return torch.index_add(x_ntd, 0, kept.rows, out_ktd.to(x_ntd.dtype), alpha=kept.scale)


def architecture(model: Model) -> ViTConfig:
    """Return the shape of the network that settings describe."""
    return ViTConfig(**{field.name: getattr(model, field.name) for field in fields(ViTConfig)})


def make(config: Model, *, seed: int, recompute: bool = False) -> KronosViT:
    """Return the model with fresh weights and trainable blocks.

    The same seed gives the same weights on every process.
    """
    with torch.random.fork_rng(devices=[]):  # the weights that the constructor draws are replaced
        net = KronosViT(architecture(config), blocks="all")
    net.reset(weight_rng(seed))
    for chunk in net.blocks:
        for name, block in list(chunk.items()):
            for gain in (block.ls1, block.ls2):
                nn.init.constant_(gain.gamma, config.layer_scale)
            chunk[name] = TrainedBlock(block, recompute=recompute)
    return net


def weight_rng(seed: int, module: int = 0) -> torch.Generator:
    """Return the source of a module's fresh weights; the backbone is module 0, heads count from 1."""
    number = generator(seed, RngStream.WEIGHTS, index=module).integers(2**62)
    return torch.Generator().manual_seed(int(number))


def encode(
    net: KronosViT, crops: Sequence[Crops], *, mask_np: torch.Tensor | None = None, drop: DropPath | None = None
) -> list[torch.Tensor]:
    """Run all blocks on crops of several sizes and return their sequences (n, t, d) before the final norm.

    Each block is entered once for all sizes, so that sharded weights are gathered once.

    Parameters
    ----------
    net
        Made by :func:`make`.
    crops
        Crops by size.
    mask_np
        Positions of the first size's crops to hide (n, p), on every marker the same.
    drop
        Dropped paths; None to run every branch on every crop.
    """
    xs = [net.embed(c.pixels, c.marker_ids, mask_np if group == 0 else None)[0] for group, c in enumerate(crops)]
    for index in net.running:
        kept = [
            tuple(drop.kept(index, branch, group, c.views) if drop else None for branch in range(BRANCHES))
            for group, c in enumerate(crops)
        ]
        xs = net.block(index)(xs, kept)
    return xs
