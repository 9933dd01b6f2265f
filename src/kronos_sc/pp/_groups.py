"""Groups of units that stay in one fold: values of a column, equal parts of images, or square blocks of them.

Arrays in, arrays out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class FoldGroups:
    """Which units stay together, and how near they are to others.

    Parameters
    ----------
    kind
        `"group"`, `"part"` or `"block"`: the word for one in messages.
    names
        One per group.
    of_unit
        Group of each unit (int64); -1 for none.
    near_border
        Of the fold of each group and a distance in pixels: which units (bool) lie closer than that to a group of
        another fold.
    """

    kind: str
    names: np.ndarray
    of_unit: np.ndarray
    near_border: Callable[[np.ndarray, float], np.ndarray]

    @property
    def counts(self) -> np.ndarray:
        """Units per group (int64)."""
        return np.bincount(self.of_unit[self.of_unit >= 0], minlength=len(self.names))

    def spread(self, of_group: np.ndarray) -> np.ndarray:
        """Return a number per group (int64, at least 0) as one per unit; -1 where there is no group."""
        return np.where(self.of_unit >= 0, of_group[self.of_unit], -1)


def column_groups(codes: np.ndarray, names: Sequence[str]) -> FoldGroups:
    """Return the values of a column as groups; whole groups have no border."""

    def near_border(fold: np.ndarray, guard: float) -> np.ndarray:
        return np.zeros(len(codes), bool)

    return FoldGroups("group", np.asarray(names, object), codes, near_border)


def near_square(n: int) -> tuple[int, int]:
    """Return two factors of `n`, the smaller first, as equal as they can be: 4 → (2, 2), 6 → (2, 3), 7 → (1, 7)."""
    small = next(f for f in range(int(np.sqrt(n)), 0, -1) if n % f == 0)
    return small, n // small


def image_parts(xy: np.ndarray, images: np.ndarray, n: int, *, names: Sequence[str]) -> FoldGroups:
    """Cut the extent of each image into `n` equal parts, most of them along its longer edge.

    `xy` (units × 2), `images` (units, int) the image of each unit, `names` of the images. Group image · n + i is part
    i, counted row by row.
    """
    part = np.empty(len(xy), np.int64)
    distance = np.empty(len(xy))
    for image in range(len(names)):
        on_image = images == image
        part[on_image], distance[on_image] = _cut(xy[on_image], n)
    labels = [f"{prefix}part {i}" for prefix in _prefixes(names) for i in range(n)]

    def near_border(fold: np.ndarray, guard: float) -> np.ndarray:
        return distance < guard  # every cut is a border: parts of an image go to different folds

    return FoldGroups("part", np.asarray(labels, object), images * n + part, near_border)


def _cut(xy: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of each unit of one image, and its distance to the nearest cut (float64)."""
    low = xy.min(axis=0)
    edge = np.ptp(xy, axis=0)
    rows, columns = near_square(n)
    if edge[0] < edge[1]:  # most parts along the longer edge
        rows, columns = columns, rows
    position = []
    distance = np.full(len(xy), np.inf)
    for axis, pieces in enumerate((columns, rows)):
        cuts = low[axis] + edge[axis] * np.arange(1, pieces) / pieces
        # a unit on the cut belongs to the part that begins there
        position.append(np.searchsorted(cuts, xy[:, axis], side="right"))
        for line in cuts:
            distance = np.minimum(distance, np.abs(xy[:, axis] - line))
    return position[1] * columns + position[0], distance


def square_blocks(xy: np.ndarray, images: np.ndarray, size: float, *, names: Sequence[str]) -> FoldGroups:
    """Cut each image into squares of edge `size`, counted from its lowest coordinates.

    Those without a unit are no groups.
    """
    low = np.stack([xy[images == i].min(axis=0) for i in range(len(names))])[images]
    block = np.floor((xy - low) / size).astype(np.int64)
    inside = xy - low - block * size

    # image, row and column of a block become one number; those that occur are the groups
    place = (images, block[:, 1], block[:, 0])
    shape = [int(axis.max()) + 1 for axis in place]
    numbers, of_unit = np.unique(np.ravel_multi_index(place, shape), return_inverse=True)
    keys = np.column_stack(np.unravel_index(numbers, shape))
    prefixes = _prefixes(names)
    labels = [f"{prefixes[image]}row {row} column {col}" for image, row, col in keys]
    neighbors = _neighbors(keys)

    def near_border(fold: np.ndarray, guard: float) -> np.ndarray:
        near = np.zeros(len(xy), bool)
        for (down, right), neighbor in neighbors.items():
            # along both axes at once: windows are square
            reach = _within(inside[:, 0], right, size, guard) & _within(inside[:, 1], down, size, guard)
            neighbor_fold = np.where(neighbor >= 0, fold[neighbor], fold)
            near |= reach & (neighbor_fold != fold)[of_unit]
        return near

    return FoldGroups("block", np.asarray(labels, object), of_unit, near_border)


def _neighbors(keys: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Return for each of the eight directions the group in the next block of the same image, -1 where there is none."""
    index = pd.MultiIndex.from_arrays(keys.T)
    steps = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]
    return {step: index.get_indexer(pd.MultiIndex.from_arrays(np.add(keys, (0, *step)).T)) for step in steps}


def _within(inside: np.ndarray, step: int, size: float, guard: float) -> np.ndarray:
    """Return which positions inside a block lie closer than `guard` to the next block in this direction.

    All do where there is no step.
    """
    if step == 0:
        return np.ones(len(inside), bool)
    distance = inside if step < 0 else size - inside
    return distance < guard


def _prefixes(names: Sequence[str]) -> list[str]:
    """Return what names of parts and blocks begin with: their image, where there are several."""
    return [""] if len(names) == 1 else [f"{name}: " for name in names]
