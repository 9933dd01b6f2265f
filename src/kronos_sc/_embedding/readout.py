"""A pass over the pixels of some units of a table, for whatever is read off a model besides its features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from kronos_sc._core.checks import listed, near
from kronos_sc._embedding.compute import InferenceConfig, compute_here
from kronos_sc._embedding.exclusion import apply_exclusion, require_labels
from kronos_sc._embedding.jobs import Job, Options, per_region
from kronos_sc._embedding.provenance import record
from kronos_sc._embedding.request import EmbedRequest, subject
from kronos_sc._embedding.signal import warn_if_cut, warn_if_dim
from kronos_sc._embedding.sinks import MemorySink
from kronos_sc.models.inference import placement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import torch
    from anndata import AnnData
    from spatialdata import SpatialData

    from kronos_sc import models
    from kronos_sc._store import FeatureBlock


class Reading(TypedDict, total=False):
    """Which units and pixels are read, and how: keywords of :func:`kronos_sc.tl.embed`, with its defaults."""

    image_key: str | Mapping[str, str] | None
    labels_key: str | None
    shapes_key: str | None
    table_key: str | None
    spatial_key: str | None
    channels: Mapping[str, str | None] | Sequence[str] | pd.DataFrame | None
    exclude: str | Sequence[str] | Mapping[str, Any] | None
    patch_size: int | None
    mask_fill: str | None
    token_overlap: bool | None
    scale: str | None
    mpp: float | None
    max_value: float | None
    nan: str
    require_nuclear: bool
    precision: str
    batch_size: int | None
    device: str | torch.device | None


_DEFAULTS = dict.fromkeys(Reading.__annotations__) | {"mask_fill": "mean", "nan": "error", "require_nuclear": True, "precision": "auto"}


def completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all keywords; one that `tl.embed` does not have, or that has no meaning here, is a TypeError."""
    for name in given:
        if name not in _DEFAULTS:
            close = near(name, _DEFAULTS)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            msg = f"There is no argument {name!r}; which units and pixels are read is said by {listed(_DEFAULTS, most=20)}.{hint} See tl.embed."
            raise TypeError(msg)
    return _DEFAULTS | dict(given)


@dataclass(frozen=True)
class Readout:
    """A checked call, before any pixel is read.

    Parameters
    ----------
    about
        Table, images, model and panel.
    jobs
        What is read.
    rows
        Rows of the table that are read (int64, increasing).
    reading
        All keywords of the caller.
    panel
        With statistics.
    device, dtype
        Where and in which number format the network runs.
    words
        What the record says of excluded pixels.
    """

    about: EmbedRequest
    jobs: list[Job]
    rows: np.ndarray
    reading: dict[str, Any]
    panel: pd.DataFrame
    device: torch.device
    dtype: torch.dtype
    words: dict[str, list[str]]

    @property
    def table(self) -> AnnData:
        """The user's table."""
        return self.about.target.table

    @property
    def used(self) -> pd.DataFrame:
        """Panel of the markers that are read."""
        return self.panel[self.panel["id"] >= 0]

    def of(self, rows: np.ndarray) -> Readout:
        """Return a pass over some of the rows."""
        return replace(self, rows=np.sort(rows), jobs=_only(self.jobs, rows, self.table.n_obs))

    def compute(self, view: models.Model, widths: dict[str, int]) -> dict[str, np.ndarray]:
        """Return what a view of the model gives for each row (rows × width, float32), by kind."""
        sink = _Drawn(self.rows, widths)
        how = (self.reading["nan"], self.reading["batch_size"], self.device, self.dtype)
        compute_here(self.jobs, InferenceConfig(view, self.used, tuple(widths), *how), sink)
        for job in self.jobs:
            units = job.units.subset(np.flatnonzero(np.isin(job.units.rows, self.rows)))
            at = np.searchsorted(self.rows, units.rows)
            warn_if_dim(job, float(sink.brightest()[at].max()))
            warn_if_cut(units, sink.pixels()[at])
        return {kind: sink.features(kind) for kind in widths}

    def record(self, model: models.Model, *, seconds: float) -> dict[str, Any]:
        """Return what is to be remembered of the pass."""
        reading = self.reading
        params = per_region(self.jobs)
        params |= {name: reading[name] for name in ("scale", "mpp", "nan", "spatial_key", "require_nuclear", "batch_size")} | self.words
        number_format = str(self.dtype).removeprefix("torch.")
        return record(model, self.panel, params, precision=number_format, device=self.device.type, seconds=seconds)


def prepare(sdata: SpatialData, view: models.Model, given: Mapping[str, Any], kinds: tuple[str, ...]) -> Readout:
    """Check a call: units, images, markers, device.

    Parameters
    ----------
    sdata
        Holds them.
    view
        The model, or a view of it.
    given
        Keywords of the caller, checked by :func:`completed`.
    kinds
        What is read off.
    """
    reading = dict(given)
    size, batch = reading["patch_size"], reading["batch_size"]
    checked = Options.checked("marker", reading["mask_fill"], reading["nan"], reading["precision"], "float32", batch, size)
    require_labels(sdata, reading["exclude"])
    device = placement.choose_device(reading["device"])
    dtype = placement.choose_dtype(reading["precision"] if view.net is not None else "float32", device)
    where = {name: reading[name] for name in ("image_key", "labels_key", "shapes_key", "scale")} | {"table": reading["table_key"]}
    options = replace(checked, features=kinds)
    about = subject(sdata, view, options, where, channels=reading["channels"], require_nuclear=reading["require_nuclear"])
    jobs = about.jobs(sdata, mpp=reading["mpp"], spatial_key=reading["spatial_key"], max_value=reading["max_value"])
    left = apply_exclusion(sdata, jobs, reading["exclude"], about.target.table.n_obs)
    panel = about.completed(max_value=reading["max_value"], out=left.out)
    rows = np.sort(np.concatenate([job.units.rows for job in left.jobs]))
    return Readout(about, left.jobs, rows, reading, panel, device, dtype, left.words)


def rows_named(run: Readout, ids: Sequence[str] | None) -> np.ndarray:
    """Return the rows of named units, all that are read if None."""
    if ids is None:
        return run.rows
    names = [ids] if isinstance(ids, str) else [str(name) for name in ids]
    table = run.table
    if not names or not table.obs_names.is_unique:
        what = "ids is empty." if not names else "obs_names of the table are repeated, so units cannot be named."
        msg = (
            f"{what} There are units called {listed(table.obs_names[:3])}; pass some, make names unique with table.obs_names_make_unique(), "
            "or leave ids out."
        )
        raise ValueError(msg)
    rows = table.obs_names.get_indexer(names)
    there = (rows >= 0) & np.isin(rows, run.rows)
    if not there.all():
        lost = [name for name, ok in zip(names, there, strict=True) if not ok]
        msg = (
            f"No units {listed(lost)} are read in {run.about.target}; names look like {listed(table.obs_names[run.rows[:3]])}. "
            "Pass obs_names of the table, or name their region with labels_key= or shapes_key=."
        )
        raise KeyError(msg)
    return np.unique(rows)


def _only(jobs: list[Job], rows: np.ndarray, n_obs: int) -> list[Job]:
    """Return the jobs with nothing but the units of these rows."""
    wanted = np.zeros(n_obs, bool)
    wanted[rows] = True
    out = []
    for job in jobs:
        groups = [block.units[wanted[job.units.rows[block.units]]] for block in job.plan.blocks]
        kept = [(group, number) for group, number in zip(groups, job.numbers, strict=True) if len(group)]
        if kept:
            out.append(job.with_blocks([group for group, _ in kept], [number for _, number in kept]))
    return out


class _Drawn(MemorySink):
    """Holds the rows that are read, not the whole table's."""

    def __init__(self, rows: np.ndarray, widths: dict[str, int]) -> None:
        super().__init__(len(rows), widths, "float32")
        self._rows = rows

    def accept(self, staged: FeatureBlock) -> None:
        super().accept(replace(staged, rows=np.searchsorted(self._rows, staged.rows)))
