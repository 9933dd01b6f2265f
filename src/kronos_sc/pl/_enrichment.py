"""Shares of clusters in two groups of cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core import results
from kronos_sc._core.checks import known
from kronos_sc._core.target import require_anndata
from kronos_sc.pl._axes import axes_or_new
from kronos_sc.pl._compared import plain
from kronos_sc.pl._palette import Palette, category_colors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_KIND = "enrichment"
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def enrichment(
    adata: AnnData,
    key: str,
    *,
    clusters: Sequence[str] | None = None,
    palette: Palette = None,
    ax: Axes | None = None,
) -> Axes:
    """Show the share of each cluster in the cases of two groups, with what :func:`kronos_sc.tl.enrichment` found.

    Every point is a case; boxes are quartiles. Stars are p after Benjamini–Hochberg: one below 0.05, two below 0.01,
    three below 0.001.

    Parameters
    ----------
    adata
        Table with the result.
    key
        Name of the result in `uns`.
    clusters
        Which clusters, in which order; all of them if left out.
    palette
        Colours of the two groups (list, mapping or name of a colormap); the column's own in `uns`, or the package's, if
        left out.
    ax
        Axes to draw on; a new figure that grows with the number of clusters if left out.

    Returns
    -------
    The axes: clusters from top to bottom, shares in percent.

    Raises
    ------
    KeyError
        There is no such result or cluster.
    ValueError
        The result was made by another function.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128), n_images=8, n_donors=8)["table"]
    >>> ks.tl.enrichment(cells, "cell_type", group_key="group", case_key="donor")
    >>> ks.pl.enrichment(cells, "cell_type_enrichment").get_xlabel()
    'share of a case (%)'
    """
    require_anndata(adata)
    tests = results.frame(adata, key, _KIND, kind=_KIND).set_index("cluster")
    shares = results.frame(adata, key, "composition", kind=_KIND)
    shown = list(tests.index)
    if clusters is not None:
        fix = "Name some of these with clusters=."
        shown = [known(str(name), list(tests.index), what="cluster in this result", fix=fix) for name in clusters]
    groups = [str(tests[side].iloc[0]) for side in ("group_a", "group_b")]
    colors = category_colors(adata, str(results.params(adata, key)["group_key"]), groups, palette)
    ax = axes_or_new(ax, size=(5.2, 0.9 + 0.42 * len(shown)))

    # two boxes a cluster, one group above the other
    for row, name in enumerate(shown):
        cluster_shares = shares[shares["cluster"] == name]
        for side, group in enumerate(groups):
            _box(
                ax,
                cluster_shares.loc[cluster_shares["group"] == group, "share"].to_numpy(float) * 100,
                row + (side - 0.5) * 0.38,
                colors[group],
            )
    _marks(ax, tests, shown)
    ax.set_yticks(range(len(shown)), shown, fontsize="small")
    ax.set(ylim=(len(shown) - 0.4, -0.6), xlabel="share of a case (%)")
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    plain(ax)
    ax.tick_params(axis="y", length=0)
    _legend(
        ax,
        {group: f"{group} (n = {tests[side].iloc[0]})" for group, side in zip(groups, ("n_a", "n_b"), strict=True)},
        colors,
    )
    return ax


def _box(ax: Axes, shares: np.ndarray, y: float, color: str) -> None:
    """Draw quartiles of one group and its cases."""
    line = {"color": color, "linewidth": 1.0}
    ax.boxplot(
        shares,
        positions=[y],
        widths=0.3,
        orientation="horizontal",
        manage_ticks=False,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": (*_rgb(color), 0.2), "edgecolor": color, "linewidth": 1.0},
        medianprops=line | {"linewidth": 1.6},
        whiskerprops=line,
        capprops=line | {"linewidth": 0},
    )
    # a fixed zigzag keeps points apart, and the figure the same every time
    ax.scatter(shares, y + 0.06 * (np.arange(len(shares)) % 3 - 1), s=9, color=color, linewidths=0, alpha=0.8, zorder=3)


def _rgb(color: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(color)


def _marks(ax: Axes, tests: pd.DataFrame, shown: list[str]) -> None:
    """Write stars in the right margin."""
    for row, name in enumerate(shown):
        p = float(tests.loc[name, "p_adjusted"])
        stars = next((text for limit, text in _STARS if p < limit), "")
        ax.text(
            1.01, row, stars, transform=ax.get_yaxis_transform(), va="center_baseline", ha="left", fontsize="medium"
        )
        if row % 2:
            ax.axhspan(row - 0.5, row + 0.5, color="0.5", alpha=0.07, linewidth=0, zorder=0)


def _legend(ax: Axes, names: dict[str, str], colors: dict[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=(*_rgb(colors[group]), 0.2), edgecolor=colors[group], label=text)
        for group, text in names.items()
    ]
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=2,
        frameon=False,
        fontsize="small",
        borderaxespad=0.2,
        title="* adjusted p < 0.05, ** < 0.01, *** < 0.001",
        title_fontsize="x-small",
        alignment="left",
    )
