"""Marker images and what a model looks at in them, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc import get
from kronos_sc._core import results
from kronos_sc._core.checks import known, listed
from kronos_sc._core.record import thaw
from kronos_sc._core.resolve import annotation, as_table, require_spatialdata
from kronos_sc.pl._axes import hide_frame, new_grid
from kronos_sc.pl._choice import as_list
from kronos_sc.pl._color import PERCENTILES, Limits, channel_limits
from kronos_sc.pl._outline import outline
from kronos_sc.pl._palette import Palette, number_map
from kronos_sc.pl._scale_bar import scale_bar
from kronos_sc.pl._space import placement
from kronos_sc.pl._tissue import channel_names, pyramid, shrunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

_INCHES = 1.75
_SHOWN = 6
_KIND = "attention"
_HEAT = "magma"
_MAKE = (
    "Run tl.attention(sdata, ids=[...], maps=True, key_added='attention_maps') for the units to draw, "
    "then pl.attention_map(sdata, key='attention_maps')."
)


def attention_map(
    sdata: SpatialData,
    unit: str | None = None,
    *,
    markers: Sequence[str] | None = None,
    key: str = "kronos_attention",
    table_key: str | None = None,
    limits: Limits = PERCENTILES,
    shared: bool = True,
    palette: Palette = None,
) -> np.ndarray:
    """Show the marker images of a patch above the attention to each of their tokens.

    As the paper's Figure S8 C :cite:p:`Shaban2025`. The outline of a cell is drawn into both. Maps are kept for a few
    units, so they have a name of their own beside the attention of all: `tl.attention(sdata, ids=[...], maps=True,
    key_added="attention_maps")`, then `pl.attention_map(sdata, key="attention_maps")`.

    Parameters
    ----------
    sdata
        Holds the image, and the table with the result of :func:`kronos_sc.tl.attention` with `maps=True`.
    unit
        Name of a unit with a map; the first if left out.
    markers
        Which markers, in order; if left out the six that get most attention in this patch.
    key
        Name of the result.
    table_key
        Which table; the only one if left out.
    limits
        What becomes black and white: two percentiles of each channel over the whole image, so that a channel with
        nothing in this patch stays dark; or raw values by channel.
    shared
        One scale of attention for all markers, so that their maps compare; one scale each if False.
    palette
        Name of a colormap.

    Returns
    -------
    Array (2 × markers) of axes: images, then maps, with a colour bar, the unit's name above. Attention is in
    thousandths of the whole for `method="cls"`.

    Raises
    ------
    KeyError
        There is no such result, unit or marker.
    ValueError
        The result has no maps.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(96, 96), channels=["DAPI", "CD8", "CYTOKERATIN"])
    >>> model = ks.models.load("kronos-untrained", blocks="official")
    >>> ks.tl.attention(sdata, model=model, ids=["cells_3"], maps=True, mask_fill=None, key_added="attention_maps")
    >>> ks.pl.attention_map(sdata, key="attention_maps").shape
    (2, 3)
    """
    require_spatialdata(sdata)
    table = as_table(sdata, table_key)
    entry, names = _entry(table, key)
    unit = names[0] if unit is None else known(str(unit), names, what="unit with a map", fix=_MAKE)
    maps = results.array(table, key, "maps", kind=_KIND)[names.index(unit)]
    panel = results.frame(table, key, "markers", kind=_KIND)
    chosen = _chosen(list(panel["marker"]), maps, markers)
    channels = [str(name) for name in panel["channel"].iloc[chosen]]
    patch = _patch(sdata, table, unit, channels, thaw(entry["record"])["params"], table_key)
    stretch = _whole_image(sdata.images[patch.image], channels, limits)
    width = len(chosen) * (_INCHES + 0.5 * (not shared)) + 0.9  # each map has a colour bar of its own unless shared
    axes = new_grid(2, len(chosen), size=(width, 2 * _INCHES + 0.75))
    scaled = np.asarray(maps)[chosen] * 1000
    lowest = scaled.min((1, 2))
    highest = scaled.max((1, 2))
    if shared:
        lowest[:] = lowest.min()
        highest[:] = highest.max()

    for column, position in enumerate(chosen):
        image, heat = axes[:, column]
        low, high = stretch[column]
        if high <= low:  # a channel of one value; imshow needs a range
            high = low + 1
        image.imshow(
            patch.pixels[column],
            cmap="gray",
            vmin=low,
            vmax=high,
            interpolation="nearest",
            extent=patch.extent,
        )
        image.set_title(str(panel["marker"].iloc[position]), fontsize="medium")
        top = max(highest[column], lowest[column] + 1e-12)
        kwargs = {"cmap": number_map(palette or _HEAT), "vmin": lowest[column], "vmax": top, "extent": patch.extent}
        heat_image = heat.imshow(scaled[column], interpolation="nearest", **kwargs)
        for ax in (image, heat):
            hide_frame(ax)
            patch.outline(ax)
        if not shared:
            heat.figure.colorbar(heat_image, ax=heat, shrink=0.8, aspect=12).set_label(_bar(entry), fontsize="small")

    if shared:
        axes[0, 0].figure.colorbar(heat_image, ax=axes, label=_bar(entry), shrink=0.7, aspect=20)
    if patch.mpp is not None:
        scale_bar(axes[0, 0], mpp=patch.mpp, color="white", backing="black")
    axes[0, 0].set_ylabel("marker")
    axes[1, 0].set_ylabel("attention")
    axes[0, 0].figure.suptitle(unit, fontsize="medium")
    return axes


@dataclass(frozen=True)
class _Patch:
    """The window of a unit as the model saw it, before scaling and masking.

    Parameters
    ----------
    pixels
        (c, y, x).
    mask
        The unit's own pixels (y, x; bool), if known.
    mpp
        Micrometres per pixel, if known.
    image
        Name of the image.
    """

    pixels: np.ndarray
    mask: np.ndarray | None
    mpp: float | None
    image: str

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """Left, right, bottom and top in pixels."""
        edge = self.pixels.shape[-1]
        return (0, edge, edge, 0)

    def outline(self, ax: Axes) -> None:
        """Draw the outline of the unit, white on black to be seen on any colour.

        Boxes that fill the window have none.
        """
        from matplotlib.collections import LineCollection

        if self.mask is not None and len(segments := outline(self.mask)):
            for color, width in (("black", 2.0), ("white", 0.9)):
                ax.add_collection(
                    LineCollection(segments, colors=color, linewidths=width, capstyle="round", label="outline"),
                    autolim=False,
                )


def _entry(table: AnnData, key: str) -> tuple[Any, list[str]]:
    """Return a result with maps, and the names of the units that have one."""
    entry = results.entry(table, key, kind=_KIND)
    if "maps" not in entry:
        keys_with_maps = [
            name for name in results.names(table) if str(table.uns[name]["kind"]) == _KIND and "maps" in table.uns[name]
        ]
        msg = (
            f"The result {key!r} has no maps of tokens; results with maps: {listed(keys_with_maps)}. Name one with "
            f"key=, or make one: {_MAKE}"
        )
        raise ValueError(msg)
    return entry, [str(name) for name in np.asarray(entry["units"])]


def _chosen(names: list[str], maps: np.ndarray, markers: Sequence[str] | None) -> list[int]:
    """Return the positions of the markers to show: those named, or those with most attention, in panel order."""
    if markers is None:
        return np.sort(np.argsort(-maps.sum((1, 2)), kind="stable")[:_SHOWN]).tolist()
    wanted_names = list(dict.fromkeys(as_list(markers)))
    if not wanted_names:
        msg = "No marker was named. Name some with markers=[...], or leave it out for those with most attention."
        raise ValueError(msg)
    fix = "Name some of these with markers=."
    return [names.index(known(str(name), names, what="marker in this result", fix=fix)) for name in wanted_names]


def _patch(
    sdata: SpatialData, table: AnnData, unit: str, channels: list[str], params: dict[str, Any], table_key: str | None
) -> _Patch:
    """Read the window of a unit."""
    link = annotation(table, name=table_key or "table")
    region = str(table.obs[link.region_key].iloc[table.obs_names.get_loc(unit)])
    regions = [str(name) for name in np.atleast_1d(params["regions"])]
    position = regions.index(known(region, regions, what="region in this result", fix=_MAKE))
    image, window = (np.atleast_1d(params[name])[position] for name in ("images", "window"))
    # the window as it was embedded, also where the table's own settings have changed since
    element_argument = "labels_key" if region in sdata.labels else "shapes_key"
    kwargs = {element_argument: region, "table_key": table_key, "image_key": {region: str(image)}}
    array: xr.DataArray = get.patches(
        sdata,
        [unit],
        channels=channels,
        patch_size=int(window),
        spatial_key=str(params["spatial_key"]) or None,
        scale=str(params["scale"]) or None,
        nan="zero",
        **kwargs,
    )
    element = sdata.images[str(image)]
    if params["scale"]:
        element = element[str(params["scale"])]["image"]
    mask = array.coords["mask"].to_numpy()[0] if "mask" in array.coords else None
    return _Patch(array.to_numpy()[0], mask, placement(element).mpp, str(image))


def _whole_image(element: Any, channels: list[str], limits: Limits) -> np.ndarray:
    """Return what becomes black and white in each channel (c × 2), from percentiles of the whole image."""
    names = channel_names(element)
    planes = shrunk(pyramid(element), [names.index(channel) for channel in channels])
    return channel_limits(planes, channels, limits)


def _bar(entry: Any) -> str:
    """Return the label of the colour bar."""
    if str(thaw(entry["params"])["method"]) == "gradient":
        return "attention × gradient (× 1000)"
    return "attention (‰)"
