"""Which blocks a call consists of, and which of them are left to do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kronos_sc._embedding.jobs import RegionJob


def numbered(jobs: list[RegionJob]) -> list[RegionJob]:
    """Return the jobs with their blocks numbered through the whole call."""
    ends = np.cumsum([len(job.plan.blocks) for job in jobs])
    return [
        replace(job, numbers=tuple(range(end - len(job.plan.blocks), end)))
        for job, end in zip(jobs, ends.tolist(), strict=True)
    ]


def table_rows(jobs: list[RegionJob]) -> np.ndarray:
    """Return the rows of the table of each block (blocks × capacity, int64).

    -1 where a block has fewer units than the largest.

    The capacity is a power of two, so that rows can be compressed in equal groups.
    """
    blocks = [job.units.rows[block.units] for job in jobs for block in job.plan.blocks]
    capacity = 1 << (max(map(len, blocks)) - 1).bit_length()
    rows = np.full((len(blocks), capacity), -1, np.int64)
    for line, members in zip(rows, blocks, strict=True):
        line[: len(members)] = members
    return rows


def remaining(jobs: list[RegionJob], rows: np.ndarray, done: np.ndarray) -> list[RegionJob]:
    """Return the jobs with the blocks that are not done, as an earlier call divided them."""
    total = 1 + max(int(job.units.rows.max()) for job in jobs)
    # by row of the table: which job reads it, and where the unit stands in that job
    owner = np.full(total, -1)
    position = np.full(total, -1)
    for index, job in enumerate(jobs):
        owner[job.units.rows] = index
        position[job.units.rows] = np.arange(len(job.units))

    groups: list[list[np.ndarray]] = [[] for _ in jobs]
    numbers: list[list[int]] = [[] for _ in jobs]
    for number in np.flatnonzero(~done).tolist():
        members = rows[number][rows[number] >= 0]
        groups[owner[members[0]]].append(position[members])
        numbers[owner[members[0]]].append(number)

    per_job = zip(jobs, groups, numbers, strict=True)
    return [job.with_blocks(job_groups, job_numbers) for job, job_groups, job_numbers in per_job if job_groups]
