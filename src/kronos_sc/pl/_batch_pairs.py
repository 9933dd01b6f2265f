"""Pairs of conditions on their first two principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core import results
from kronos_sc._core.checks import listed
from kronos_sc._core.target import require_anndata
from kronos_sc.pl._axes import new_grid
from kronos_sc.pl._batch_matrix import number_text
from kronos_sc.pl._compared import labels_of
from kronos_sc.pl._palette import category_colors, default_colors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from kronos_sc.pl._palette import Palette

_INCHES = 3.0
_MANY = 5_000  # more points than this are drawn as pixels in vector formats


def batch_pairs(
    adata: AnnData,
    key: str,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    representation: str | Sequence[str] | None = None,
    size: float | None = None,
    palette: Palette = None,
    ax: Axes | None = None,
) -> np.ndarray:
    """Show pairs of conditions on their first two principal components, one axes per pair and representation.

    Each point is a unit. Two colours that lie in each other are well mixed (silhouette near 0); two clouds are a batch
    effect. Both axes have the same scale, so that distances are those the silhouette is made of. As Figure S7 of the
    paper :cite:p:`Shaban2025`.

    Parameters
    ----------
    adata
        Table with a result of `tl.batch_silhouette`.
    key
        Name of the result.
    pairs
        Pairs of conditions, out of those kept by `tl.batch_silhouette(keep=...)`; all that were kept if left out.
    representation
        Which of those scored; all if left out.
    size
        Area of a point in square points; chosen from their number if left out.
    palette
        Colours of conditions (list, mapping or name of a colormap). Falls back on `uns["{batch_key}_colors"]`, then on
        two colours that are easy to tell apart, the same two for every pair.
    ax
        Axes to draw on, for one pair and one representation; a new figure if left out.

    Returns
    -------
    Array (pairs × representations) of axes.

    Raises
    ------
    KeyError
        There is no such result or representation, or the coordinates of a pair were not kept.
    ValueError
        The result has one component only, holds no coordinates, or `ax` was given for several panels.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128), n_images=2, n_batches=2)["table"]
    >>> ks.tl.batch_silhouette(cells, "batch", use_rep="X")
    >>> ks.pl.batch_pairs(cells, "batch_silhouette").shape
    (1, 1)
    """
    require_anndata(adata)
    scores = results.frame(adata, key, "scores", kind="batch_silhouette").set_index(
        ["representation", "batch_a", "batch_b"]
    )

    # coordinates are kept for some pairs only; their scores stand in another table
    points = results.frame(adata, key, "coordinates", kind="batch_silhouette")
    if "pc2" not in points:
        msg = (
            f"The result {key!r} has one component, and a plane needs two. Run tl.batch_silhouette with n_components=2."
        )
        raise ValueError(msg)
    names = labels_of(scores.reset_index(), representation)
    shown = _shown_pairs(points, pairs)
    sides = [scores.index.get_level_values(side) for side in ("batch_a", "batch_b")]
    conditions = list(dict.fromkeys([*sides[0], *sides[1]]))
    batch_key = str(results.params(adata, key)["batch_key"])
    axes = _axes(ax, len(shown), len(names))
    for row, pair in zip(axes, shown, strict=True):
        colors = _colors(adata, batch_key, conditions, pair, palette)
        for pair_ax, name in zip(row, names, strict=True):
            is_pair = (points["batch_a"] == pair[0]) & (points["batch_b"] == pair[1])
            _draw(pair_ax, points[is_pair & (points["representation"] == name)], colors, size)
            _describe(pair_ax, name, scores.loc[(name, *pair)])
        _legend(row[-1], batch_key, colors)
    return axes


def _shown_pairs(points: pd.DataFrame, pairs: Sequence[tuple[str, str]] | None) -> list[tuple[str, str]]:
    """Return the pairs to show, in the order in which they were scored."""
    kept = list(dict.fromkeys(zip(points["batch_a"], points["batch_b"], strict=True)))
    if not kept:
        msg = "The result holds no coordinates. Run tl.batch_silhouette again with keep=[(a, b), ...], or without keep."
        raise ValueError(msg)
    if pairs is None:
        return kept
    chosen = []
    for pair in pairs:
        # a pair may be named the other way round; a text, whose letters would be taken for names, is none
        names = set() if isinstance(pair, str) else set(map(str, pair))
        as_scored = next((kept_pair for kept_pair in kept if set(kept_pair) == names), None)
        if as_scored is None:
            kept_names = listed(f"{a}, {b}" for a, b in kept)
            msg = (
                f"The coordinates of {pair!r} were not kept; there are those of: {kept_names}. Run tl.batch_silhouette "
                f"with keep=[{pair!r}]."
            )
            raise KeyError(msg)
        chosen.append(as_scored)
    return chosen


def _axes(ax: Axes | None, rows: int, columns: int) -> np.ndarray:
    if ax is None:
        grid = new_grid(rows, columns, size=(columns * _INCHES + 1.2, rows * (_INCHES + 0.4)))
        grid[0, 0].figure.get_layout_engine().set(h_pad=0.1)  # titles of two lines below axis labels
        return grid
    if rows * columns > 1:
        msg = (
            f"ax is one axes, and {rows} pairs × {columns} representations need {rows * columns}. "
            "Choose one of each with pairs= and representation=, or leave ax out."
        )
        raise ValueError(msg)
    return np.array([[ax]], dtype=object)


def _colors(
    adata: AnnData, batch_key: str, conditions: list[str], pair: tuple[str, str], palette: Palette
) -> dict[str, Any]:
    """Return the colours of the two conditions."""
    if palette is None and f"{batch_key}_colors" not in adata.uns:
        return dict(zip(pair, default_colors(2), strict=True))
    all_colors = category_colors(adata, batch_key, conditions, palette)
    return {name: all_colors[name] for name in pair}


def _draw(ax: Axes, points: pd.DataFrame, colors: dict[str, Any], size: float | None) -> None:
    """Draw the units in mixed order, so that neither condition lies on top."""
    from matplotlib.colors import to_rgba_array

    order = np.random.default_rng(0).permutation(len(points))
    xy = points[["pc1", "pc2"]].to_numpy(float)[order]
    palette = to_rgba_array(list(colors.values()))
    is_second = (points["batch"] == list(colors)[1]).to_numpy(int)[order]
    if size is None:
        size = float(np.clip(6_000 / max(len(points), 1), 3, 30))
    ax.scatter(
        *xy.T, s=size, c=palette[is_second], alpha=0.7, linewidths=0, rasterized=len(points) > _MANY, label="units"
    )
    ax.set_aspect("equal", adjustable="datalim")


def _describe(ax: Axes, name: str, score: pd.Series) -> None:
    """Write scores and explained variance."""
    ax.set_title(
        f"{name}\nsilhouette {number_text(score['silhouette'])} · ARI {number_text(score['ari'])}",
        fontsize="medium",
        pad=8,
    )
    ax.set(xticks=[], yticks=[])
    for number, label in ((1, ax.set_xlabel), (2, ax.set_ylabel)):
        share = float(score[f"pc{number}"])
        suffix = f" ({share:.0%})" if np.isfinite(share) else ""
        label(f"PC {number}{suffix}", fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)


def _legend(ax: Axes, batch_key: str, colors: dict[str, Any]) -> None:
    from matplotlib.lines import Line2D

    ax.legend(
        [Line2D([], [], marker="o", linestyle="", color=color, markersize=6) for color in colors.values()],
        list(colors),
        title=batch_key,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        alignment="left",
        handletextpad=0.2,
    )
