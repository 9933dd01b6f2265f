"""How units are coloured, by category or number, and the legend of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc.pl._palette import MISSING, Palette, category_colors, number_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar

_LONG = 16  # categories in one column of a legend


@dataclass(frozen=True)
class Layer:
    """How every row of a table is coloured.

    Parameters
    ----------
    title
        Of the axes.
    values
        Position of the category (float64, NaN if missing), or the number itself.
    colors
        By category, for a legend; empty for numbers.
    number_map
        Colormap of numbers.
    """

    title: str
    values: np.ndarray
    colors: dict[str, Any]
    number_map: Any = None

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest number."""
        finite = self.values[np.isfinite(self.values)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def layer(table: AnnData, key: str, column: pd.Series, palette: Palette) -> Layer:
    """Return how a column is shown: categories in colours of their own, numbers on a colormap."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return Layer(key, column.to_numpy(float), {}, number_map(palette))
    categories = list(column.cat.categories)
    colors = category_colors(table, key, categories, palette)
    codes = column.cat.codes.to_numpy().astype(float)
    codes[codes < 0] = np.nan
    return Layer(key, codes, {str(category): colors[category] for category in categories})


def plain(count: int) -> Layer:
    """Return a layer without values: all units alike."""
    return Layer("", np.full(count, np.nan), {})


def diameter(xy: np.ndarray) -> float:
    """Return the diameter of discs that nearly touch: the occupied area over their number."""
    located = xy[np.isfinite(xy).all(axis=1)]
    if len(located) < 2:
        return 10.0
    span = np.ptp(located, axis=0)
    if not span.any():
        return 10.0
    # tissue does not fill its box: only bins that hold a unit count
    bins = (
        np.maximum(1, np.sqrt(len(located) / 4 * span / max(span[::-1].min(), span.max() / 100)))
        .astype(int)
        .clip(1, 400)
    )
    counts, _, _ = np.histogram2d(located[:, 0], located[:, 1], bins=bins)
    occupied_area = (counts > 0).mean() * np.prod(np.maximum(span, span.max() / 100))
    return float(0.95 * np.sqrt(occupied_area / len(located)))


def number_bar(ax: Axes, mappable: Any) -> Colorbar:
    """Put a colour bar beside the axes."""
    bar = ax.figure.colorbar(mappable, cax=ax.inset_axes((1.03, 0.15, 0.035, 0.7)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, labelsize="small")
    return bar


def legend_columns(count: int) -> int:
    """Return in how many columns so many categories are listed."""
    return -(-count // _LONG)


def legend_width(shown: Layer) -> float:
    """Return the room that a legend or colour bar needs, in inches."""
    if shown.number_map is not None:
        return 0.7
    return legend_columns(len(shown.colors)) * (0.35 + 0.085 * max(map(len, shown.colors), default=-4))


def category_legend(ax: Axes, shown: Layer, *, marker: str = "o", only: Sequence[str] | None = None) -> None:
    """List the categories beside the axes; those without a unit are left out, or all but some, which are lines then."""
    from matplotlib.lines import Line2D

    codes = shown.values
    present = [(name, color) for i, (name, color) in enumerate(shown.colors.items()) if (codes == i).any()]
    if np.isnan(codes).any():
        present.append(("missing", MISSING))
    look = {"marker": marker, "linestyle": "", "markersize": 6}
    gap = 0.2
    if only is not None:  # outlines, shown as lines
        present = [(name, color) for name, color in present if name in only]
        look = {"linewidth": 2}
        gap = 0.6
    ax.legend(
        [Line2D([], [], color=color, **look) for _, color in present],
        [name for name, _ in present],
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        frameon=False,
        fontsize="small",
        ncols=legend_columns(len(present)),
        handletextpad=gap,
        columnspacing=0.8,
        labelspacing=0.35,
    )
