"""Units in space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.checks import known
from kronos_sc._core.keys import UNS_SPATIALDATA
from kronos_sc._core.resolve import annotation, as_table, image_of
from kronos_sc.pl import _points
from kronos_sc.pl._axes import new_grid, spatial_axes
from kronos_sc.pl._colour import PERCENTILES, channel_legend
from kronos_sc.pl._scale_bar import scale_bar
from kronos_sc.pl._space import Placement, placement, scaled
from kronos_sc.pl._tissue import Tissue, tissue
from kronos_sc.pl._values import values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

    from kronos_sc.pl._colour import Channels
    from kronos_sc.pl._palette import Palette

_INCHES = 4.4


def spatial(
    data: AnnData | SpatialData,
    color: str | Sequence[str] | None = None,
    *,
    region: str | Sequence[str] | None = None,
    table_key: str | None = None,
    spatial_key: str = "spatial",
    image_key: str | None = None,
    channels: Channels = None,
    mpp: float | None = None,
    size: float | None = None,
    palette: Palette = None,
    ax: Axes | None = None,
) -> np.ndarray:
    """Show units where they lie in the tissue, coloured by whatever is known of them.

    Parameters
    ----------
    data
        A table, or the SpatialData that holds it.
    color
        Column of `obs`, name of a variable, or a feature of an embedding (`"X_kronos[12]"`); several make several axes. Values that
        are missing are grey.
    region
        One or several regions of the table; all of them if left out.
    table_key
        Which table of a SpatialData; the only one if left out.
    spatial_key
        Entry of `obsm` with x and y in pixels.
    image_key
        Image to lay underneath (SpatialData); the region's own if `channels` is given and this is left out.
    channels
        Names of up to six channels to lay underneath in pseudo-colour, or a mapping from name to colour.
    mpp
        Micrometres per pixel, where the data do not record it.
    size
        Diameter of a unit in the units of the axes; chosen from their density if left out.
    palette
        Colours of categories (list, mapping or name of a colormap), or the colormap of numbers. Categories fall back on
        `uns["{color}_colors"]`, then on the package's own colours.
    ax
        Axes to draw on, for one region and one colour; a new figure if left out.

    Returns
    -------
    Array (regions × colours) of axes, in µm with a scale bar if the pixel size is known, else in pixels.

    Raises
    ------
    KeyError
        A column, region or entry of `obsm` does not exist.
    ValueError
        `ax` was given for several panels; `channels` for a table without images.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8"])
    >>> ks.pl.spatial(sdata, ["cell_type", "CD8"]).shape
    (1, 2)
    """
    table = as_table(data, table_key)
    sdata = data if hasattr(data, "images") else None
    under = channels is not None or image_key is not None
    if under and sdata is None:
        msg = "channels and image_key need pixels, and a table has none. Pass the SpatialData, or leave them out."
        raise ValueError(msg)
    xy = _coordinates(table, spatial_key)
    keys = [color] if isinstance(color, str) else list(color or ())
    layers = [_points.layer(table, key, values(table, key), palette) for key in keys] or [_points.plain(table.n_obs)]
    panels = _panels(table, sdata, region, mpp)
    images = [image_of(sdata, panel.region, image_key) for panel in panels] if under else []
    tissues = [tissue(sdata, channels, image_key=name, limits=PERCENTILES, mpp=mpp) for name in images] or [None] * len(panels)
    axes = _axes(ax, panels, layers, xy)
    for row, (panel, below) in enumerate(zip(panels, tissues, strict=True)):
        for column, layer in enumerate(layers):
            _draw(axes[row, column], panel, layer, xy, below, size=size)
            if layer.colours and row == 0:
                _points.category_legend(axes[row, column], layer)
            title = [layer.title, panel.region if len(panels) > 1 else None]
            axes[row, column].set_title(" · ".join(str(t) for t in title if t), fontsize="medium", pad=24 if below else 6)
    return axes


@dataclass(frozen=True)
class _Panel:
    """One region: its rows of the table and where its pixels lie."""

    region: str | None
    rows: np.ndarray
    place: Placement


def _coordinates(table: AnnData, key: str) -> np.ndarray:
    """Return x and y of every row, in pixels."""
    known(key, list(table.obsm), what="entry of obsm", fix="Coordinates (x, y in pixels) are needed; name their entry with spatial_key=.")
    xy = np.asarray(table.obsm[key], float)
    if xy.ndim != 2 or xy.shape[1] < 2:
        msg = f"obsm[{key!r}] has the shape {xy.shape}; x and y per row are needed. Name another entry with spatial_key=."
        raise ValueError(msg)
    return xy[:, :2]


def _panels(table: AnnData, sdata: SpatialData | None, region: str | Sequence[str] | None, mpp: float | None) -> list[_Panel]:
    """Return what each row of axes shows."""
    if not table.n_obs:
        msg = "The table has no rows, so there is nothing to show. Make one with pp.label_table(sdata) or pp.tile(sdata)."
        raise ValueError(msg)
    given = Placement() if mpp is None else scaled(mpp)
    if not table.uns.get(UNS_SPATIALDATA):
        if region is not None:
            msg = f"region={region!r} was asked for, but the table has no region metadata. Leave region out, or subset the table."
            raise ValueError(msg)
        return [_Panel(None, np.arange(table.n_obs), given)]
    what = annotation(table, name="table")
    there = [name for name in what.regions if len(what.rows(table, name))]
    chosen = there if region is None else [region] if isinstance(region, str) else list(region)
    for name in chosen:
        known(name, there, what="region of the table", fix="Choose one of these with region=.")
    return [_Panel(name, what.rows(table, name), _placement(sdata, name, mpp) or given) for name in chosen]


def _placement(sdata: SpatialData | None, region: str, mpp: float | None) -> Placement | None:
    """Return where a region lies, if its element is there."""
    if sdata is None or region not in sdata:
        return None
    return placement(sdata[region], mpp=mpp)


def _axes(ax: Axes | None, panels: list[_Panel], layers: list[_points.Layer], xy: np.ndarray) -> np.ndarray:
    """Return the axes to draw on, in the shape of the answer."""
    count = len(panels) * len(layers)
    if ax is None:
        span = np.nanmax([np.ptp(xy[panel.rows], axis=0) for panel in panels], axis=0)
        ratio = float(np.clip(span[1] / max(span[0], 1e-9), 0.25, 3))
        width = sum(_INCHES + _points.legend_width(layer) for layer in layers)
        return new_grid(len(panels), len(layers), size=(width, len(panels) * (_INCHES * ratio + 0.4)))
    if count > 1:
        msg = f"ax is one axes, and {len(panels)} regions × {len(layers)} colours need {count}. Choose one with region= and color=, or leave ax out."
        raise ValueError(msg)
    return np.array([[ax]], dtype=object)


def _draw(ax: Axes, panel: _Panel, layer: _points.Layer, xy: np.ndarray, below: Tissue | None, *, size: float | None) -> None:
    """Draw one region in one colour."""
    here = panel.place.apply(xy[panel.rows])
    diameter = size if size is not None else _points.diameter(here) * (1 if below is None else 0.55)
    if below is not None:
        below.draw(ax)
        channel_legend(ax, below.colours)
    _points.draw(ax, here, layer, panel.rows, size=diameter, edge="white" if below is not None else None)
    if below is None:
        low, high = np.nanmin(here, axis=0) - diameter, np.nanmax(here, axis=0) + diameter
        strip = (high[1] - low[1]) * 0.08 if panel.place.unit == "µm" else 0  # room for the scale bar
        ax.set(xlim=(low[0], high[0]), ylim=(high[1] + strip, low[1]))
    spatial_axes(ax, panel.place)
    if panel.place.unit == "µm":
        scale_bar(ax, colour="white" if below is not None else None)
