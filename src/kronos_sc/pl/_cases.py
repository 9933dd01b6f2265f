"""Cases as points on two components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.checks import known
from kronos_sc._core.target import require_anndata
from kronos_sc.pl import _points
from kronos_sc.pl._axes import axes_or_new
from kronos_sc.pl._compared import plain
from kronos_sc.pl._names import name_points
from kronos_sc.pl._palette import MISSING, Palette
from kronos_sc.pl._values import values

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_NAMED = 40  # more cases than this are not named unless asked for


def cases(
    adata: AnnData,
    color: str | None = None,
    *,
    basis: str = "X_pca",
    components: tuple[int, int] = (1, 2),
    names: bool | None = None,
    palette: Palette = None,
    ax: Axes | None = None,
) -> Axes:
    """Show cases on two principal components, coloured by group.

    As the paper does for cluster compositions :cite:p:`Shaban2025`. Cases that lie together have similar tissue. Groups
    that part on two components are a hint; ask :func:`kronos_sc.tl.stratify` whether it holds for cases that were not
    looked at.

    Parameters
    ----------
    adata
        Table of cases, from :func:`kronos_sc.tl.aggregate`.
    color
        Column of `obs` or name of a variable; all alike if left out.
    basis
        Entry of `obsm` with the components.
    components
        Which two to show, counted from 1.
    names
        Whether to write the name of each case; up to 40 cases if left out.
    palette
        Colours of categories (list, mapping or name of a colormap), or the colormap of numbers. Categories fall back on
        `uns["{color}_colors"]`, then on the package's own colours.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes; their labels give the share of variance where it is on record.

    Raises
    ------
    KeyError
        The column or the entry of `obsm` does not exist.
    ValueError
        The entry has fewer components than asked for.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128), n_images=4, n_donors=4)["table"]
    >>> donors = ks.tl.aggregate(cells, "donor", use_rep="X")
    >>> len(ks.pl.cases(donors, "group").texts)
    4
    """
    require_anndata(adata)
    known(
        basis,
        list(adata.obsm),
        what="entry of obsm",
        fix="Aggregate with tl.aggregate(adata, case_key, n_components=2), or name it with basis=.",
    )
    xy = _two(adata, basis, components)
    layer = _points.plain(adata.n_obs)
    if color is not None:
        layer = _points.layer(adata, color, values(adata, color), palette)
    ax = axes_or_new(ax, size=(4.2 + _points.legend_width(layer), 3.8))
    _draw(ax, xy, layer)
    labels = [_label(adata, basis, number) for number in components]
    ax.set(xlabel=labels[0], ylabel=labels[1], title=layer.title)
    ax.title.set_fontsize("medium")
    ax.margins(0.1)  # room for names
    plain(ax)
    if names or (names is None and adata.n_obs <= _NAMED):
        name_points(ax, xy, list(adata.obs_names))
    if layer.colors:
        _points.category_legend(ax, layer)
    return ax


def _two(adata: AnnData, basis: str, components: tuple[int, int]) -> np.ndarray:
    """Return two columns (cases × 2)."""
    coordinates = adata.obsm[basis]
    if len(components) != 2 or not all(1 <= number <= coordinates.shape[1] for number in components):
        msg = (
            f"components={tuple(components)!r} asks for what obsm[{basis!r}] does not have: it holds "
            f"{coordinates.shape[1]}, counted from 1. Name two of them, or call tl.aggregate with "
            f"n_components={max(*components, 2)} (never more than cases − 1)."
        )
        raise ValueError(msg)
    columns = [number - 1 for number in components]
    if hasattr(coordinates, "iloc"):  # a data frame
        coordinates = coordinates.iloc
    return np.asarray(coordinates[:, columns], float)


def _draw(ax: Axes, xy: np.ndarray, layer: _points.Layer) -> None:
    style = {"s": 42, "linewidths": 0.6, "edgecolors": "white", "zorder": 3}
    if layer.number_map is not None:
        points = ax.scatter(*xy.T, c=layer.values, cmap=layer.number_map, plotnonfinite=True, **style)
        _points.number_bar(ax, points)
        return
    colors = list(layer.colors.values())
    ax.scatter(*xy.T, color=[MISSING if np.isnan(code) else colors[int(code)] for code in layer.values], **style)


def _label(adata: AnnData, basis: str, number: int) -> str:
    """Return the name of a component with its share of variance where that is on record."""
    if basis != "X_pca":
        return f"{basis.removeprefix('X_')} {number}"
    shares = adata.uns.get("pca", {}).get("variance_ratio")
    if shares is None or number > len(shares):
        return f"PC{number}"
    return f"PC{number} ({float(shares[number - 1]):.0%})"
