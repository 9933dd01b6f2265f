"""Montage of cells or patches in pseudo-colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc import get
from kronos_sc._core.checks import known, listed, positive_integer
from kronos_sc._core.resolve import annotation, as_table, require_spatialdata
from kronos_sc._core.space import placement
from kronos_sc.pl import _montage
from kronos_sc.pl._axes import axes_or_new, hide_frame
from kronos_sc.pl._colour import PERCENTILES, channel_colours, channel_legend, channel_limits, composite
from kronos_sc.pl._scale_bar import scale_bar
from kronos_sc.pl._values import values

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

    from kronos_sc.pl._colour import Channels, Limits

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
    """Show units side by side, as a model sees them: what do the cells of a cluster have in common?

    Parameters
    ----------
    data
        Holds image, labels or shapes, and the table; or an array of :func:`kronos_sc.get.patches`, whose options choose among several
        images or regions.
    ids
        Units to show (`obs_names`), in order; drawn at random if left out.
    channels
        Names of up to six channels, or a mapping from name to colour; the first four if left out.
    groupby
        Column of `obs`: one row per group, largest contrast between rows being the question. Rows follow the categories.
    n
        Units per group, or in all without `groupby`; a group with fewer shows those it has. Not used with `ids` alone.
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
    ['nest', 'stroma']
    """
    n = positive_integer(n, name="n")
    if hasattr(data, "images"):
        table = as_table(data, table_key)
        chosen, rows = _choose(table, ids, groupby, n, rng)
        names = list(_image(data, table).coords["c"].to_numpy().astype(str))
        colours = channel_colours(channels, names, image="image")
        array = get.patches(data, chosen, channels=list(colours), patch_size=patch_size, table_key=table_key, nan="zero")
        titles, mpp = _titles(table, chosen, title), _pixel_size(data, table)
    else:
        array, colours, titles, rows = _given(data, ids, channels, groupby, title)
        mpp = None
    return _draw(array, colours, rows, titles, limits=limits, outline=outline, mpp=mpp, ax=ax)
