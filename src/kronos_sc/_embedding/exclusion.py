"""Units on pixels that are left out: dropped from the jobs, so that nothing is read or computed for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc import patches
from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc._embedding.blocks import numbered

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from kronos_sc._embedding.jobs import RegionJob


@dataclass(frozen=True)
class ExclusionResult:
    """What is left of a call, and what was left out.

    Parameters
    ----------
    jobs
        Without the excluded units.
    is_excluded
        Which rows of the table were excluded (bool); None if nothing was to be.
    labels
        What the record says of it: the labels and classes under `"exclude"`; empty if nothing was to be.
    excluded
        Excluded pixels, by image.
    """

    jobs: list[RegionJob]
    is_excluded: np.ndarray | None = None
    labels: dict[str, list[str]] = field(default_factory=dict)
    excluded: dict[str, patches.Exclusion] = field(default_factory=dict)


def apply_exclusion(sdata: SpatialData, jobs: list[RegionJob], exclude: Any, rows: int) -> ExclusionResult:
    """Return the jobs without units whose centre lies on an excluded pixel.

    Parameters
    ----------
    sdata
        Holds the labels.
    jobs
        All of the call.
    exclude
        See :func:`kronos_sc.patches.exclusion`; with None all stay, and there are no flags.
    rows
        Of the table.
    """
    if exclude is None:
        return ExclusionResult(jobs)
    exclusions = patches.exclusions(sdata, exclude, [job.plan.image for job in jobs])
    is_excluded = np.zeros(rows, bool)
    kept_jobs = []
    for job in jobs:
        units = job.units
        image = job.plan.image
        if image.name not in exclusions:
            kept_jobs.append(job)
            continue
        # the pixel at the centre decides, also for cells that reach onto excluded ones
        on_excluded = exclusions[image.name].at(units.y + units.size // 2, units.x + units.size // 2)
        is_excluded[units.rows[on_excluded]] = True
        if not on_excluded.all():
            kept = units.subset(~on_excluded)
            kept_jobs.append(replace(job, units=kept, plan=patches.plan(image, job.plan.channels, kept)))

    labels = list(dict.fromkeys(label for one in exclusions.values() for label in one.labels))
    total = sum(len(job.units) for job in jobs)
    if not kept_jobs:
        msg = (
            f"All {total:,} units lie on excluded pixels ({listed(labels)}), so there is nothing to embed. "
            "Exclude fewer classes, or check the labels."
        )
        raise ValueError(msg)
    info(
        f"{int(is_excluded.sum()):,} of {total:,} units lie on excluded pixels ({', '.join(labels)}) and are not "
        "embedded"
    )
    return ExclusionResult(numbered(kept_jobs), is_excluded, {"exclude": labels}, exclusions)
