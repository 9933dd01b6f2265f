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
    """Return code and outline of each connected part of a label image, background (0) left out, in reading order of their first pixels.

    Outlines run along pixel edges: pixel `i` covers [i, i + 1), so the area of a polygon is its number of pixels. Parts
    are connected through edges, not corners, and holes are holes, so every polygon is valid; corners lie only where an
    outline turns.

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
    pixel, side = np.divmod(sides[walk], 4)
    y, x = np.divmod(pixel, parts.shape[1])
    first = np.flatnonzero(np.r_[True, np.diff(ring) > 0])
    last = np.r_[first[1:], len(ring)] - 1
    turns = side != np.roll(side, 1)
    turns[first] = side[first] != side[last]
    xy = np.stack([x, y], -1)[turns] - 1 + np.array(_START)[side[turns], ::-1]
    owner = parts.ravel()[pixel[first]]
    order = np.argsort(
        owner, kind="stable"
    )  # walks are found from top to bottom, so the shell of a part comes before its holes
    rings = shapely.linearrings(xy.astype(float), indices=ring[turns])
    polygons = shapely.polygons(rings[order], indices=owner[order] - 1)
    pixels = np.zeros(len(polygons), np.int64)
    pixels[owner - 1] = pixel[first]
    y, x = np.divmod(pixels, parts.shape[1])
    return list(zip(classes[y - 1, x - 1].tolist(), polygons.tolist(), strict=True))


def _sides(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every side between a part and something else (4 · pixel + side), and the position of the one that follows it.

    Where two pixels of one part touch at a corner, the walk goes over to the other: its holes become rings of their
    own.
    """
    width, flat = parts.shape[1], parts.ravel()
    found, after = [], []
    for side, (ahead, out) in enumerate(zip(_AHEAD, _OUT, strict=True)):
        step, over = ahead[0] * width + ahead[1], out[0] * width + out[1]
        inner = np.flatnonzero(
            parts[1:-1, 1:-1] != parts[1 + out[0] : parts.shape[0] - 1 + out[0], 1 + out[1] : width - 1 + out[1]]
        )
        pixel = (inner // (width - 2) + 1) * width + inner % (width - 2) + 1
        pixel = pixel[flat[pixel] > 0]
        mine = flat[pixel]
        diagonal, straight = flat[pixel + step + over] == mine, flat[pixel + step] == mine
        target = np.where(diagonal, 4 * (pixel + step + over) + (side - 1) % 4, 4 * pixel + (side + 1) % 4)
        target[straight & ~diagonal] = 4 * (pixel + step)[straight & ~diagonal] + side
        found.append(4 * pixel + side)
        after.append(target)
    sides, target = np.concatenate(found), np.concatenate(after)
    order = np.argsort(sides)
    return sides[order], np.searchsorted(sides[order], target[order])


def _walks(following: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all positions ring by ring, each in the order of its walk, and the number of the ring of each."""
    steps = following.tolist()
    seen = bytearray(len(steps))
    walk: list[int] = []
    ends: list[int] = []
    for start in range(len(steps)):
        if seen[start]:
            continue
        at = start
        while not seen[at]:
            seen[at] = 1
            walk.append(at)
            at = steps[at]
        ends.append(len(walk))
    return np.array(walk, np.int64), np.repeat(np.arange(len(ends)), np.diff([0, *ends]))
