"""A pass over the pixels of some units of a table, for whatever is read off a model besides its features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import listed
from kronos_sc._embedding.compute import InferenceConfig, compute_locally
from kronos_sc._embedding.provenance import record
from kronos_sc._embedding.request import EmbedPlan, EmbedRequest
from kronos_sc._embedding.signal import warn_if_cut, warn_if_dim
from kronos_sc._embedding.sinks import MemorySink
from kronos_sc.models.inference import placement
from kronos_sc.patches._exclude import excluded_codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import torch
    from anndata import AnnData
    from spatialdata import SpatialData

    from kronos_sc import models, patches
    from kronos_sc._embedding.jobs import RegionJob
    from kronos_sc._embedding.read_options import ReadOptions
    from kronos_sc._store import FeatureBlock


@dataclass(frozen=True, eq=False)
class Readout:
    """A planned pass over the pixels of some units, by a model or a view of one.

    Parameters
    ----------
    plan
        The call, and the jobs of the rows that are read.
    rows
        Rows of the table that are read (int64, increasing).
    device, dtype
        Where and in which number format the network runs.
    """

    plan: EmbedPlan
    rows: np.ndarray
    device: torch.device
    dtype: torch.dtype

    @property
    def target(self) -> patches.EmbedTarget:
        """The table, its regions and their images."""
        return self.plan.request.target

    @property
    def table(self) -> AnnData:
        """The user's table."""
        return self.target.table

    @property
    def used(self) -> pd.DataFrame:
        """Panel of the markers that are read."""
        return self.plan.used

    def of(self, rows: np.ndarray) -> Readout:
        """Return a pass over some of the rows."""
        jobs = _jobs_of_rows(self.plan.jobs, rows, self.table.n_obs)
        return replace(self, plan=replace(self.plan, jobs=jobs), rows=np.sort(rows))

    def compute(self, view: models.Model, widths: dict[str, int]) -> dict[str, np.ndarray]:
        """Return what a view of the model gives for each row (rows × width, float32), by kind."""
        options = self.plan.request.options
        sink = _SampleSink(self.rows, widths)
        config = InferenceConfig(
            view, self.used, tuple(widths), options.nan, options.batch_size, self.device, self.dtype
        )
        compute_locally(self.plan.jobs, config, sink)
        for job in self.plan.jobs:
            units = job.units.subset(np.flatnonzero(np.isin(job.units.rows, self.rows)))
            position = np.searchsorted(self.rows, units.rows)
            warn_if_dim(job, float(sink.brightest()[position].max()))
            warn_if_cut(units, sink.pixels()[position])
        return {kind: sink.features(kind) for kind in widths}

    def record(self, model: models.Model, *, seconds: float) -> dict[str, Any]:
        """Return what is to be remembered of the pass."""
        parameters = self.plan.parameters | {"batch_size": self.plan.request.options.batch_size}
        number_format = placement.dtype_name(self.dtype)
        return record(
            model, self.plan.panel, parameters, precision=number_format, device=self.device.type, seconds=seconds
        )


def prepare(sdata: SpatialData, view: models.Model, options: ReadOptions, kinds: tuple[str, ...]) -> Readout:
    """Check a call and plan it: units, images, markers, device.

    Parameters
    ----------
    sdata
        Holds them.
    view
        The model, or a view of it.
    options
        Which units and pixels are read, and how.
    kinds
        What is read off.
    """
    excluded_codes(sdata, options.exclude)
    device = placement.choose_device(options.device)
    dtype = placement.choose_dtype(placement.precision_for_model(options.precision, view), device)
    plan = EmbedRequest.of(sdata, view, options, kinds).plan()
    return Readout(plan, plan.rows, device, dtype)


def rows_named(run: Readout, ids: Sequence[str] | None) -> np.ndarray:
    """Return the rows of named units, all that are read if None."""
    if ids is None:
        return run.rows
    names = [ids] if isinstance(ids, str) else [str(name) for name in ids]
    table = run.table
    if not names or not table.obs_names.is_unique:
        what = "ids is empty." if not names else "obs_names of the table are repeated, so units cannot be named."
        msg = (
            f"{what} There are units called {listed(table.obs_names[:3])}; pass some, make names unique with "
            "table.obs_names_make_unique(), or leave ids out."
        )
        raise ValueError(msg)
    rows = table.obs_names.get_indexer(names)
    is_read = (rows >= 0) & np.isin(rows, run.rows)
    if not is_read.all():
        missing = [name for name, is_found in zip(names, is_read, strict=True) if not is_found]
        msg = (
            f"No units {listed(missing)} are read in {run.target}; names look like "
            f"{listed(table.obs_names[run.rows[:3]])}. Pass obs_names of the table, "
            "or name their region with labels_key= or shapes_key=."
        )
        raise KeyError(msg)
    return np.unique(rows)


def _jobs_of_rows(jobs: list[RegionJob], rows: np.ndarray, n_obs: int) -> list[RegionJob]:
    """Return the jobs with nothing but the units of these rows."""
    is_wanted = np.zeros(n_obs, bool)
    is_wanted[rows] = True
    kept_jobs = []
    # blocks keep their bounds and numbers, and so their reads, with fewer units in them
    for job in jobs:
        groups = [block.units[is_wanted[job.units.rows[block.units]]] for block in job.plan.blocks]
        kept = [(group, number) for group, number in zip(groups, job.numbers, strict=True) if len(group)]
        if kept:
            kept_jobs.append(job.with_blocks([group for group, _ in kept], [number for _, number in kept]))
    return kept_jobs


class _SampleSink(MemorySink):
    """Holds the rows that are read, not the whole table's."""

    def __init__(self, rows: np.ndarray, widths: dict[str, int]) -> None:
        super().__init__(len(rows), widths, "float32")
        self._rows = rows

    def accept(self, staged: FeatureBlock) -> None:
        super().accept(replace(staged, rows=np.searchsorted(self._rows, staged.rows)))
