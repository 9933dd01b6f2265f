"""Names beside points, each where it covers least."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = 7.0  # points
_LETTER = 0.58  # width of a letter over its height
_AWAY = 5.0  # points from the centre of a point to its name
# (right, up) of the centre of a name, in half its width and height and in units of the distance to the point; the best
# liked first
_PLACES = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))


def name_points(ax: Axes, xy: np.ndarray, names: list[str]) -> None:
    """Write a name at each point (n × 2, data coordinates), after all else is drawn."""
    ax.autoscale_view()  # the limits are not set before something asks for them
    extent = ax.get_window_extent()
    points = ax.transData.transform(xy) * 72 / ax.figure.dpi
    frame = np.array([[extent.x0, extent.y0], [extent.x1, extent.y1]]) * 72 / ax.figure.dpi
    taken = np.hstack([points - _AWAY / 2, points + _AWAY / 2])  # left, bottom, right, top
    for i, name in enumerate(names):
        # greedy: names that were placed before are in the way of those that follow
        half = np.array([_SIZE * _LETTER * len(name), _SIZE]) / 2
        centres = [np.array(place) * (half + _AWAY) for place in _PLACES]
        boxes = [np.concatenate([points[i] + centre - half, points[i] + centre + half]) for centre in centres]
        costs = [_covered(box, taken) + _outside(box, frame) + 0.01 * rank for rank, box in enumerate(boxes)]
        best = int(np.argmin(costs))
        taken = np.vstack([taken, boxes[best]])
        ax.annotate(
            name,
            xy[i],
            centres[best],
            textcoords="offset points",
            fontsize=_SIZE,
            color="0.25",
            ha="center",
            va="center_baseline",
            zorder=4,
        )


def _covered(box: np.ndarray, taken: np.ndarray) -> float:
    """Return the area that a box (left, bottom, right, top) shares with others (n × 4)."""
    sides = np.minimum(box[2:], taken[:, 2:]) - np.maximum(box[:2], taken[:, :2])
    return float(np.prod(sides.clip(min=0), axis=1).sum())


def _outside(box: np.ndarray, frame: np.ndarray) -> float:
    """Return by how much a box sticks out of a frame, weighed so that it is avoided."""
    return 100 * float((frame[0] - box[:2]).clip(min=0).sum() + (box[2:] - frame[1]).clip(min=0).sum())
