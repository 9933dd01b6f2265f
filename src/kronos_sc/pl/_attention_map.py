"""Marker images and what a model looks at in them, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc import get
from kronos_sc._core import results
from kronos_sc._core.checks import known
from kronos_sc._core.record import thaw
from kronos_sc._core.resolve import annotation, as_table, require_spatialdata
from kronos_sc.pl._axes import hide_frame, new_grid
from kronos_sc.pl._colour import PERCENTILES, Limits, channel_limits
from kronos_sc.pl._palette import Palette, number_map
from kronos_sc.pl._scale_bar import scale_bar
from kronos_sc.pl._space import placement

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from anndata import AnnData
    from spatialdata import SpatialData

_INCHES, _SHOWN = 1.75, 6
_KIND, _HEAT = "attention", "magma"


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
    """Show the marker images of a patch above the attention to each of their tokens (paper, Figure S8 C).

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
        What becomes black and white in the images: two percentiles of each, or raw values by channel.
    shared
        One scale of attention for all markers, so that their maps compare; one scale each if False.
    palette
        Name of a colormap.

    Returns
    -------
    Array (2 × markers) of axes: images, then maps, with a colour bar. Attention is in thousandths of the whole for `method="cls"`.

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
    >>> ks.tl.attention(sdata, model=model, ids=["cells_3"], maps=True, mask_fill=None)
    >>> ks.pl.attention_map(sdata).shape
    (2, 3)
    """
    require_spatialdata(sdata)
    table = as_table(sdata, table_key)
    entry, names = _entry(table, key)
    unit = (
        names[0]
        if unit is None
        else known(str(unit), names, what="unit with a map", fix="Compute one with tl.attention(ids=[...], maps=True).")
    )
    maps = results.array(table, key, "maps", kind=_KIND)[names.index(unit)]
    panel = results.frame(table, key, "markers", kind=_KIND)
    chosen = _chosen(list(panel["marker"]), maps, markers)
    channels = [str(name) for name in panel["channel"].iloc[chosen]]
    patch, mpp = _pixels(sdata, table, unit, channels, thaw(entry["record"])["params"], table_key)
    axes = new_grid(2, len(chosen), size=(len(chosen) * _INCHES + 0.9, 2 * _INCHES + 0.5))
    scaled = np.asarray(maps)[chosen] * 1000
    lowest, highest = scaled.min((1, 2)), scaled.max((1, 2))
    if shared:
        lowest[:], highest[:] = lowest.min(), highest.max()
    stretch = np.concatenate(
        [channel_limits(plane[None], [name], _limits(limits, name)) for plane, name in zip(patch, channels, strict=True)]
    )
    for column, position in enumerate(chosen):
        image, heat = axes[:, column]
        low, high = stretch[column]
        image.imshow(patch[column], cmap="gray", vmin=low, vmax=high if high > low else low + 1, interpolation="nearest")
        image.set_title(str(panel["marker"].iloc[position]), fontsize="medium")
        top = max(highest[column], lowest[column] + 1e-12)
        edge = patch.shape[-1]
        drawn = heat.imshow(
            scaled[column],
            cmap=number_map(palette or _HEAT),
            vmin=lowest[column],
            vmax=top,
            extent=(0, edge, edge, 0),
            interpolation="nearest",
        )
        for ax in (image, heat):
            hide_frame(ax)
        if not shared:
            heat.figure.colorbar(drawn, ax=heat, shrink=0.8, aspect=12, label=_bar(entry) if column == len(chosen) - 1 else "")
    if shared:
        axes[0, 0].figure.colorbar(drawn, ax=axes, label=_bar(entry), shrink=0.7, aspect=20)
    if mpp is not None:
        scale_bar(axes[0, -1], mpp=mpp, colour="white")
    axes[0, 0].set_ylabel("marker")
    axes[1, 0].set_ylabel("attention")
    return axes


def _entry(table: AnnData, key: str) -> tuple[Any, list[str]]:
    """Return a result with maps, and the names of the units that have one."""
    entry = results.entry(table, key, kind=_KIND)
    if "maps" not in entry:
        msg = f"The result {key!r} has no maps of tokens. Run tl.attention(sdata, ids=[...], maps=True) for the units to draw."
        raise ValueError(msg)
    return entry, [str(name) for name in np.asarray(entry["units"])]


def _chosen(names: list[str], maps: np.ndarray, markers: Sequence[str] | None) -> list[int]:
    """Return the positions of the markers to show: those named, or those with most attention, in panel order."""
    if markers is None:
        return np.sort(np.argsort(-maps.sum((1, 2)), kind="stable")[:_SHOWN]).tolist()
    wanted = [markers] if isinstance(markers, str) else list(dict.fromkeys(markers))
    if not wanted:
        msg = "No marker was named. Name some with markers=[...], or leave it out for those with most attention."
        raise ValueError(msg)
    return [names.index(known(str(name), names, what="marker in this result", fix="Name some of these with markers=.")) for name in wanted]


def _pixels(
    sdata: SpatialData, table: AnnData, unit: str, channels: list[str], params: dict[str, Any], table_key: str | None
) -> tuple[np.ndarray, float | None]:
    """Return the window of a unit as the model saw it (c, y, x; before scaling and masking) and the size of a pixel in µm, if known."""
    what = annotation(table, name=table_key or "table")
    region = str(table.obs[what.region_key].iloc[table.obs_names.get_loc(unit)])
    regions = [str(name) for name in np.atleast_1d(params["regions"])]
    at = regions.index(known(region, regions, what="region in this result", fix="Run tl.attention(sdata, maps=True) again."))
    image, window = (np.atleast_1d(params[name])[at] for name in ("images", "window"))
    where = {"labels_key" if region in sdata.labels else "shapes_key": region, "table_key": table_key, "image_key": {region: str(image)}}
    array: xr.DataArray = get.patches(
        sdata,
        [unit],
        channels=channels,
        patch_size=int(window),
        spatial_key=str(params["spatial_key"]) or None,
        scale=str(params["scale"]) or None,
        nan="zero",
        **where,
    )
    element = sdata.images[str(image)]
    place = placement(element[str(params["scale"])]["image"] if params["scale"] else element)
    return array.to_numpy()[0], float(np.sqrt(np.prod(place.scale))) if place.unit == "µm" else None


def _limits(limits: Limits, name: str) -> Limits:
    """Return what of the limits belongs to a channel."""
    return limits if not isinstance(limits, dict) else {name: limits[name]} if name in limits else PERCENTILES


def _bar(entry: Any) -> str:
    """Return the label of the colour bar."""
    return "attention (‰)" if str(thaw(entry["params"])["method"]) != "gradient" else "attention × gradient (× 1000)"
