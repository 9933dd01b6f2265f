"""Tissue in pseudo-colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc._core.resolve import require_spatialdata
from kronos_sc.pl._axes import axes_or_new, spatial_axes
from kronos_sc.pl._color import PERCENTILES, channel_legend
from kronos_sc.pl._scale_bar import scale_bar
from kronos_sc.pl._tissue import tissue

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

    from kronos_sc.pl._color import Channels, Limits

_INCHES = 5.0


def image(
    sdata: SpatialData,
    *,
    channels: Channels = None,
    image_key: str | None = None,
    limits: Limits = PERCENTILES,
    mpp: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show a multiplexed image in pseudo-colour: each channel in its colour, added like light.

    Large images are read from the pyramid level that is just large enough, or averaged down.

    Parameters
    ----------
    sdata
        Holds the image.
    channels
        Names of up to six channels, or a mapping from name to colour; the first four of the image if left out.
    image_key
        Which image; the only one if left out.
    limits
        What becomes black and full colour: two percentiles over the image, or raw values by channel (`{"DAPI": (200,
        9000)}`).
    mpp
        Micrometres per pixel, where the image does not record it.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes, in µm with a scale bar if the pixel size is known, else in pixels.

    Raises
    ------
    KeyError
        The image has no such channel.
    ValueError
        More than six channels without colours of their own.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8", "CYTOKERATIN"])
    >>> ks.pl.image(sdata, channels=["DAPI", "CD8"]).get_xlabel()
    'x (µm)'
    """
    require_spatialdata(sdata)
    shown = tissue(sdata, channels, image_key=image_key, limits=limits, mpp=mpp)
    height, width = shown.shape
    ax = axes_or_new(ax, size=(_INCHES + 0.7, max(1.5, _INCHES * height / width) + 0.7))
    shown.draw(ax)
    spatial_axes(ax, shown.place)
    if shown.place.unit == "µm":
        scale_bar(ax, color="white")
    channel_legend(ax, shown.colors)  # above the axes, so that it covers no tissue
    return ax
