"""Settings that contradict each other, found before anything is read or computed."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kronos_pretrain.config.schema import Config


def check(config: Config) -> None:
    """Raise a ValueError that lists every contradiction, with what to change."""
    _refuse([*_model(config), *_data(config), *_views(config), *_losses(config), *_schedules(config), *_watch(config)])


def check_machine(config: Config, *, processes: int, device: str) -> None:
    """Raise a ValueError if the settings do not fit the machine.

    Parameters
    ----------
    config
        Settings.
    processes
        How many there are.
    device
        Kind of the device, `"cpu"` or `"cuda"`.
    """
    _refuse(_machine(config, processes, device))


def _refuse(contradictions: Iterable[str]) -> None:
    lines = list(contradictions)
    if lines:
        many = f"{len(lines)} settings contradict each other:\n- " if len(lines) > 1 else ""
        raise ValueError(many + "\n- ".join(lines))


def _model(c: Config) -> Iterable[str]:
    m = c.model
    if m.dim % (2 * m.heads):
        heads = _divisors(m.dim // 2)
        yield f"model.heads={m.heads} must divide half of model.dim={m.dim}; {m.dim} allows {heads} heads."
    if m.depth % m.chunks:
        chunks = _divisors(m.depth)
        yield f"model.chunks={m.chunks} must divide model.depth={m.depth}; {m.depth} allows {chunks} chunks."


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, number + 1) if number % n == 0) or "no"


def _data(c: Config) -> Iterable[str]:
    simulate = c.data.simulate
    if c.data.corpus and simulate.images:
        yield (
            f"data.corpus={c.data.corpus!r} and data.simulate.images={simulate.images} are two sources of samples; "
            'keep one: data.corpus="" or data.simulate.images=0.'
        )
    if not c.data.corpus and not simulate.images:
        yield (
            "There is no source of samples: set data.corpus to a folder written by `corpus build`, or "
            "data.simulate.images to at least 1."
        )
    if simulate.images and simulate.size < c.data.patch:
        yield f"data.simulate.size={simulate.size} is smaller than one sample, data.patch={c.data.patch}."


def _views(c: Config) -> Iterable[str]:
    names = ["global_size"]
    if c.views.local_count:
        names.append("local_size")
    for name in names:
        size = getattr(c.views, name)
        token = c.model.patch
        if size % token:
            below = size // token * token
            near = f"{below} or {below + token}" if below else str(token)
            yield f"views.{name}={size} must be a multiple of the token size, model.patch={token}: {near}."
        if size > c.data.patch:
            yield (
                f"views.{name}={size} is larger than a sample, data.patch={c.data.patch}: views would show nothing but "
                "interpolated pixels."
            )


def _losses(c: Config) -> Iterable[str]:
    if not c.loss.dino and not c.loss.ibot:
        yield (
            "loss.dino and loss.ibot are both 0, so the student has nothing to learn from the teacher; give one of "
            "them a weight."
        )
    tokens = (c.views.global_size // c.model.patch) ** 2
    hidden = int(tokens * c.masks.ratio[1])
    if c.loss.ibot and tokens < 2:
        yield (
            f"loss.ibot={c.loss.ibot} needs tokens to hide and others to see, but "
            f"views.global_size={c.views.global_size} has one token of {c.model.patch} pixels; set loss.ibot=0 or a "
            "larger view."
        )
    elif c.loss.ibot and (not c.masks.fraction or not hidden):
        yield (
            f"loss.ibot={c.loss.ibot} but masks.fraction={c.masks.fraction} and masks.ratio={list(c.masks.ratio)} hide "
            f"none of the {tokens} tokens of a view; hide some, or set loss.ibot=0."
        )
    yield from _lonely(c, c.optim.batch, f"optim.batch={c.optim.batch}")


def _lonely(c: Config, samples: int, what: str) -> Iterable[str]:
    """Complain about terms that compare samples where there is one."""
    if samples < 2 and c.loss.koleo:
        yield (
            f"loss.koleo={c.loss.koleo} pushes samples apart and needs at least two at a time, got {what}; set "
            "loss.koleo=0 or more samples."
        )
    if samples < 2 and c.loss.centering == "sinkhorn":
        yield (
            f"loss.centering='sinkhorn' balances prototypes over samples and needs at least two at a time, got {what}; "
            "use 'softmax'."
        )


def _schedules(c: Config) -> Iterable[str]:
    epochs = c.run.epochs
    warmups = {
        "optim.warmup_epochs": c.optim.warmup_epochs,
        "teacher.temperature_epochs": c.teacher.temperature_epochs,
    }
    for key, length in warmups.items():
        if length > epochs:
            yield (
                f"{key}={length:g} is longer than the run, run.epochs={epochs}; its final value would never be reached."
            )
    if c.optim.freeze_last_layer_epochs >= epochs:
        frozen = c.optim.freeze_last_layer_epochs
        yield (
            f"optim.freeze_last_layer_epochs={frozen:g} covers the whole run, run.epochs={epochs}; the prototypes "
            "would never learn."
        )

    # the peak grows with the batch, the end does not: a small batch may turn the schedule round
    peak = c.optim.lr * sqrt(c.optim.batch / 1024)
    if c.optim.lr_end > peak:
        yield (
            f"optim.lr_end={c.optim.lr_end:g} is above the peak, optim.lr={c.optim.lr:g} · √(batch / 1024) = "
            f"{peak:.3g}."
        )
    if c.optim.lr_start > c.optim.lr:
        yield f"optim.lr_start={c.optim.lr_start:g} is above optim.lr={c.optim.lr:g}, to which the warm-up climbs."
    if c.parallel.micro_batch and c.optim.batch % c.parallel.micro_batch:
        yield f"parallel.micro_batch={c.parallel.micro_batch} must divide optim.batch={c.optim.batch}."
    if c.run.precision == "float16" and c.run.device == "cpu":
        yield "run.precision='float16' needs a GPU, but run.device='cpu'; use 'auto'."


def _watch(c: Config) -> Iterable[str]:
    if c.watch.labelled and c.watch.simulated_cells:
        yield (
            f"watch.labelled={c.watch.labelled!r} and watch.simulated_cells={c.watch.simulated_cells} are two sets of "
            "labels; keep one."
        )
    if c.watch.evaluate_every and not (c.watch.labelled or c.watch.simulated_cells):
        yield (
            f"watch.evaluate_every={c.watch.evaluate_every} needs labelled cells: set watch.labelled to a file written "
            "by `labelled`, watch.simulated_cells to a number, or watch.evaluate_every=0."
        )


def _machine(c: Config, processes: int, device: str) -> Iterable[str]:
    if device == "cpu" and c.run.precision == "float16":
        yield (
            "run.precision='float16' needs a GPU and there is none; use run.precision=bfloat16 or float32 (of a run "
            "begun in it, with --override)."
        )
    if c.parallel.shard and processes % c.parallel.shard:
        yield (
            f"parallel.shard={c.parallel.shard} must divide the number of processes, {processes}; 0 shards over all of "
            "them."
        )
    if c.optim.batch % processes:
        yield f"optim.batch={c.optim.batch} cannot be shared by {processes} processes; use a multiple of {processes}."
        return
    micro_batch = c.parallel.micro_batch
    share = c.optim.batch // processes
    if micro_batch and share % micro_batch:
        yield (
            f"parallel.micro_batch={micro_batch} must divide a process's share, {c.optim.batch} / {processes} = "
            f"{share}."
        )
        return
    samples = (micro_batch or share) * processes
    if c.optim.batch > 1:  # a batch of one is refused before
        yield from _lonely(c, samples, f"parallel.micro_batch={micro_batch} on {processes} process")
