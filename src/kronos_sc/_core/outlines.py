"""Outlines of label images along pixel edges; arrays in, geometries out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from shapely import Polygon

# The four sides of a pixel (top, right, bottom, left), walked clockwise: the step along the side, and the step out over
# it, as (y, x).
_AHEAD = ((0, 1), (1, 0), (0, -1), (-1, 0))
_OUT = ((-1, 0), (0, 1), (1, 0), (0, -1))
_START = ((0, 0), (0, 1), (1, 1), (1, 0))  # corner where a side begins, from the upper left corner of its pixel


def outlines(classes: np.ndarray) -> list[tuple[int, Polygon]]:
    """Return code and outline of each connected part of a label image, in reading order of their first pixels.

    Background (0) is left out. Outlines run along pixel edges: pixel `i` covers [i, i + 1), so the area of a polygon is
    its number of pixels. Parts are connected through edges, not corners, and holes are holes, so every polygon is
    valid; corners lie only where an outline turns.

    Parameters
    ----------
    classes
        Whole numbers (rows, columns), at least 0.
    """
    import shapely
    from skimage.measure import label

    classes = np.asarray(classes)
    parts = np.pad(label(classes, background=0, connectivity=1), 1)
    sides, following = _sides(parts)
    walk, ring = _walks(following)
    if not len(walk):
        return []

    # corners lie where a ring turns; before its first side comes its last
    pixel, side = np.divmod(sides[walk], 4)
    y, x = np.divmod(pixel, parts.shape[1])
    first = np.flatnonzero(np.r_[True, np.diff(ring) > 0])
    last = np.r_[first[1:], len(ring)] - 1
    turns = side != np.roll(side, 1)
    turns[first] = side[first] != side[last]
    xy = np.stack([x, y], -1)[turns] - 1 + np.array(_START)[side[turns], ::-1]

    # walks are found from top to bottom, so the shell of a part comes before its holes
    owner = parts.ravel()[pixel[first]]
    order = np.argsort(owner, kind="stable")
    rings = shapely.linearrings(xy.astype(float), indices=ring[turns])
    polygons = shapely.polygons(rings[order], indices=owner[order] - 1)

    # the code of a part is that of the pixel in which its outline begins
    pixels = np.zeros(len(polygons), np.int64)
    pixels[owner - 1] = pixel[first]
    y, x = np.divmod(pixels, parts.shape[1])
    return list(zip(classes[y - 1, x - 1].tolist(), polygons.tolist(), strict=True))


def _sides(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every side between a part and something else (4 · pixel + side), and the position of its successor.

    Where two pixels of one part touch at a corner, the walk goes over to the other: its holes become rings of their
    own.
    """
    height, width = parts.shape
    flat = parts.ravel()
    side_parts = []
    successor_parts = []
    for side, (ahead, outward) in enumerate(zip(_AHEAD, _OUT, strict=True)):
        # pixels whose neighbour over this side is of another part
        beyond = parts[1 + outward[0] : height - 1 + outward[0], 1 + outward[1] : width - 1 + outward[1]]
        inner = np.flatnonzero(parts[1:-1, 1:-1] != beyond)
        pixel = (inner // (width - 2) + 1) * width + inner % (width - 2) + 1
        pixel = pixel[flat[pixel] > 0]

        # at the end of the side: over to the pixel across the corner, else straight on, else round the own corner
        own_part = flat[pixel]
        straight_on = pixel + ahead[0] * width + ahead[1]
        across = straight_on + outward[0] * width + outward[1]
        diagonal = flat[across] == own_part
        straight = (flat[straight_on] == own_part) & ~diagonal
        successor = np.where(diagonal, 4 * across + (side - 1) % 4, 4 * pixel + (side + 1) % 4)
        successor[straight] = 4 * straight_on[straight] + side
        side_parts.append(4 * pixel + side)
        successor_parts.append(successor)

    sides = np.concatenate(side_parts)
    successors = np.concatenate(successor_parts)
    order = np.argsort(sides)
    return sides[order], np.searchsorted(sides[order], successors[order])


def _walks(following: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all positions ring by ring, each in the order of its walk, and the number of the ring of each."""
    steps = following.tolist()
    seen = bytearray(len(steps))
    walk: list[int] = []
    ends: list[int] = []
    for start in range(len(steps)):
        if seen[start]:
            continue
        position = start
        while not seen[position]:
            seen[position] = 1
            walk.append(position)
            position = steps[position]
        ends.append(len(walk))
    return np.array(walk, np.int64), np.repeat(np.arange(len(ends)), np.diff([0, *ends]))
