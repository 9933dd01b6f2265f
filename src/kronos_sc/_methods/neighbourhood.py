"""Means and variances of features over rings of a graph of units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

Read = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Slot:
    """Columns of the result: one statistic over one ring.

    Parameters
    ----------
    hop
        Distance of the ring in edges; 0 is the unit itself.
    stat
        `"value"` (hop 0), `"mean"` or `"var"`.
    start, stop
        First column and the one after the last.
    """

    hop: int
    stat: str
    start: int
    stop: int


def layout(width: int, hops: Sequence[int], stats: Sequence[str]) -> list[Slot]:
    """Return which columns hold what, for features of `width` columns."""
    kinds = [(hop, stat) for hop in hops for stat in (("value",) if hop == 0 else stats)]
    return [Slot(hop, stat, i * width, (i + 1) * width) for i, (hop, stat) in enumerate(kinds)]


def rings(graph: sparse.csr_matrix, rows: np.ndarray, last: int) -> Iterator[sparse.csr_matrix]:
    """Yield, for hop 1 to `last`, which units (rows × units, ones) lie at exactly that distance from `rows`.

    They are reached in so many steps and not in fewer. `graph` (units × units) has ones where an edge leads from a row
    to a column; values and diagonal do not matter.
    """
    n = len(rows)
    size = graph.shape[0]
    own = (np.ones(n, np.float32), (np.arange(n), rows))
    front = seen = sparse.csr_matrix(own, shape=(n, size))
    for _ in range(last):
        reached = _ones(front @ graph)
        front = _ones(reached - reached.multiply(seen))
        seen = seen + front
        yield front


def _ones(matrix: sparse.spmatrix) -> sparse.csr_matrix:
    """Return a matrix with ones where it is not zero."""
    ones = sparse.csr_matrix(matrix)
    ones.eliminate_zeros()
    ones.data = np.ones(len(ones.data), np.float32)
    return ones


def aggregate(
    read: Read,
    graph: sparse.csr_matrix,
    rows: np.ndarray,
    *,
    usable: np.ndarray,
    slots: Sequence[Slot],
    most: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return statistics over rings around some units, and how many of the rings were empty.

    Parameters
    ----------
    read
        Gives features (n × width, float32) for increasing row numbers.
    graph
        Adjacency (units × units).
    rows
        Units to describe, all of them usable.
    usable
        Which units count as neighbours (bool); paths may lead through the others.
    slots
        What to compute, of :func:`layout`.
    most
        Rows of features to hold at a time; rows whose neighbours are scattered over the table are done in smaller
        parts.

    Returns
    -------
    Values (rows × columns, float32) and, per row, the number of empty rings (int64). An empty ring takes the unit's own
    values as its mean and 0 as its variance: as if surrounded by its like.
    """
    last = max(slot.hop for slot in slots)
    around = {hop: _among(ring, usable) for hop, ring in enumerate(rings(graph, rows, last), 1)}
    needed = np.unique(np.concatenate([rows, *(ring.indices for ring in around.values())]))
    if len(needed) > most and len(rows) > 1:
        halves = [
            aggregate(read, graph, half, usable=usable, slots=slots, most=most) for half in np.array_split(rows, 2)
        ]
        return tuple(np.concatenate(parts) for parts in zip(*halves, strict=True))  # type: ignore[return-value]
    values = read(needed).astype(np.float64)
    own = values[np.searchsorted(needed, rows)]
    out = np.empty((len(rows), max(slot.stop for slot in slots)), np.float32)
    empty = np.zeros(len(rows), np.int64)
    for hop in sorted({slot.hop for slot in slots}):
        slot_of = {slot.stat: slot for slot in slots if slot.hop == hop}
        if hop == 0:
            out[:, slot_of["value"].start : slot_of["value"].stop] = own
            continue
        mean, variance, is_empty = _moments(around[hop], needed, values, own, variance="var" in slot_of)
        empty += is_empty
        for stat, values_of_stat in (("mean", mean), ("var", variance)):
            if stat in slot_of:
                out[:, slot_of[stat].start : slot_of[stat].stop] = values_of_stat
    return out, empty


def _among(ring: sparse.csr_matrix, usable: np.ndarray) -> sparse.csr_matrix:
    """Return a ring without the units that do not count; the ring itself stays, for the next one starts from it."""
    usable_ring = ring.copy()
    usable_ring.data *= usable[usable_ring.indices]
    usable_ring.eliminate_zeros()
    return usable_ring


def _moments(
    ring: sparse.csr_matrix, needed: np.ndarray, values: np.ndarray, own: np.ndarray, *, variance: bool
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Return mean and variance (population) over a ring, and which rings are empty."""
    counts = np.diff(ring.indptr)
    weights = np.repeat(1 / np.maximum(counts, 1), counts)
    local = sparse.csr_matrix(
        (weights, np.searchsorted(needed, ring.indices), ring.indptr), shape=(len(counts), len(values))
    )
    empty = counts == 0
    centre = values.mean(axis=0)  # squares are summed around it, for the sake of digits
    centred = values - centre
    mean = local @ centred
    spread = None
    if variance:  # one unit alone varies by nothing, whatever rounding says
        spread = np.maximum(local @ centred**2 - mean**2, 0)
        spread[counts <= 1] = 0
    mean += centre
    mean[empty] = own[empty]
    return mean, spread, empty
