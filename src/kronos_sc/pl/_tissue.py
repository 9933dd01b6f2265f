"""An image element → few enough pixels to draw, in pseudo-colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.axes import select_a_plane
from kronos_sc._core.resolve import image_of
from kronos_sc.pl._color import Channels, Limits, channel_colors, channel_limits, composite
from kronos_sc.pl._space import Placement, placement

if TYPE_CHECKING:
    import dask.array as da
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

MOST_PIXELS = 1600  # rows or columns drawn; more than a page or a screen can show


@dataclass(frozen=True)
class Tissue:
    """An image ready to draw.

    Parameters
    ----------
    rgb
        (y, x, 3), 0 to 1.
    colors
        By channel, in order.
    place
        Where its full-resolution pixels lie.
    shape
        Rows and columns of the full-resolution image.
    """

    rgb: np.ndarray
    colors: dict[str, tuple[float, float, float]]
    place: Placement
    shape: tuple[int, int]

    def draw(self, ax: Axes) -> None:
        """Put the image on axes in the units of its placement."""
        extent = self.place.extent(*self.shape)
        ax.imshow(self.rgb, extent=extent, origin="upper", interpolation="antialiased", zorder=0)


def tissue(
    sdata: SpatialData, channels: Channels, *, image_key: str | None, limits: Limits, mpp: float | None = None
) -> Tissue:
    """Read an image, shrunk to what can be seen, and colour its channels."""
    name = image_of(sdata, None, image_key)
    element = sdata.images[name]
    levels = pyramid(element)
    full = levels[0]
    if full.dims != ("c", "y", "x"):
        msg = (
            f"Image {name!r} has axes {full.dims}; images with axes ('c', 'y', 'x') are drawn. "
            f"{select_a_plane(element, name, kind='images')}"
        )
        raise ValueError(msg)
    names = channel_names(element)
    colors = channel_colors(channels, names, image=name)
    planes = shrunk(levels, [names.index(channel) for channel in colors])
    stretch = channel_limits(planes, list(colors), limits)
    height, width = full.shape[-2:]
    rgb = composite(planes, list(colors.values()), stretch)
    return Tissue(rgb, colors, placement(element, mpp=mpp), (height, width))


def pyramid(element: Any) -> list[Any]:
    """Return the levels of a pyramid, the largest first; a single image is one level."""
    if hasattr(element, "dims") and not hasattr(element, "children"):
        return [element]
    levels = [next(iter(child.values())) for child in element.children.values()]
    return sorted(levels, key=lambda level: -level.shape[-1] * level.shape[-2])


def channel_names(element: Any) -> list[str]:
    """Return the channels of an image element."""
    return [str(channel) for channel in pyramid(element)[0].coords["c"].to_numpy()]


def image_shape(element: Any) -> tuple[int, int]:
    """Return rows and columns of the full-resolution image."""
    height, width = pyramid(element)[0].shape[-2:]
    return height, width


def shrunk(levels: list[Any], positions: list[int]) -> np.ndarray:
    """Return the chosen channels (c, y, x), averaged down to `MOST_PIXELS`.

    They are read from the smallest level that is large enough.
    """
    import dask.array as da

    # the smallest level that still has a pixel for each that is drawn; the full image if none has
    large_enough = [level for level in levels if max(level.shape[-2:]) >= MOST_PIXELS] or levels[:1]
    data = large_enough[-1].data
    lazy: da.Array = data if isinstance(data, da.Array) else da.from_array(data, chunks=-1)
    lazy = lazy[positions]
    factor = -(-max(lazy.shape[-2:]) // MOST_PIXELS)
    if factor > 1:
        lazy = da.coarsen(np.mean, lazy, {1: factor, 2: factor}, trim_excess=True)
    return np.asarray(lazy.compute())
