"""A block on its way through a cluster: what travels, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kronos_sc.patches import _serialize

if TYPE_CHECKING:
    from kronos_sc._embedding.dask.worker import BlockError
    from kronos_sc._embedding.jobs import RegionJob
    from kronos_sc.patches import Raster


@dataclass(eq=False)
class Task:
    """One block and its fate.

    Parameters
    ----------
    job
        That the block belongs to.
    index
        Of the block in the job's plan.
    image
        The job's image as other processes can read it; None if its pixels must be sent.
    tries
        How often it failed.
    worker_losses
        How often through the death of its workers.
    avoid_workers
        Addresses of the workers on which it failed.
    error
        The last failure.
    bytes
        That travel.
    """

    job: RegionJob
    index: int
    image: Raster | None
    tries: int = 0
    worker_losses: int = 0
    avoid_workers: set[str] = field(default_factory=set)
    error: BlockError | None = None
    bytes: int = 0

    @property
    def units(self) -> int:
        """How many it owns."""
        return len(self.job.plan.blocks[self.index].units)

    def serialize(self, nan: str) -> bytes:
        """Return the job of this block alone, ready to travel."""
        from distributed.protocol import serialize_bytes

        job = self.job.only(self.index)
        plan = _serialize.with_pixels(job.plan, nan=nan) if self.image is None else replace(job.plan, image=self.image)
        return serialize_bytes(replace(job, plan=plan))

    def __str__(self) -> str:
        job = self.job
        rect = job.plan.blocks[self.index].rect
        image = job.plan.image
        height, width = image.shape
        rows = f"{max(0, rect.y0)}–{min(height, rect.y1)}"
        columns = f"{max(0, rect.x0)}–{min(width, rect.x1)}"
        return (
            f"block {job.numbers[self.index]} ({self.units} units of {job.units.region!r}, rows {rows}, columns "
            f"{columns} of {image.name!r})"
        )


def tasks(jobs: list[RegionJob]) -> list[Task]:
    """Return the blocks of all jobs, in order."""
    images = [_serialize.by_reference(job.plan.image) for job in jobs]
    return [
        Task(job, index, image)
        for job, image in zip(jobs, images, strict=True)
        for index in range(len(job.plan.blocks))
    ]
