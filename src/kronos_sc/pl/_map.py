"""Maps of classes over the tissue that they were drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.resolve import require_spatialdata
from kronos_sc.pl._axes import axes_or_new, spatial_axes
from kronos_sc.pl._color import PERCENTILES, channel_legend
from kronos_sc.pl._map_layer import Layer, image_below, map_layer, map_named
from kronos_sc.pl._points import number_bar
from kronos_sc.pl._scale_bar import scale_bar
from kronos_sc.pl._tissue import tissue

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

    from kronos_sc.pl._color import Channels
    from kronos_sc.pl._palette import Palette

_INCHES = 5.0


def map(  # noqa: A001 - what the user gets; nobody here needs the builtin
    sdata: SpatialData,
    key: str = "map",
    *,
    color: str | None = None,
    image_key: str | None = None,
    channels: Channels = None,
    alpha: float = 0.35,
    palette: Palette = None,
    mpp: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show a map of classes, or the probability of one of them, over the pseudo-colour tissue.

    Maps of the preset `"artifact"` show artifacts alone: foreground and background stay clear, unless `palette` maps
    them to colours.

    Parameters
    ----------
    sdata
        Holds map and image.
    key
        Name of the map, `key_added` of `tl.predict_map` or `tl.artifact_map` (the name of its labels, `"map_class"`,
        will do); or labels whose values are classes, such as the simulator's `"regions"`.
    color
        Name of a class, for its probability; the most probable class of each place if left out.
    image_key
        Image underneath; the one that the map was drawn from if left out.
    channels
        Names of up to six channels to lay underneath in pseudo-colour, or a mapping from name to colour; the first four
        if left out.
    alpha
        Opacity of the map, 0 to 1; low by default, to see the tissue that it lies on.
    palette
        Colours of the classes (list, mapping or name of a colormap), or the colormap of probabilities. Classes fall
        back on `uns["class_colors"]` of the map's table, then on the package's own colours.
    mpp
        Micrometres per pixel of the image, where it does not record it.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes, in µm with a scale bar if the pixel size is known, else in pixels.

    Raises
    ------
    KeyError
        There is no such map, class, image or channel.
    ValueError
        Several images could lie underneath; map and image share no coordinate system.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8"], regions=True)
    >>> ks.pl.map(sdata, "regions").get_title()
    'regions'
    """
    require_spatialdata(sdata)
    if not 0 <= alpha <= 1:
        msg = f"alpha must lie between 0 (the tissue alone) and 1 (the map alone), got {alpha!r}. The default is 0.35."
        raise ValueError(msg)
    key = map_named(sdata, key, color)
    name = image_below(sdata, key, image_key)
    element = sdata.images[name]
    shown = map_layer(sdata, key, color, element, palette)
    below = tissue(sdata, channels, image_key=name, limits=PERCENTILES, mpp=mpp)
    height, width = below.shape
    ax = axes_or_new(ax, size=(_INCHES + 1.6, max(1.5, _INCHES * height / width) + 0.7))
    below.draw(ax)
    # a map that is larger than the image, or shifted, does not move the view
    limits = ax.get_xlim(), ax.get_ylim()
    _draw(ax, shown, below.place.apply(shown.corners), alpha=alpha)
    ax.set(xlim=limits[0], ylim=limits[1])
    spatial_axes(ax, below.place)
    if below.place.unit == "µm":
        scale_bar(ax, color="white")
    channel_legend(ax, below.colors)
    title = key
    if color is not None:
        title += f" · {color}"
    ax.set_title(title, fontsize="medium", pad=24)  # above the names of the channels
    return ax


def _draw(ax: Axes, shown: Layer, corners: np.ndarray, *, alpha: float) -> None:
    """Lay a map on axes, with its legend or colour bar."""
    (left, top), (right, bottom) = corners
    kwargs = {
        "extent": (left, right, bottom, top),
        "origin": "upper",
        "interpolation": "nearest",
        "zorder": 1,
        "label": "map",
    }
    if shown.colors:
        from matplotlib.colors import to_rgba_array

        # the first entry, transparent, is that of places without a class
        rgba = np.concatenate([np.zeros((1, 4)), to_rgba_array(list(shown.colors.values()), alpha)])
        rgba[[code for code, name in enumerate(shown.colors, 1) if name in shown.clear]] = 0
        ax.imshow(rgba[shown.values], **kwargs)
        _legend(ax, shown)
        return
    probabilities = ax.imshow(shown.values, cmap=shown.number_map, vmin=0, vmax=1, alpha=alpha, **kwargs)
    bar = number_bar(ax, probabilities)
    bar.solids.set_alpha(1)
    bar.set_label("probability", fontsize="small")


def _legend(ax: Axes, shown: Layer) -> None:
    """List the classes that are painted, beside the axes; opaque, because pale squares tell fewer colours apart."""
    from matplotlib.patches import Patch

    painted = set(np.unique(shown.values).tolist())
    handles = [
        Patch(facecolor=color, label=name)
        for code, (name, color) in enumerate(shown.colors.items(), 1)
        if code in painted and name not in shown.clear
    ]
    if handles:
        ax.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(1.02, 1.0),
            borderaxespad=0,
            frameon=False,
            fontsize="small",
        )
