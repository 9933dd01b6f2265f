"""Units as discs of their true size, coloured by category or number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc.pl._palette import MISSING, Palette, category_colours, number_map

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_MANY = 5_000  # more discs than this are drawn as pixels in vector formats
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
    colours
        By category, for a legend; empty for numbers.
    number_map
        Colormap of numbers.
    """

    title: str
    values: np.ndarray
    colours: dict[str, Any]
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
    colours = category_colours(table, key, categories, palette)
    codes = column.cat.codes.to_numpy().astype(float)
    codes[codes < 0] = np.nan
    return Layer(key, codes, {str(category): colours[category] for category in categories})


def plain(count: int) -> Layer:
    """Return a layer without values: all units alike."""
    return Layer("", np.full(count, np.nan), {})


def diameter(xy: np.ndarray) -> float:
    """Return the diameter of discs that nearly touch: the occupied area over their number."""
    here = xy[np.isfinite(xy).all(axis=1)]
    span = np.ptp(here, axis=0) if len(here) else np.zeros(2)
    if len(here) < 2 or not span.any():
        return 10.0
    bins = np.maximum(1, np.sqrt(len(here) / 4 * span / max(span[::-1].min(), span.max() / 100))).astype(int).clip(1, 400)
    counts, _, _ = np.histogram2d(here[:, 0], here[:, 1], bins=bins)
    occupied = (counts > 0).mean() * np.prod(np.maximum(span, span.max() / 100))
    return float(0.95 * np.sqrt(occupied / len(here)))


def draw(ax: Axes, xy: np.ndarray, shown: Layer, rows: np.ndarray, *, size: float, edge: str | None) -> None:
    """Draw the units of some rows; missing values in grey, underneath."""
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import to_rgba_array

    values = shown.values[rows]
    order = np.argsort(np.isfinite(values), kind="stable")
    order = order[np.isfinite(xy[order]).all(axis=1)]
    style = {"facecolors": MISSING}
    if shown.colours:
        palette = to_rgba_array([*shown.colours.values(), MISSING])
        style = {"facecolors": palette[np.nan_to_num(values, nan=len(palette) - 1).astype(int)[order]]}
    elif shown.number_map is not None:
        style = {"array": np.ma.masked_invalid(values[order]), "cmap": shown.number_map, "clim": shown.limits}
    discs = EllipseCollection(
        size,
        size,
        0,
        units="xy",
        offsets=xy[order],
        offset_transform=ax.transData,
        linewidths=0.4 if edge else 0,
        edgecolors=edge or "none",
        rasterized=len(order) > _MANY,
        zorder=2,
        label="units",
        **style,
    )
    ax.add_collection(discs)
    if shown.number_map is not None:
        bar = ax.figure.colorbar(discs, cax=ax.inset_axes((1.03, 0.15, 0.035, 0.7)))
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=2, labelsize="small")


def legend_columns(count: int) -> int:
    """Return in how many columns so many categories are listed."""
    return -(-count // _LONG)


def legend_width(shown: Layer) -> float:
    """Return the room that a legend or colour bar needs, in inches."""
    if shown.number_map is not None:
        return 0.7
    return legend_columns(len(shown.colours)) * (0.35 + 0.085 * max(map(len, shown.colours), default=-4))


def category_legend(ax: Axes, shown: Layer) -> None:
    """List the categories beside the axes; those without a unit are left out."""
    from matplotlib.lines import Line2D

    codes = shown.values
    present = [(name, colour) for i, (name, colour) in enumerate(shown.colours.items()) if (codes == i).any()]
    if np.isnan(codes).any():
        present.append(("missing", MISSING))
    ax.legend(
        [Line2D([], [], marker="o", linestyle="", color=colour, markersize=6) for _, colour in present],
        [name for name, _ in present],
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        frameon=False,
        fontsize="small",
        ncols=legend_columns(len(present)),
        handletextpad=0.2,
        columnspacing=0.8,
        labelspacing=0.35,
    )
