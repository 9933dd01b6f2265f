"""Blocks of pixels → blocks of features, on this machine; the same steps run on the workers of a cluster."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc import models, patches
from kronos_sc._core.progress import bar
from kronos_sc._core.settings import settings
from kronos_sc._embedding.signal import watched
from kronos_sc._store import FeatureBlock
from kronos_sc.models.inference import runner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import pandas as pd
    import torch

    from kronos_sc._embedding.jobs import Job
    from kronos_sc._embedding.sinks import Sink


@dataclass(frozen=True)
class InferenceConfig:
    """What turns pixels into features.

    Parameters
    ----------
    model
        The network, wherever it is; it goes to the device by itself.
    used
        Panel of the markers to embed.
    features
        Kinds to compute.
    nan
        `"error"` or `"zero"`.
    batch_size
        Units per pass; None lets the device decide.
    device, dtype
        Where and in which number format the network runs.
    """

    model: models.Model
    used: pd.DataFrame
    features: tuple[str, ...]
    nan: str
    batch_size: int | None
    device: torch.device
    dtype: torch.dtype


def embedded(
    job: Job, encoder: InferenceConfig, *, turn: AbstractContextManager[Any] | None = None
) -> Iterator[FeatureBlock]:
    """Yield the blocks of a job one after the other, each read ahead while the one before it is encoded.

    Parameters
    ----------
    job
        What to read.
    encoder
        What to do with it.
    turn
        Held while a block is encoded, not while it is read.
    """
    preprocess_config = job.preprocess_config(encoder.used, encoder.features)
    how = {"device": encoder.device, "dtype": encoder.dtype, "batch_size": encoder.batch_size}
    brightest: dict[int, float] = {}
    parts: list[runner.Encoded] = []
    # closed here, whatever the model raises: it ends the reader's thread, and the turn
    with (
        closing(patches.read(job.plan, nan=encoder.nan)) as read,
        closing(_in_turn(watched(read, job, brightest), turn)) as blocks,
    ):
        for part in runner.run(encoder.model, blocks, preprocess_config, **how):
            parts.append(part)
            block = job.plan.blocks[part.block]
            if sum(len(part.units) for part in parts) == len(block.units):
                yield _joined(parts, job.numbers[part.block], job.units.rows[block.units], brightest.pop(part.block))
                parts = []


def _in_turn(
    blocks: Iterator[patches.PixelBlock], turn: AbstractContextManager[Any] | None
) -> Iterator[patches.PixelBlock]:
    """Yield the blocks while it is this job's turn, from the first that was read to the end."""
    first = next(blocks, None)
    if first is None:
        return
    with (
        turn or nullcontext()
    ):  # not given back between blocks: on a GPU the next one is asked for before this one is encoded
        yield first
        yield from blocks


def _joined(parts: list[runner.Encoded], number: int, rows: np.ndarray, brightest: float) -> FeatureBlock:
    features = {kind: np.concatenate([part.features[kind] for part in parts]) for kind in parts[0].features}
    return FeatureBlock(
        number, rows, features, np.concatenate([part.pixels for part in parts]).astype(np.int32), brightest
    )


def compute_here(jobs: list[Job], encoder: InferenceConfig, sink: Sink) -> None:
    """Embed all blocks of the jobs with the device of this process; features are put away meanwhile, in threads."""
    with (
        bar(total=sum(job.n_planned for job in jobs), description="embed", unit="unit") as shown,
        BackgroundWriter(sink, shown) as away,
    ):
        for job in jobs:
            for block in embedded(job, encoder):
                away.put(block)


class BackgroundWriter:
    """Puts blocks away in threads, few at a time; those in hand are finished even if the computation fails."""

    def __init__(self, sink: Sink, shown: Any) -> None:
        self._sink, self._stage, self._shown = sink, sink.stager, shown
        self._most = min(4, settings.read_threads)
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="kronos_sc-writer")
        self._pending: dict[Future[Any], int] = {}

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        late: Exception | None = None
        try:
            while self._pending:
                try:
                    self._settle(most=0)
                except Exception as found:  # noqa: BLE001 - raised below; the others are still to be accepted
                    late = late or found
        finally:
            self._pool.shutdown(cancel_futures=True)
        if error is None and late is not None:
            raise late

    def put(self, block: FeatureBlock) -> None:
        """Take a block; wait while too many are in hand."""
        self._pending[self._pool.submit(self._stage, block)] = len(block.rows)
        self._settle(most=self._most)

    def _settle(self, *, most: int) -> None:
        """Accept what is staged until at most so many blocks are in hand."""
        while True:
            failed: BaseException | None = None
            for future in [future for future in self._pending if future.done()]:
                units = self._pending.pop(future)
                if (error := future.exception()) is not None:
                    failed = failed or error
                    continue
                self._sink.accept(future.result())
                self._shown.update(units)
            if failed is not None:  # after those that are whole
                raise failed
            if len(self._pending) <= most:
                return
            wait(self._pending, return_when=FIRST_COMPLETED)
