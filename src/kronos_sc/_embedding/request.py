"""A call: what is asked for, checked before any pixel is read; then the plan, by which the pixels are read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc import models, patches
from kronos_sc._core.checks import one_of
from kronos_sc._embedding import window
from kronos_sc._embedding.blocks import numbered
from kronos_sc._embedding.exclusion import ExclusionResult, apply_exclusion
from kronos_sc._embedding.jobs import RegionJob, make_job, per_region
from kronos_sc._embedding.panel import complete, panel_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from spatialdata import SpatialData

    from kronos_sc._embedding.read_options import ReadOptions
    from kronos_sc.markers._panel import Panel


def feature_kinds(features: str | Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of features asked for, each once; a ValueError lists the choices."""
    kinds = (features,) if isinstance(features, str) else tuple(features)
    for kind in kinds or ("",):
        one_of(kind, ("marker", "cls"), name="features")
    return tuple(dict.fromkeys(kinds))


@dataclass(frozen=True, eq=False)
class EmbedRequest:
    """A checked call; no pixel was read for it.

    Parameters
    ----------
    sdata
        Holds images, regions and table.
    target
        The table, its regions and their images.
    model
        The encoder, or a view of one.
    options
        Which units and pixels are read, and how.
    kinds
        What is read off the model for each unit.
    panel
        Which marker each channel is; markers may still lack statistics.
    """

    sdata: SpatialData
    target: patches.EmbedTarget
    model: models.Model
    options: ReadOptions
    kinds: tuple[str, ...]
    panel: Panel

    @classmethod
    def of(cls, sdata: SpatialData, model: models.Model, options: ReadOptions, kinds: tuple[str, ...]) -> EmbedRequest:
        """Find table, regions, images and markers, or raise an error that says what to change."""
        target = options.find_target(sdata)
        _require_supported(model, kinds, options.patch_size)
        images = list(target.images.values())
        panel = panel_for(images, model, options.channels, require_nuclear=options.require_nuclear)
        return cls(sdata, target, model, options, kinds, panel)

    @property
    def table(self) -> AnnData:
        """The user's table."""
        return self.target.table

    @property
    def widths(self) -> dict[str, int]:
        """Features per unit, by kind."""
        return {kind: self.model.width(kind, len(self.panel.used)) for kind in self.kinds}

    def plan(self) -> EmbedPlan:
        """Scan labels for their cells, divide regions into blocks, and measure what statistics are lacking."""
        options = self.options
        jobs = [
            make_job(self.sdata, self.target, region, image, self.model, self.panel.channels, options)
            for region, image in self.target.images.items()
        ]
        # before statistics are measured: excluded pixels do not count in them
        exclusion = apply_exclusion(self.sdata, numbered(jobs), options.exclude, self.table.n_obs)
        panel = complete(
            self.panel,
            list(self.target.images.values()),
            self.model,
            max_value=options.max_value,
            nan=options.nan,
            excluded=exclusion.excluded,
        )
        return EmbedPlan(self, exclusion.jobs, panel, exclusion)


@dataclass(frozen=True, eq=False)
class EmbedPlan:
    """A call whose units and blocks are known.

    Parameters
    ----------
    request
        What was asked for.
    jobs
        What is read, one per region, without what is excluded; blocks are numbered through the call.
    panel
        With statistics for every marker that is read.
    exclusion
        What was left out.
    """

    request: EmbedRequest
    jobs: list[RegionJob]
    panel: Panel
    exclusion: ExclusionResult

    @cached_property
    def used(self) -> pd.DataFrame:
        """Panel of the markers that are read."""
        return self.panel.used

    @property
    def rows(self) -> np.ndarray:
        """Rows of the table that are read (int64, increasing)."""
        return np.sort(np.concatenate([job.units.rows for job in self.jobs]))

    @property
    def parameters(self) -> dict[str, Any]:
        """What the record keeps of the call: one value per region, then what holds for all."""
        return per_region(self.jobs) | self.request.options.recorded | self.exclusion.labels

    @cached_property
    def edge(self) -> np.ndarray:
        """Which rows of the table have a window that reaches beyond the image (bool)."""
        edge = np.zeros(self.request.table.n_obs, bool)
        for job in self.jobs:
            edge[job.units.rows] = job.units.edge(job.plan.image.shape)
        return edge


def _require_supported(model: models.Model, kinds: tuple[str, ...], patch_size: int | None) -> None:
    """Raise a ValueError unless the model gives these features and takes this size."""
    for kind in kinds:
        if kind not in model.card.features:
            msg = (
                f"{model.card.name!r} gives no {kind!r} features; it gives: {', '.join(model.card.features)}. Choose "
                "one with features=."
            )
            raise ValueError(msg)
    if patch_size is not None:
        window.check_patch(patch_size, model)
