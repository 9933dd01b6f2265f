"""Outlines of masks along pixel edges, and of groups of points."""

from __future__ import annotations

import numpy as np

_PER_PAGE = 60  # units side by side from which on lines around each would hide them
_MOST_PIXELS = 1600  # of the ground on which groups of points are told apart
_REACH = 0.9  # of the distance between units: how far a unit's ground reaches where nothing is beside it


def outline(mask: np.ndarray) -> np.ndarray:
    """Return the edges between the pixels inside and outside a mask (y, x; bool), as segments.

    Segments are (n, 2, 2: start and end, x and y). Pixel `i` covers [i, i + 1); edges on the border of the array are
    left out, where the mask is cut and does not end.
    """
    across = mask[:, 1:] != mask[:, :-1]
    down = mask[1:] != mask[:-1]
    y, x = np.nonzero(across)
    upright = np.stack([np.stack([x + 1, y], -1), np.stack([x + 1, y + 1], -1)], 1)
    y, x = np.nonzero(down)
    level = np.stack([np.stack([x, y + 1], -1), np.stack([x + 1, y + 1], -1)], 1)
    return np.concatenate([upright, level]).astype(float)


def small(area: float, bounds: np.ndarray) -> bool:
    """Whether units of this area are too small on a page with these bounds (2 × 2) for lines around each of them."""
    return bool(np.sqrt(area) * _PER_PAGE < np.ptp(bounds, axis=0).max())


def ground(xy: np.ndarray, members: np.ndarray) -> list[np.ndarray]:
    """Return lines (points × 2) around the ground of some units.

    That is what lies nearer to one of them than to the others, and not far from any.

    Parameters
    ----------
    xy
        Centres of all units (n × 2); those that are not finite take no part.
    members
        The units to surround (n; bool).
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.measure import find_contours

    from kronos_sc.pl._points import diameter

    size = diameter(xy)
    usable = np.isfinite(xy).all(axis=1)
    chosen = xy[members & usable]
    if not len(chosen):
        return []

    # a raster around the chosen units, a few pixels for each
    low = chosen.min(axis=0) - 2 * size
    span = np.ptp(chosen, axis=0) + 4 * size
    pixel = max(size / 6, span.max() / _MOST_PIXELS)
    shape = np.ceil(span / pixel).astype(int)
    place = np.floor((np.where(usable[:, None], xy, low - 1) - low) / pixel).astype(int)
    near = usable & ((place >= 0) & (place < shape)).all(axis=1)

    # every pixel belongs to the unit that is nearest to it
    owner = np.zeros(shape[::-1], np.int8)
    for value, units in ((1, ~members & near), (2, members & near)):
        owner[place[units, 1], place[units, 0]] = value
    distance, (y, x) = distance_transform_edt(owner == 0, return_indices=True)
    inside = (distance * pixel <= _REACH * size) & (owner[y, x] == 2)
    smooth = gaussian_filter(inside.astype(np.float32), 1.5)
    return [low + (line[:, ::-1] + 0.5) * pixel for line in find_contours(smooth, 0.5)]
