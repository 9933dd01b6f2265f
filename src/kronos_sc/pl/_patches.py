"""Montage of cells or patches in pseudo-colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc._core.checks import positive_integer
from kronos_sc._core.resolve import as_table, require_spatialdata
from kronos_sc.pl import _montage
from kronos_sc.pl._axes import axes_or_new, hide_frame
from kronos_sc.pl._choice import choose
from kronos_sc.pl._color import PERCENTILES, channel_legend
from kronos_sc.pl._scale_bar import scale_bar
from kronos_sc.pl._shown import from_array, from_spatialdata
from kronos_sc.pl._values import values

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import xarray as xr
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

    from kronos_sc.pl._color import Channels, Limits

_INCHES = 0.85  # edge of a patch on the page


def patches(
    data: SpatialData | xr.DataArray,
    ids: Sequence[str] | None = None,
    *,
    channels: Channels = None,
    groupby: str | None = None,
    n: int = 8,
    title: str | None = None,
    outline: bool = True,
    limits: Limits = PERCENTILES,
    patch_size: int | None = None,
    table_key: str | None = None,
    rng: int | np.random.Generator | None = 0,
    ax: Axes | None = None,
) -> Axes:
    """Show units side by side, with their neighbourhood, to see what a cluster has in common.

    Parameters
    ----------
    data
        Holds image, labels or shapes, and the table; or an array of :func:`kronos_sc.get.patches`, whose options choose
        among several images or regions.
    ids
        Units to show (`obs_names`), in order; drawn at random if left out.
    channels
        Names of up to six channels, or a mapping from name to colour; the first four if left out.
    groupby
        Column of `obs`: one row per group, in the order of the categories.
    n
        Units drawn per group, or in all without `groupby`; a group with fewer shows those it has. Not used with `ids`.
    title
        Column of `obs` to write above each unit, or `"name"` for the unit's own name.
    outline
        Draw the outline of each cell.
    limits
        What becomes black and full colour: two percentiles over all units shown, or raw values by channel.
    patch_size
        Edge of the window in pixels; 64 for cells and the boxes' own size for boxes if left out.
    table_key
        Which table; the only one if left out.
    rng
        Seed or generator of the draw.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes; all units lie on one canvas, with a scale bar below if the pixel size is known.

    Raises
    ------
    KeyError
        A unit, channel or column does not exist.
    ValueError
        More than six channels without colours of their own; a column of `obs` asked for, but an array given.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8", "CYTOKERATIN"])
    >>> ax = ks.pl.patches(sdata, groupby="region", n=4, patch_size=32)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['nest', 'stroma', 'follicle', 'vessel']
    """
    count = positive_integer(n, name="n")
    # an array of patches brings neither table nor image: nothing that asks for them can be answered
    if hasattr(data, "dims"):
        _refuse(groupby=groupby, title=None if title == "name" else title)
        shown = from_array(data, ids, channels)
        rows = None
        table = None
    else:
        require_spatialdata(data)
        table = as_table(data, table_key)
        chosen, rows = choose(table, ids, groupby=groupby, n=count, rng=rng)
        shown = from_spatialdata(data, table, chosen, channels, patch_size=patch_size, table_key=table_key)
    titles = _titles(table, shown.units, title)
    grid = _montage.Grid(shown.size, _montage.cells(len(shown.units), rows), titled=titles is not None)
    height, width = grid.shape
    margin = 0.3 + 0.085 * max(map(len, rows or ()), default=0)
    ax = axes_or_new(ax, size=(width * _INCHES / grid.size + margin, height * _INCHES / grid.size + 0.7))
    hide_frame(ax)
    _montage.draw(ax, grid, shown.rgb(limits), shown.inside, shown.masks if outline else None)
    _montage.write_titles(ax, grid, titles or ())
    _montage.name_rows(ax, grid, list(rows or ()))
    if shown.mpp is not None:
        scale_bar(ax, mpp=shown.mpp, span=grid.size * 2, where="below")
    channel_legend(ax, shown.colors)
    return ax


def _refuse(**columns: str | None) -> None:
    """Raise a ValueError where a column of `obs` was asked for and there is only an array."""
    for argument, column in columns.items():
        if column is not None:
            msg = (
                f"{argument}={column!r} is a column of obs, and an array of patches has none. Pass the SpatialData, or "
                f"leave {argument} out."
            )
            raise ValueError(msg)


def _titles(table: AnnData | None, units: Sequence[str], title: str | None) -> list[str] | None:
    """Return one line per unit; numbers are rounded."""
    if title is None:
        return None
    if title == "name" or table is None:
        return list(units)
    chosen = values(table, title).iloc[table.obs_names.get_indexer(list(units))]
    return [f"{value:.3g}" if isinstance(value, float) else str(value) for value in chosen]
