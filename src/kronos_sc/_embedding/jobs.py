"""What is to be done, checked and planned before any pixel is read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc import models, patches
from kronos_sc._core.intensity import max_value as full_scale
from kronos_sc._embedding import window
from kronos_sc.models.inference.preprocess import PreprocessConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from spatialdata import SpatialData

    from kronos_sc._embedding.read_options import ReadOptions


@dataclass(frozen=True)
class RegionJob:
    """One region on one image.

    Parameters
    ----------
    units
        All units of the region.
    plan
        Blocks to read.
    patch_size
        Edge of the model's input in pixels.
    mask_fill
        What pixels outside the cell become; None for boxes.
    max_value
        Raw value that becomes 1.
    given_max
        The same if the user named it.
    numbers
        Number of each block of the plan within the call.
    """

    units: patches.Units
    plan: patches.ReadPlan
    patch_size: int
    mask_fill: str | None
    max_value: float
    given_max: float | None
    numbers: tuple[int, ...] = field(default=())

    @property
    def n_planned(self) -> int:
        """Units of the blocks to read."""
        return sum(len(block.units) for block in self.plan.blocks)

    def with_blocks(self, groups: Sequence[np.ndarray], numbers: Sequence[int]) -> RegionJob:
        """Return a job that reads only these groups of units (positions), as blocks of these numbers."""
        return replace(
            self,
            plan=patches.plan(self.plan.image, self.plan.channels, self.units, groups=groups),
            numbers=tuple(numbers),
        )

    def only(self, index: int) -> RegionJob:
        """Return a job of one block alone, small enough to be sent to another machine."""
        plan = self.plan.only(index)
        return replace(self, units=plan.units, plan=plan, numbers=(self.numbers[index],))

    def preprocess_config(self, used: pd.DataFrame, features: tuple[str, ...]) -> PreprocessConfig:
        """Return how pixels of this region become input of the model."""
        ids = used["id"].to_numpy(np.int64)
        mean = used["mean"].to_numpy(float)
        std = used["std"].to_numpy(float)
        return PreprocessConfig(ids, mean, std, self.max_value, self.patch_size, self.mask_fill, features)


def per_region(jobs: Sequence[RegionJob]) -> dict[str, list[Any]]:
    """Return what the record keeps of a call, one value per region."""
    return {
        "regions": [job.units.region for job in jobs],
        "images": [job.plan.image.name for job in jobs],
        "patch_size": [job.patch_size for job in jobs],
        "window": [job.units.size for job in jobs],
        "mask_fill": [job.mask_fill or "" for job in jobs],
        "max_value": [job.max_value for job in jobs],
    }


def make_job(
    sdata: SpatialData,
    target: patches.EmbedTarget,
    region: str,
    image: patches.Raster,
    model: models.Model,
    channels: list[str],
    options: ReadOptions,
) -> RegionJob:
    """Plan one region: windows and blocks."""
    boxes = region in sdata.shapes
    size = window.window(image, patch_size=options.patch_size, mpp=options.mpp, boxes=boxes)
    units = patches.units(
        sdata, target.table, target.annotation, region, image, size=size.source, spatial_key=options.spatial_key
    )
    # boxes whose size the user left open: only the boxes themselves say how large they are
    if size.patch is None:
        size = window.for_boxes(units.size, image, model, options.mpp)
        units = units.resized(size.source)
    window.check_patch(size.patch, model)

    plan = patches.plan(image, [image.channels.index(name) for name in channels], units)
    if options.nan == "error":
        patches.require_stored(plan)
    scale = full_scale(image.data.dtype, options.max_value, image=image.name)
    mask_fill = None if boxes else options.mask_fill  # all of a box belongs to it
    return RegionJob(units, plan, size.patch, mask_fill, scale, options.max_value)
