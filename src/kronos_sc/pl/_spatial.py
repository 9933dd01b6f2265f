"""Units in space."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import known, listed
from kronos_sc._core.keys import UNS_SPATIALDATA
from kronos_sc._core.resolve import annotation, as_table, image_of
from kronos_sc.pl import _points
from kronos_sc.pl._axes import new_grid, spatial_axes
from kronos_sc.pl._cells import Cells, cells_of
from kronos_sc.pl._choice import as_list
from kronos_sc.pl._color import PERCENTILES, channel_legend
from kronos_sc.pl._marks import Discs, Polygons, shapes_of
from kronos_sc.pl._scale_bar import scale_bar
from kronos_sc.pl._space import Placement, placement, placement_beside, scaled
from kronos_sc.pl._tissue import Tissue, tissue
from kronos_sc.pl._values import values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

    from kronos_sc.pl._color import Channels
    from kronos_sc.pl._palette import Palette

    Marks = Discs | Polygons | Cells

_INCHES = 4.4
_MARGIN = 0.015  # of the larger side, around shapes and cells
_APART = 0.55  # of their distance: discs on an image let the tissue be seen
_LINE = 1.6


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
    labels: bool | str = False,
    size: float | None = None,
    outline: str | Sequence[str] | None = None,
    palette: Palette = None,
    ax: Axes | None = None,
) -> np.ndarray:
    """Show units where they lie in the tissue, coloured by whatever is known of them.

    Units of shapes are drawn as what they are: boxes of :func:`kronos_sc.pp.tile`, polygons, circles. Where the boxes
    of a grid overlap, each is drawn as its own part, the middle. Cells of labels are discs, or filled cells with
    `labels=True`; of a table without its SpatialData all units are discs. On an image, fills are a veil that the tissue
    shows through.

    Parameters
    ----------
    data
        A table, or the SpatialData that holds it.
    color
        Column of `obs`, name of a variable, or a feature of an embedding (`"X_kronos[12]"`); several make several axes.
        Values that are missing are grey.
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
    labels
        Fill the cells of the labels that the table annotates (True), or of others of the same ids, those of nuclei say
        (a name; of several regions choose one).
    size
        Draw every unit as a disc of this diameter, in the units of the axes; if left out, that of cells follows their
        density.
    outline
        One or several categories to surround with a line, a cluster, say: of the first column of `color` that holds
        categories. On an image (`channels`) the lines have the colours of the categories and nothing is filled, so that
        the tissue is seen, as in the paper's Figure S4; else they are black, over the fill. Discs, and cells too small
        on the page to have lines of their own, are surrounded by the ground that is nearer to them than to others.
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
        A column, category, region, labels or entry of `obsm` does not exist.
    ValueError
        `ax` was given for several panels; `channels` or `labels` for a table alone; `outline` without a column of
        categories; no row names a shape or a label of its region.

    Warns
    -----
    UserWarning
        Rows that name no shape of their region are not drawn.

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
    for needs_pixels, names in ((under, "channels and image_key need"), (labels, "labels needs")):
        if needs_pixels and sdata is None:
            msg = f"{names} pixels, and a table has none. Pass the SpatialData, or leave them out."
            raise ValueError(msg)
    keys = as_list(color or ())
    layers = [_points.layer(table, key, values(table, key), palette) for key in keys] or [_points.plain(table.n_obs)]
    outlined = _outlined(layers, outline)
    panels = _panels(table, sdata, region, mpp)
    _require_one_region(panels, labels)
    options = _UnitOptions(spatial_key, labels, size, under)
    marks = [_marks(table, sdata, panel, options) for panel in panels]
    tissues: list[Tissue | None] = [None] * len(panels)
    if under:
        images = [image_of(sdata, panel.region, image_key) for panel in panels]
        tissues = [tissue(sdata, channels, image_key=name, limits=PERCENTILES, mpp=mpp) for name in images]

    axes = _axes(ax, panels, layers, marks)
    for row, (panel, units, below) in enumerate(zip(panels, marks, tissues, strict=True)):
        for column, layer in enumerate(layers):
            _draw(axes[row, column], panel, layer, units, below, outlined)
            if row == 0:
                _legend(axes[row, column], layer, units, outlined, over=under)
            title = [layer.title]
            if len(panels) > 1:
                title.append(panel.region)
            if outlined is not None and not under:  # with an image, the legend says it
                title.append(f"outline: {', '.join(outlined.names)}")
            pad = 24 if below else 6  # above an image stand the names of its channels
            axes[row, column].set_title(" · ".join(str(part) for part in title if part), fontsize="medium", pad=pad)
    return axes


@dataclass(frozen=True)
class _Panel:
    """One region: its rows of the table and where its pixels lie."""

    region: str | None
    rows: np.ndarray
    place: Placement


@dataclass(frozen=True)
class _UnitOptions:
    """What units are drawn from: coordinates, labels and size as given, and whether an image lies underneath."""

    spatial_key: str
    labels: bool | str
    size: float | None
    under: bool


@dataclass(frozen=True)
class _Outlined:
    """Categories with a line around them: their layer, and their names."""

    layer: _points.Layer
    names: tuple[str, ...]

    def members(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return which of some rows of the table are of a category (bool)."""
        return self.layer.values[rows] == list(self.layer.colors).index(name)


def _outlined(layers: list[_points.Layer], outline: str | Sequence[str] | None) -> _Outlined | None:
    """Return the categories to surround."""
    if outline is None:
        return None
    names_wanted = list(outline) if isinstance(outline, Iterable) and not isinstance(outline, str) else [outline]
    layer = next((layer for layer in layers if layer.colors), None)
    if layer is None:
        columns = listed(layer.title for layer in layers if layer.title)
        msg = (
            f"outline={outline!r} names categories of a column, and color has none with categories ({columns}). "
            "Name one: color='leiden', outline='3'. Numbers become categories with obs[key].astype(str)."
        )
        raise ValueError(msg)
    fix = "Name categories with outline=."
    names = [known(str(name), layer.colors, what=f"category of {layer.title!r}", fix=fix) for name in names_wanted]
    return _Outlined(layer, tuple(dict.fromkeys(names)))


def _marks(table: AnnData, sdata: SpatialData | None, panel: _Panel, options: _UnitOptions) -> Marks:
    """Return the units of one region, on the page."""
    name = panel.region
    instances = None
    # a table without regions has no labels either: with labels= this says so
    if sdata is not None and (name is not None or options.labels):
        instances = table.obs[annotation(table, name="table").instance_key].to_numpy()[panel.rows]
    if options.labels and instances is not None:
        element = _labels_named(sdata, name, labels=options.labels)
        place = panel.place
        if name in sdata:
            place = placement_beside(sdata.labels[element], sdata[name], place)
        return cells_of(sdata.labels[element], instances, place, name=element)

    # shapes are drawn as what they are, unless a size or other coordinates ask for discs
    asks_for_discs = options.size is not None or options.spatial_key != "spatial"
    if not asks_for_discs and instances is not None and name in sdata.shapes:
        return shapes_of(sdata.shapes[name], instances, panel.place, region=name)
    xy = panel.place.apply(_coordinates(table, options.spatial_key)[panel.rows])
    size = options.size
    if size is None:
        size = _points.diameter(xy) * (_APART if options.under else 1)
    return Discs(xy, np.full(xy.shape, float(size)))


def _require_one_region(panels: list[_Panel], labels: object) -> None:
    """Raise a ValueError if one labels element is to be filled in the place of several regions.

    Their ids need not be its own.
    """
    if isinstance(labels, str) and len(panels) > 1:
        regions = listed(panel.region for panel in panels)
        msg = (
            f"labels={labels!r} is one element, and {len(panels)} regions would be drawn from it ({regions}). "
            "Choose the one it belongs to with region=, or fill each region's own cells with labels=True."
        )
        raise ValueError(msg)


def _labels_named(sdata: SpatialData, region: str, *, labels: bool | str) -> str:
    """Return the labels to fill."""
    fix = "Fill the cells of the table with labels=True, or leave it out for discs."
    if isinstance(labels, str):
        return known(labels, sdata.labels, what="labels", fix=fix)
    if region not in sdata.labels:
        what = "shapes, which are drawn as they are" if region in sdata.shapes else "no element of this SpatialData"
        msg = (
            f"labels=True fills cells of labels, and region {region!r} is {what}; labels: {listed(sdata.labels)}. "
            "Leave labels out, or name another table with table_key=."
        )
        raise ValueError(msg)
    return region


def _coordinates(table: AnnData, key: str) -> np.ndarray:
    """Return x and y of every row, in pixels."""
    known(
        key,
        list(table.obsm),
        what="entry of obsm",
        fix="Coordinates (x, y in pixels) are needed; name their entry with spatial_key=.",
    )
    xy = np.asarray(table.obsm[key], float)
    if xy.ndim != 2 or xy.shape[1] < 2:
        msg = (
            f"obsm[{key!r}] has the shape {xy.shape}; x and y per row are needed. Name another entry with spatial_key=."
        )
        raise ValueError(msg)
    return xy[:, :2]


def _panels(
    table: AnnData, sdata: SpatialData | None, region: str | Sequence[str] | None, mpp: float | None
) -> list[_Panel]:
    """Return what each row of axes shows."""
    if not table.n_obs:
        msg = (
            "The table has no rows, so there is nothing to show. Make one with pp.label_table(sdata) or pp.tile(sdata)."
        )
        raise ValueError(msg)
    default_place = Placement() if mpp is None else scaled(mpp)
    if not table.uns.get(UNS_SPATIALDATA):
        if region is not None:
            msg = (
                f"region={region!r} was asked for, but the table has no region metadata. Leave region out, or subset "
                "the table."
            )
            raise ValueError(msg)
        return [_Panel(None, np.arange(table.n_obs), default_place)]
    link = annotation(table, name="table")
    regions = [name for name in link.regions if len(link.rows(table, name))]
    chosen = regions
    if region is not None:
        fix = "Choose one of these with region=."
        chosen = [known(name, regions, what="region of the table", fix=fix) for name in as_list(region)]
    return [_Panel(name, link.rows(table, name), _placement(sdata, name, mpp) or default_place) for name in chosen]


def _placement(sdata: SpatialData | None, region: str, mpp: float | None) -> Placement | None:
    """Return where a region lies, if its element is there."""
    if sdata is None or region not in sdata:
        return None
    return placement(sdata[region], mpp=mpp)


def _axes(ax: Axes | None, panels: list[_Panel], layers: list[_points.Layer], marks: list[Marks]) -> np.ndarray:
    """Return the axes to draw on, in the shape of the answer."""
    count = len(panels) * len(layers)
    if ax is None:
        # axes as high as the largest region needs, within limits that fit a page
        span = np.nanmax([np.ptp(units.bounds, axis=0) for units in marks], axis=0)
        ratio = float(np.clip(span[1] / max(span[0], 1e-9), 0.25, 3))
        width = sum(_INCHES + _points.legend_width(layer) for layer in layers)
        return new_grid(len(panels), len(layers), size=(width, len(panels) * (_INCHES * ratio + 0.4)))
    if count > 1:
        msg = (
            f"ax is one axes, and {len(panels)} regions × {len(layers)} colours need {count}. Choose one with region= "
            "and color=, or leave ax out."
        )
        raise ValueError(msg)
    return np.array([[ax]], dtype=object)


def _draw(
    ax: Axes, panel: _Panel, layer: _points.Layer, units: Marks, below: Tissue | None, outlined: _Outlined | None
) -> None:
    """Draw one region in one colour."""
    over = below is not None
    if over:
        below.draw(ax)
        channel_legend(ax, below.colors)
    if outlined is None or not over:
        drawn = units.fill(ax, layer, layer.values[panel.rows], over=over)
        if layer.number_map is not None:
            _points.number_bar(ax, drawn)
    if outlined is not None:
        _draw_outlines(ax, panel, units, outlined, over=over)

    # an image has set the limits already
    if not over:
        low, high = units.bounds
        margin = 0.0 if isinstance(units, Discs) else _MARGIN * (high - low).max()
        strip = (high[1] - low[1]) * 0.08 if panel.place.unit == "µm" else 0  # room for the scale bar
        ax.set(xlim=(low[0] - margin, high[0] + margin), ylim=(high[1] + margin + strip, low[1] - margin))
    spatial_axes(ax, panel.place)
    if panel.place.unit == "µm":
        scale_bar(ax, color="white" if over else None)


def _draw_outlines(ax: Axes, panel: _Panel, units: Marks, outlined: _Outlined, *, over: bool) -> None:
    """Surround the units of each category: in its colour on an image, else in black over the fill."""
    for name in outlined.names:
        lines = units.outline(outlined.members(name, panel.rows))
        label = f"outline of {name}"
        if over:
            _line(ax, lines, outlined.layer.colors[name], halo="black", label=label)
        else:
            _line(ax, lines, "black", halo="white", label=label)


def _line(ax: Axes, lines: list[np.ndarray], color: Any, *, halo: str, label: str) -> None:
    """Draw lines that are seen on any colour."""
    from matplotlib.collections import LineCollection

    kwargs = {"capstyle": "round", "joinstyle": "round", "zorder": 3}
    ax.add_collection(
        LineCollection(lines, colors=[halo], linewidths=_LINE + 1.4, label="halo", **kwargs), autolim=False
    )
    ax.add_collection(LineCollection(lines, colors=[color], linewidths=_LINE, label=label, **kwargs), autolim=False)


def _legend(ax: Axes, layer: _points.Layer, units: Marks, outlined: _Outlined | None, *, over: bool) -> None:
    """List the categories of a layer beside the axes, or those that are outlined where nothing else is drawn."""
    if outlined is not None and over:
        _points.category_legend(ax, outlined.layer, only=outlined.names)
    elif layer.colors:
        _points.category_legend(ax, layer, marker="o" if isinstance(units, Discs) else "s")
