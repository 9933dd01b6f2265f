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
from kronos_sc._embedding.signal import require_on_scale
from kronos_sc._store import FeatureBlock
from kronos_sc.models.inference import runner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import pandas as pd
    import torch

    from kronos_sc._embedding.jobs import RegionJob
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


def embed_blocks(
    job: RegionJob, config: InferenceConfig, *, turn: AbstractContextManager[Any] | None = None
) -> Iterator[FeatureBlock]:
    """Yield the blocks of a job one after the other, each read ahead while the one before it is encoded.

    Parameters
    ----------
    job
        What to read.
    config
        What to do with it.
    turn
        Held while a block is encoded, not while it is read.
    """
    preprocess_config = job.preprocess_config(config.used, config.features)
    kwargs = {"device": config.device, "dtype": config.dtype, "batch_size": config.batch_size}
    brightest: dict[int, float] = {}
    parts: list[runner.Encoded] = []
    # closed here, whatever the model raises: that ends the reader's thread, and the turn
    with (
        closing(patches.read(job.plan, nan=config.nan)) as read,
        closing(_while_in_turn(require_on_scale(read, job, brightest), turn)) as blocks,
    ):
        for part in runner.run(config.model, blocks, preprocess_config, **kwargs):
            parts.append(part)
            block = job.plan.blocks[part.block]
            if sum(len(part.units) for part in parts) == len(block.units):
                rows = job.units.rows[block.units]
                yield _join_parts(parts, job.numbers[part.block], rows, brightest.pop(part.block))
                parts = []


def _while_in_turn(
    blocks: Iterator[patches.PixelBlock], turn: AbstractContextManager[Any] | None
) -> Iterator[patches.PixelBlock]:
    """Yield the blocks while it is this job's turn, from the first that was read to the end."""
    first = next(blocks, None)
    if first is None:
        return
    # not given back between blocks: on a GPU the next one is asked for before this one is encoded
    with turn or nullcontext():
        yield first
        yield from blocks


def _join_parts(parts: list[runner.Encoded], number: int, rows: np.ndarray, brightest: float) -> FeatureBlock:
    features = {kind: np.concatenate([part.features[kind] for part in parts]) for kind in parts[0].features}
    pixels = np.concatenate([part.pixels for part in parts]).astype(np.int32)
    return FeatureBlock(number, rows, features, pixels, brightest)


def compute_locally(jobs: list[RegionJob], config: InferenceConfig, sink: Sink) -> None:
    """Embed all blocks of the jobs with the device of this process; features are put away meanwhile, in threads."""
    with (
        bar(total=sum(job.n_planned for job in jobs), description="embed", unit="unit") as progress,
        BackgroundWriter(sink, progress) as writer,
    ):
        for job in jobs:
            for block in embed_blocks(job, config):
                writer.put(block)


class BackgroundWriter:
    """Puts blocks away in threads, few at a time; those in hand are finished even if the computation fails."""

    def __init__(self, sink: Sink, progress: Any) -> None:
        self._sink = sink
        self._stage = sink.stager
        self._progress = progress
        self._max_pending = min(4, settings.read_threads)
        self._pool = ThreadPoolExecutor(self._max_pending, thread_name_prefix="kronos_sc-writer")
        self._pending: dict[Future[Any], int] = {}

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        first_error: Exception | None = None
        try:
            while self._pending:
                try:
                    self._accept_staged(n_left=0)
                except Exception as write_error:  # noqa: BLE001 - raised below; the others are still to be accepted
                    first_error = first_error or write_error
        finally:
            self._pool.shutdown(cancel_futures=True)
        if error is None and first_error is not None:
            raise first_error

    def put(self, block: FeatureBlock) -> None:
        """Take a block; wait while too many are in hand."""
        self._pending[self._pool.submit(self._stage, block)] = len(block.rows)
        self._accept_staged(n_left=self._max_pending)

    def _accept_staged(self, *, n_left: int) -> None:
        """Accept what is staged until at most so many blocks are in hand."""
        while True:
            failed: BaseException | None = None
            for future in [future for future in self._pending if future.done()]:
                units = self._pending.pop(future)
                if (error := future.exception()) is not None:
                    failed = failed or error
                    continue
                self._sink.accept(future.result())
                self._progress.update(units)
            # raised only now, after those that are whole were accepted
            if failed is not None:
                raise failed
            if len(self._pending) <= n_left:
                return
            wait(self._pending, return_when=FIRST_COMPLETED)
