"""A matrix as colours, with its rows and columns named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc.pl._axes import axes_or_new
from kronos_sc.pl._palette import number_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from kronos_sc.pl._palette import Palette

HEAT = "Blues"
_CELL = 0.32  # inches
_MARGIN = (2.6, 1.9)
_MOST_WITH_NUMBERS = 20


def heat(
    ax: Axes | None,
    values: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    top: float | None,
    bar: str,
    palette: Palette,
    form: str | None = None,
) -> Axes:
    """Draw a matrix (NaN grey), its colour bar and, with `form` and up to 20 columns, its numbers."""
    height, width = values.shape
    ax = axes_or_new(ax, size=(width * _CELL + _MARGIN[0], height * _CELL + _MARGIN[1]))
    if top is None:
        top = float(np.nanmax(values, initial=0)) or 1.0  # a matrix of zeros has a scale too
    colormap = number_map(palette or HEAT)
    shown = ax.imshow(values, cmap=colormap, vmin=0, vmax=top, aspect="equal", interpolation="nearest")
    ax.set_xticks(range(width), columns, rotation=90, fontsize="small")
    ax.set_yticks(range(height), rows, fontsize="small")
    ax.tick_params(length=0)
    # white lines between the cells
    ax.set_xticks(np.arange(width + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(height + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=0.8)
    ax.tick_params(which="minor", length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.figure.colorbar(shown, ax=ax, label=bar, shrink=0.8, aspect=18, pad=0.02)
    if form is not None and width <= _MOST_WITH_NUMBERS:
        _numbers(ax, values, colormap, top, form)
    return ax


def _numbers(ax: Axes, values: np.ndarray, colormap: object, top: float, form: str) -> None:
    """Write the number into each cell that is not zero, dark on light and light on dark."""
    # zeros are most of a matrix, and say nothing
    for (row, column), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        text = form.format(value)
        if float(text.replace(",", "")):
            red, green, blue, _ = colormap(min(value / top, 1.0))  # type: ignore[operator]
            is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            color = "white" if is_dark else "0.15"
            if value < 1:
                text = text.removeprefix("0")
            ax.text(column, row, text, ha="center", va="center", fontsize=6.5, color=color)
