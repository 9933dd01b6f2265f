"""Axes: a new figure of the right size, or the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from kronos_sc.pl._space import Placement


def axes_or_new(ax: Axes | None, *, size: tuple[float, float]) -> Axes:
    """Return the user's axes, or those of a new figure of `size` (width, height) in inches."""
    if ax is not None:
        return ax
    return new_grid(1, 1, size=size)[0, 0]


def new_grid(rows: int, columns: int, *, size: tuple[float, float]) -> np.ndarray:
    """Return an array (rows × columns) of axes in a new figure of `size` (width, height) in inches."""
    from matplotlib import pyplot as plt

    _, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="compressed")
    return grid


def spatial_axes(ax: Axes, place: Placement) -> None:
    """Label axes that show space: equal aspect, rows downwards, units named."""
    ax.set_aspect("equal")
    if not ax.yaxis_inverted():
        ax.invert_yaxis()
    ax.set_xlabel(f"x ({place.unit})")
    ax.set_ylabel(f"y ({place.unit})")
    ax.tick_params(length=2.5, width=0.6, labelsize="small")
    for spine in ax.spines.values():
        spine.set_linewidth(0.6)


def hide_frame(ax: Axes) -> None:
    """Take ticks and frame away where an axes holds a picture, not a plot."""
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.patch.set_visible(False)
