"""What a model looks at, by cell type."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core import results
from kronos_sc._core.balanced import sample_per_class, standardised
from kronos_sc._core.checks import known, positive_integer
from kronos_sc._core.resolve import as_table
from kronos_sc._core.rng import start as start_rng
from kronos_sc._core.target import target
from kronos_sc.pl._axes import new_grid
from kronos_sc.pl._choice import as_list
from kronos_sc.pl._compared import plain
from kronos_sc.pl._palette import Palette, category_colors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

_SHOWN = 6  # markers if none are named, as in Figure S8
_ACROSS = 3  # axes in a row
_FEWEST = 5  # units of a group whose median says which markers to show
_KIND = "attention"


def attention(
    data: AnnData | SpatialData,
    groupby: str,
    *,
    markers: Sequence[str] | None = None,
    key: str = "kronos_attention",
    n_per_group: int | None = 1000,
    rng: int | np.random.Generator | None = 0,
    palette: Palette = None,
    table_key: str | None = None,
    ax: Axes | None = None,
) -> np.ndarray:
    """Show how much a model looks at markers in each group of units, as violins of z-scores.

    After the paper's Figure S8 :cite:p:`Shaban2025`. Up to `n_per_group` units of each group are drawn, and z-scores
    are taken marker by marker over those, as in :func:`kronos_sc.tl.attention_summary`, whose medians are the same. A
    line marks the median. The widest values, beyond the 0.5th and 99.5th percentile of a marker, lie outside the axes.

    Parameters
    ----------
    data
        Table with the result of :func:`kronos_sc.tl.attention`, or the SpatialData that holds it.
    groupby
        Column of `obs`: cell types, say. Units without a value are not shown.
    markers
        Which markers, in order; if left out the six whose medians differ most between groups of at least 5 units.
    key
        Name of the result.
    n_per_group
        Most units drawn per group; 1,000 in the paper. None for all.
    rng
        Seed or generator of the draw.
    palette
        Colours of the groups (list, mapping or name of a colormap); the column's own in `uns`, or the package's, if
        left out.
    table_key
        Which table of a SpatialData; the only one if left out.
    ax
        Axes to draw on, for one marker; a new figure if left out.

    Returns
    -------
    Array of axes, one per marker. Groups are named once below each column, with the number of their units.

    Raises
    ------
    KeyError
        There is no such result, column or marker.
    ValueError
        `ax` was given for several markers; no unit has both a group and attention.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(96, 96), channels=["DAPI", "CD8", "CYTOKERATIN"])
    >>> ks.tl.attention(sdata, model=ks.models.load("kronos-untrained", blocks="official"), patch_size=32)
    >>> axes = ks.pl.attention(sdata, "region", markers=["CD8", "CYTOKERATIN"])
    >>> [ax.get_title() for ax in axes]
    ['CD8', 'CYTOKERATIN']
    """
    table = as_table(data, table_key)
    if n_per_group is not None:
        n_per_group = positive_integer(n_per_group, name="n_per_group")
    raw, all_markers = _raw(table, key)
    groups = target(table, groupby, argument="groupby", least=1).keep(np.isfinite(raw).all(1))
    if not groups.labelled.any():
        msg = (
            f"No unit has both a {groupby!r} and attention in {key!r}. Compute it for these units with "
            "tl.attention(sdata), or name another column."
        )
        raise ValueError(msg)

    # z-scores are taken over the units drawn, so that a large group does not set the scale of the others
    rows = sample_per_class(groups.codes, n_per_group, start_rng(rng))
    z_scores = standardised(raw[rows])
    codes = groups.codes[rows]
    group_codes = [int(code) for code in np.unique(codes)]
    parts = [z_scores[codes == code] for code in group_codes]
    names = [f"{groups.classes[code]} (n={len(part):,})" for code, part in zip(group_codes, parts, strict=True)]
    marker_positions = _chosen(all_markers, parts, markers)
    axes = _axes(ax, [all_markers[i] for i in marker_positions], len(names))
    colors = category_colors(table, groupby, list(groups.classes), palette)
    group_colors = [colors[groups.classes[code]] for code in group_codes]
    n_columns = _across(len(axes))
    for number, (marker_ax, marker) in enumerate(zip(axes, marker_positions, strict=True)):
        _violins(marker_ax, [part[:, marker] for part in parts], group_colors)
        # names stand once below each column, and leave the violins their room
        is_lowest = number + n_columns >= len(axes)
        tick_labels = names if is_lowest else [""] * len(names)
        marker_ax.set_xticks(range(len(names)), tick_labels, rotation=90, fontsize="small")
        marker_ax.set_title(all_markers[marker], fontsize="medium")
    for marker_ax in axes[::n_columns]:
        marker_ax.set_ylabel("attention (z-score)")
    return axes


def _raw(table: AnnData, key: str) -> tuple[np.ndarray, list[str]]:
    """Return the attention of a result (units × markers, float32), and the markers' own names."""
    markers = results.frame(table, key, "markers", kind=_KIND)["marker"]
    known(
        key, list(table.obsm), what="entry of obsm", fix="Run tl.attention(sdata) again, whose result was taken away."
    )
    return np.asarray(table.obsm[key], np.float32), [str(name) for name in markers]


def _chosen(all_markers: list[str], parts: list[np.ndarray], markers: Sequence[str] | None) -> list[int]:
    """Return the positions of the markers to show: those named, or those whose medians lie furthest apart.

    The median of a few units is chance, so only groups of at least five count, if there are two.
    """
    if markers is not None:
        fix = "Name some of these with markers=."
        names = [
            known(name, all_markers, what="marker in this result", fix=fix) for name in dict.fromkeys(as_list(markers))
        ]
        return [all_markers.index(name) for name in names]
    large = [part for part in parts if len(part) >= _FEWEST]
    if len(large) < 2:
        large = parts
    spread = np.ptp([np.median(part, axis=0) for part in large], axis=0)
    return np.sort(np.argsort(-spread, kind="stable")[:_SHOWN]).tolist()


def _across(count: int) -> int:
    return min(count, _ACROSS)


def _axes(ax: Axes | None, markers: list[str], n_groups: int) -> np.ndarray:
    """Return one axes per marker."""
    if ax is None:
        if not markers:
            msg = "No marker was named. Name some with markers=[...], or leave it out for those that differ most."
            raise ValueError(msg)
        n_rows = math.ceil(len(markers) / _ACROSS)
        n_columns = _across(len(markers))
        grid = new_grid(n_rows, n_columns, size=(n_columns * (1.0 + 0.28 * n_groups), n_rows * 2.7)).ravel()
        for unused in grid[len(markers) :]:
            unused.remove()
        return grid[: len(markers)]
    if len(markers) != 1:
        msg = (
            f"ax is one axes, and {len(markers)} markers need {len(markers)}. Choose one with markers=['CD8'], or "
            "leave ax out."
        )
        raise ValueError(msg)
    return np.array([ax], dtype=object)


def _violins(ax: Axes, values: list[np.ndarray], colors: list[str]) -> None:
    """Draw one violin per group, its median as a line; groups of one value are a line alone."""
    for x, (part, color) in enumerate(zip(values, colors, strict=True)):
        if np.ptp(part) > 0:
            (body,) = ax.violinplot([part], [x], widths=0.85, showextrema=False)["bodies"]
            body.set(facecolor=color, edgecolor=color, alpha=0.45, linewidth=0.8)
        ax.hlines(np.median(part), x - 0.28, x + 0.28, color=color, linewidth=2.0, label="median")
    # a few extreme units would press all violins flat
    low, high = np.quantile(np.concatenate(values), (0.005, 0.995))
    margin = 0.06 * (high - low or 1)
    ax.set(ylim=(low - margin, high + margin), xlim=(-0.6, len(values) - 0.4))
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    plain(ax)
    ax.tick_params(axis="x", length=0)
