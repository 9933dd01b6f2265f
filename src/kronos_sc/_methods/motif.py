"""Where cells of certain types stand together."""

from __future__ import annotations

import numpy as np


def motifs_around(xy: np.ndarray, types: np.ndarray, needed: np.ndarray, radius: float) -> np.ndarray:
    """Return how many motifs can be put together from the cells around each cell (int64, one per cell).

    Those within `radius` count, and the cell itself. `xy` (cells × 2), `types` (int64) numbers into `needed`, the cells
    of each type that one motif takes; -1 for all other types, around which nothing is counted. No cell counts for two
    motifs.
    """
    taking_part = np.flatnonzero(types >= 0)
    counts = np.zeros(len(xy), np.int64)
    cell, other = _within(xy[taking_part], radius)
    counts[taking_part] = _complete(cell, types[taking_part][other], len(taking_part), needed)
    return counts


def motifs_inside(
    xy: np.ndarray, types: np.ndarray, needed: np.ndarray, radius: float, *, centres: np.ndarray, edge: float
) -> np.ndarray:
    """Return the largest number of motifs around one cell of each square box (int64).

    Only cells inside the same box count. Boxes have `centres` (boxes × 2) and one `edge`; a box owns its left and upper
    border. Otherwise as :func:`motifs_around`.
    """
    from scipy.spatial import cKDTree

    taking_part = np.flatnonzero(types >= 0)
    xy = xy[taking_part]
    types = types[taking_part]
    best = np.zeros(len(centres), np.int64)
    if not len(xy):
        return best
    members = cKDTree(xy).query_ball_point(centres, edge / 2, p=np.inf)
    box = np.repeat(np.arange(len(centres)), [len(m) for m in members])
    cell = np.zeros(0, np.int64)
    if len(box):
        cell = np.concatenate([np.asarray(m, np.int64) for m in members])
    # the search counts both borders of a box, which owns only one of them
    kept = _owned(xy[cell], centres[box], edge)
    box = box[kept]
    cell = cell[kept]
    first, other = _within(xy, radius)
    start = np.searchsorted(first, np.arange(len(xy) + 1))
    # every membership (box, cell) with every neighbour of the cell
    length = np.diff(start)[cell]
    entry = np.repeat(np.arange(len(cell)), length)
    offset = start[cell] - np.append(0, np.cumsum(length)[:-1])
    neighbor = other[np.repeat(offset, length) + np.arange(len(entry))]
    kept = _owned(xy[neighbor], centres[box[entry]], edge)
    np.maximum.at(best, box, _complete(entry[kept], types[neighbor[kept]], len(cell), needed))
    return best


def _within(xy: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return all ordered pairs of cells at most `radius` apart, each with itself too, sorted by the first."""
    from scipy.spatial import cKDTree

    pairs = np.zeros((0, 2), np.int64)
    if len(xy):
        pairs = cKDTree(xy).query_pairs(radius, output_type="ndarray")
    own = np.arange(len(xy))
    first = np.concatenate([pairs[:, 0], pairs[:, 1], own])
    second = np.concatenate([pairs[:, 1], pairs[:, 0], own])
    order = np.argsort(first, kind="stable")
    return first[order], second[order]


def _complete(place: np.ndarray, types: np.ndarray, n_places: int, needed: np.ndarray) -> np.ndarray:
    """Return the number of whole motifs at each place, from one type per entry."""
    counts = np.bincount(place * len(needed) + types, minlength=n_places * len(needed)).reshape(n_places, len(needed))
    return (counts // needed).min(axis=1)


def _owned(xy: np.ndarray, centres: np.ndarray, edge: float) -> np.ndarray:
    offset = xy - centres
    return ((offset >= -edge / 2) & (offset < edge / 2)).all(axis=1)
