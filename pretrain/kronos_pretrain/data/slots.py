"""Shared memory through which workers hand over samples: claimed once, so that it is enough from the start or never."""

# Shapes: w workers, s slots of each, b samples, t sets of markers, m markers, h × w pixels.
from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from kronos_pretrain.data.batch import Samples
from kronos_pretrain.data.dataset import Key, Patches

PART = 32  # samples that a worker reads at a time
AHEAD = 2  # parts of each worker that are asked for before they are needed
SLOTS = AHEAD + 1  # while a part is copied out of its slot, its worker may be at the AHEAD-th after it, at none later


class Ticket(NamedTuple):
    """Where the pixels of a part lie, and what of it is small."""

    worker: int
    slot: int
    marker_ids: np.ndarray
    zero: np.ndarray


class Slots(Dataset):
    """The dataset as workers see it: pixels go into the worker's next slot, and a ticket comes back.

    A batch is read in parts, by all workers together. Fresh shared memory for every one, torch's way, costs a page
    fault for every 4 KiB and a message with a file descriptor, and where /dev/shm is small it kills a worker in the
    middle of a run.

    Parameters
    ----------
    patches
        The samples.
    workers, part
        Number of workers, and largest number of samples in a part.

    Raises
    ------
    RuntimeError
        If there is not enough shared memory.
    """

    def __init__(self, patches: Patches, *, workers: int, part: int) -> None:
        self._patches = patches
        self._count = 0  # parts that this worker has read
        size = part * patches.most_values
        try:
            self._pixels = torch.empty((workers, SLOTS, size)).share_memory_()
        except RuntimeError as error:
            msg = (
                f"data.workers={workers} needs {workers * SLOTS * size * 4 / 2**20:,.0f} MiB of shared memory "
                f"(/dev/shm), which are not there: {error}. "
                "Allow more (`docker run --shm-size`), or set a smaller data.workers (0 needs none)."
            )
            raise RuntimeError(msg) from error

    def __getitems__(self, keys: list[Key]) -> Ticket:
        """Read a part into a slot; called in a worker."""
        worker = get_worker_info().id
        slot = self._count % SLOTS
        self._count += 1
        part = self._patches.read(keys, self._patches.blank(keys, pixels=self._pixels[worker, slot]))
        return Ticket(worker, slot, part.marker_ids.numpy(), part.zero.numpy())  # type: ignore[union-attr]

    def collect(self, ticket: Ticket, batch: Samples, first: int) -> None:
        """Copy a part out of its slot, to sample `first` of a batch.

        Called in the training process, before the next ticket is asked for.
        """
        rows = slice(first, first + len(ticket.marker_ids))
        out_btmhw = batch.pixels[rows]
        part_btmhw = self._pixels[ticket.worker, ticket.slot, : out_btmhw.numel()].view(out_btmhw.shape)
        # by numpy: torch would start a team of threads beside those of the training loop
        np.copyto(out_btmhw.numpy(), part_btmhw.numpy())
        batch.marker_ids.numpy()[rows] = ticket.marker_ids
        batch.zero.numpy()[rows] = ticket.zero  # type: ignore[union-attr]
