"""Time of a training step of vits16 with small crops, beside a plain reference step of the same mathematics.

The reference has naive attention and goes crop by crop.
"""

# Shapes: b samples, n crops, m markers, p positions, t tokens, d width, k prototypes.
import argparse
import statistics
import tempfile
import time
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from kronos_pretrain import parallel
from kronos_pretrain.backbone import BRANCHES
from kronos_pretrain.config.schema import Checkpoints, Config, Data, Optim, Run, Views
from kronos_pretrain.data.batch import GLOBAL_VIEWS, Samples
from kronos_pretrain.network import Network
from kronos_pretrain.optim import parameter_groups
from kronos_pretrain.schedule import schedules
from kronos_pretrain.trainer import Trainer
from kronos_sc.models.inference import instructions

MARKERS = (4, 140, 200)


class Reference:
    """One crop at a time through the network, every intermediate in memory, no sharding.

    The same losses and the same update.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.student = Network(config)
        self.teacher = Network(config).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.student, config), betas=config.optim.betas, eps=1e-8, foreach=False
        )
        self.centers = {name: torch.zeros(config.head.prototypes) for name in ("dino", "ibot")}

    def encode(self, network: Network, pixels_mhw, ids_m, *, hidden_p=None, runs=None) -> torch.Tensor:
        """Return the normed sequence (t, d) of one crop.

        `runs[block][branch]` is 0 where the branch is dropped, else its factor.
        """
        net = network.backbone
        x, _ = net.embed(pixels_mhw[None], ids_m[None], None if hidden_p is None else hidden_p[None])
        for index in net.running:
            block = net.block(index)
            for branch in range(BRANCHES):
                factor = 1.0 if runs is None else runs[index][branch]
                if factor == 0:
                    continue
                if branch == 0:
                    q, k, v = block.attn.split(block.norm1(x))
                    weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)
                    out = block.attn.proj((weights @ v).transpose(1, 2).flatten(2)) * block.ls1.gamma
                else:
                    out = block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x)))) * block.ls2.gamma
                x = x + out * factor
        return net.norm(x)[0]

    def losses(self, batch, temperature: float) -> dict[str, torch.Tensor]:
        """Return the loss terms of a batch and remember the teacher's scores."""
        loss = self.config.loss
        n_prefix = 1 + self.config.model.registers
        large, small, hidden, drop = batch
        b = len(large.pixels) // GLOBAL_VIEWS
        markers = large.marker_ids.shape[1]
        tokens_seen = [hidden.mask[n].repeat(markers).nonzero()[:, 0] for n in range(len(large.pixels))]

        def runs(group: int, views: int, number: int) -> list[list[float]] | None:
            if drop is None:
                return None
            local_numbers = [
                [drop.kept(i, branch, group, views) for branch in range(BRANCHES)]
                for i in range(self.config.model.depth)
            ]
            return [
                [1.0 if k is None else k.scale * bool((k.rows == number).any()) for k in branches]
                for branches in local_numbers
            ]

        with torch.no_grad():
            rows = [self.encode(self.teacher, large.pixels[n], large.marker_ids[n]) for n in range(2 * b)]
            self.teacher_dino = self.teacher.dino_head(torch.stack([x[0] for x in rows]))
            self.teacher_ibot = self.teacher.dino_head(
                torch.cat([x[n_prefix:][seen] for x, seen in zip(rows, tokens_seen, strict=True)])
            )
        targets = torch.softmax((self.teacher_dino - self.centers["dino"]) / temperature, -1)
        token_targets = torch.softmax((self.teacher_ibot - self.centers["ibot"]) / temperature, -1)
        cls = []
        tokens = []
        local = []
        for n in range(2 * b):
            x = self.encode(
                self.student,
                large.pixels[n],
                large.marker_ids[n],
                hidden_p=hidden.mask[n],
                runs=runs(0, GLOBAL_VIEWS, n),
            )
            cls.append(x[0])
            tokens.append(x[n_prefix:][tokens_seen[n]])
        if small is not None:
            local_numbers = range(len(small.pixels))
            local = [
                self.encode(self.student, small.pixels[n], small.marker_ids[n], runs=runs(1, small.views, n))[0]
                for n in local_numbers
            ]
        scores = F.log_softmax(self.student.dino_head(torch.stack(cls + local)) / loss.student_temperature, -1)
        pairs = {"dino_global": 0.0, "dino_local": 0.0}
        share = 1 / (b * (2 * self.config.views.local_count + 2))
        for n in range(2 * b):
            pairs["dino_global"] = pairs["dino_global"] - share * (targets[(n + b) % (2 * b)] * scores[n]).sum()
        for n in range(len(local)):
            for view in range(GLOBAL_VIEWS):
                pairs["dino_local"] = (
                    pairs["dino_local"] - share * (targets[view * b + n % b] * scores[2 * b + n]).sum()
                )
        per_token = -(
            token_targets * F.log_softmax(self.student.dino_head(torch.cat(tokens)) / loss.student_temperature, -1)
        ).sum(-1)
        # the mean over the hidden tokens of a crop, then over crops: few tokens weigh as much as many
        ibot = sum(part.mean() / (2 * b) for part in per_token.split([len(t) for t in tokens]) if len(part))
        koleo = 0.0
        for view in torch.stack(cls).chunk(GLOBAL_VIEWS):
            unit = F.normalize(view, dim=1, eps=1e-8)
            distance = (unit[:, None] - unit[None] + 1e-8).square().sum(-1) + 10 * torch.eye(b)
            nearest = distance.detach().argmin(1)
            koleo = koleo - torch.log(F.pairwise_distance(unit, unit[nearest], eps=1e-8) + 1e-8).mean()
        terms = {**pairs, "ibot": ibot, "koleo": koleo}
        weights = {"dino_global": loss.dino, "dino_local": loss.dino, "ibot": loss.ibot, "koleo": loss.koleo}
        return terms | {"total": sum(weights[name] * value for name, value in terms.items())}

    def step(self, batch, values) -> dict[str, float]:
        """Run a whole step."""
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0 if values.prototypes_frozen and group["last_layer"] else values.lr * group["lr_factor"]
            group["weight_decay"] = values.weight_decay * group["decay_factor"]
        terms = self.losses(batch, values.teacher_temperature)
        terms["total"].backward()
        for part in self.student.children():
            torch.nn.utils.clip_grad_norm_(part.parameters(), self.config.optim.clip, foreach=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            for teacher_weight, student_weight in zip(
                self.teacher.parameters(), self.student.parameters(), strict=True
            ):
                teacher_weight.copy_(values.momentum * teacher_weight + (1 - values.momentum) * student_weight)
            keep = self.config.loss.center_momentum
            for name, scores in (("dino", self.teacher_dino), ("ibot", self.teacher_ibot)):
                self.centers[name] = keep * self.centers[name] + (1 - keep) * scores.mean(0)
        return {name: float(torch.as_tensor(value).detach()) for name, value in terms.items()}


class Fixed:
    """The same random samples every step, in place of a loader."""

    def __init__(self, config: Config, rank: int = 0, world: int = 1) -> None:
        share = config.optim.batch // world
        self.index = torch.arange(rank * share, (rank + 1) * share)
        size = config.data.patch
        markers = len(MARKERS)
        rng = np.random.default_rng(0)
        self.pixels = torch.from_numpy(
            rng.normal(size=(config.optim.batch, 1, markers, size, size)).astype(np.float32)
        )[self.index]
        self.ids = torch.tensor(MARKERS).expand(share, 1, markers)
        self.step = 0

    def __next__(self) -> Samples:
        self.step += 1
        return Samples(self.step - 1, self.index, self.pixels, self.ids)


class NeverStop:
    asked = False


def settings(batch: int, precision: str) -> Config:
    """Return vits16 with the crops of a cell-scale model; LayerScale starts at 0.1 so that every block matters."""
    config = Config(
        run=Run(device="cpu", precision=precision, epochs=1, epoch_steps=100),
        views=Views(global_size=64, local_size=32),
        data=Data(patch=96),
        optim=Optim(batch=batch, warmup_epochs=0.1, freeze_last_layer_epochs=0.01),
        checkpoints=Checkpoints(every=10**9),
    )
    return replace(config, model=replace(config.model, layer_scale=0.1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each, in turn")
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; vits16, 2 views of 64 px + 8 of 32 px, 3 "
        f"markers, batch {options.batch}"
    )
    for precision in ("float32", "bfloat16"):
        config = settings(options.batch, precision)
        with parallel.processes(config) as procs, tempfile.TemporaryDirectory() as folder:
            config = replace(config, run=replace(config.run, folder=folder))
            trainer = Trainer(config, procs, None)
            reference = Reference(settings(options.batch, "float32"))
            stop = NeverStop()
            values = schedules(config)
            reader = Fixed(config)
            times: dict[str, list[float]] = {"ours": [], "reference": []}
            for step in range(options.steps + 1):
                started = time.perf_counter()
                with instructions.products(getattr(torch, precision), procs.device):
                    ours = trainer.take_step(reader, stop).losses["total"]
                trainer.step += 1
                times["ours"].append(time.perf_counter() - started)
                started = time.perf_counter()
                theirs = reference.step(trainer.batch(next_of(reader, step)), values(step))["total"]
                times["reference"].append(time.perf_counter() - started)
                if step == 0:
                    print(f"{precision}: loss of the first step {ours:.5f}, reference (float32) {theirs:.5f}")
            ours, theirs = (statistics.median(times[name][1:]) for name in ("ours", "reference"))
            print(
                f"{precision}: {ours:.2f} s a step, reference {theirs:.2f} s, ratio {theirs / ours:.2f}; "
                f"{options.batch / ours:.1f} samples/s"
            )


def next_of(reader: Fixed, step: int) -> Samples:
    """Return the samples of a step that was read already."""
    return Samples(step, reader.index, reader.pixels, reader.ids)


if __name__ == "__main__":
    main()
