"""Units on pixels that are left out: dropped from the jobs, so that nothing is read or computed for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc import patches
from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc._embedding.blocks import numbered
from kronos_sc.patches._exclude import checked

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from kronos_sc._embedding.jobs import Job


def require_labels(sdata: SpatialData, exclude: Any) -> None:
    """Raise a KeyError for labels or classes that do not exist; reads no pixel."""
    checked(sdata, exclude)


@dataclass(frozen=True)
class ExclusionResult:
    """What is left of a call.

    Parameters
    ----------
    jobs
        Without the excluded units.
    flags
        Which rows of the table were excluded (bool); None if nothing was to be.
    words
        A line for the record.
    out
        Excluded pixels, by image.
    """

    jobs: list[Job]
    flags: np.ndarray | None = None
    words: dict[str, list[str]] = field(default_factory=dict)
    out: dict[str, patches.Exclusion] = field(default_factory=dict)


def apply_exclusion(sdata: SpatialData, jobs: list[Job], exclude: Any, rows: int) -> ExclusionResult:
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
    found = patches.exclusions(sdata, exclude, [job.plan.image for job in jobs])
    flags = np.zeros(rows, bool)
    left = []
    for job in jobs:
        units, image = job.units, job.plan.image
        if image.name not in found:
            left.append(job)
            continue
        out = found[image.name].at(units.y + units.size // 2, units.x + units.size // 2)
        flags[units.rows[out]] = True
        if not out.all():
            kept = units.subset(~out)
            left.append(replace(job, units=kept, plan=patches.plan(image, job.plan.channels, kept)))
    words = list(dict.fromkeys(word for one in found.values() for word in one.words))
    total = sum(len(job.units) for job in jobs)
    if not left:
        msg = f"All {total:,} units lie on excluded pixels ({listed(words)}), so there is nothing to embed. Exclude fewer classes, or check the labels."
        raise ValueError(msg)
    info(f"{int(flags.sum()):,} of {total:,} units lie on excluded pixels ({', '.join(words)}) and are not embedded")
    return ExclusionResult(numbered(left), flags, {"exclude": words}, found)
