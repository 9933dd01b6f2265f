"""The pixels of a montage, from a SpatialData or from an array of `get.patches`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc import get
from kronos_sc._core.checks import known
from kronos_sc._core.resolve import annotation, image_of
from kronos_sc.pl._choice import as_list
from kronos_sc.pl._color import Channels, Limits, channel_colors, channel_limits, composite
from kronos_sc.pl._space import placement
from kronos_sc.pl._tissue import channel_names, image_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from anndata import AnnData
    from spatialdata import SpatialData


@dataclass(frozen=True)
class PatchMontage:
    """Patches to draw.

    Parameters
    ----------
    array
        (unit, c, y, x), as `get.patches` returns it.
    colors
        By channel.
    inside
        Pixels that lie on the tissue image (unit, y, x; bool).
    mpp
        Micrometres per pixel, if known.
    """

    array: xr.DataArray
    colors: dict[str, tuple[float, float, float]]
    inside: np.ndarray
    mpp: float | None

    @property
    def units(self) -> list[str]:
        """Names of the units."""
        return [str(name) for name in self.array.coords["unit"].to_numpy()]

    @property
    def size(self) -> int:
        """Edge of a patch in pixels."""
        return self.array.shape[-1]

    @property
    def masks(self) -> np.ndarray | None:
        """The units' own pixels (unit, y, x; bool), if known."""
        return self.array.coords["mask"].to_numpy() if "mask" in self.array.coords else None

    def rgb(self, limits: Limits) -> list[np.ndarray]:
        """Return the patches in pseudo-colour, with one contrast; what lies beyond the tissue image does not count."""
        pixels = self.array.to_numpy()
        seen = np.moveaxis(pixels, 1, 0)[:, self.inside]
        stretch = channel_limits(seen, list(self.colors), limits)
        return [composite(patch, list(self.colors.values()), stretch) for patch in pixels]


def from_array(array: xr.DataArray, ids: Sequence[str] | None, channels: Channels) -> PatchMontage:
    """Return the wanted units and channels of an array."""
    if array.dims != ("unit", "c", "y", "x"):
        msg = (
            f"An array of patches has the axes ('unit', 'c', 'y', 'x'), this one has {array.dims}. Read one with "
            "get.patches(sdata, ids)."
        )
        raise ValueError(msg)
    colors = channel_colors(channels, [str(name) for name in array.coords["c"].to_numpy()], image="patches")
    picked = array.sel(c=list(colors))
    if ids is not None:
        units = list(array.coords["unit"].to_numpy())
        names = as_list(ids)
        for name in names:
            known(name, units, what="unit", fix="Read it with get.patches(sdata, ids).")
        picked = picked.sel(unit=names)
    # the size of the image is not known here: only what lies beyond its top and left edge can be told
    endless = np.full((picked.shape[0], 2), np.iinfo(np.int64).max)
    return PatchMontage(picked, colors, _inside(picked, endless), None)


def from_spatialdata(
    sdata: SpatialData,
    table: AnnData,
    ids: Sequence[str],
    channels: Channels,
    *,
    patch_size: int | None,
    table_key: str | None,
) -> PatchMontage:
    """Read the pixels of units, only of the channels shown."""
    link = annotation(table, name=table_key or "table")
    column = table.obs[link.region_key].astype(str)
    regions = [str(region) for region in column.iloc[table.obs_names.get_indexer(list(ids))]]
    images = {region: sdata.images[image_of(sdata, region, None)] for region in dict.fromkeys(regions)}
    first = next(iter(images.values()))
    colors = channel_colors(channels, channel_names(first), image=image_of(sdata, regions[0], None))
    array = get.patches(sdata, ids, channels=list(colors), patch_size=patch_size, table_key=table_key, nan="zero")
    # regions may lie on images of different size
    shapes = np.array([image_shape(images[region]) for region in regions])
    return PatchMontage(array, colors, _inside(array, shapes), placement(first).mpp)


def _inside(array: xr.DataArray, shapes: np.ndarray) -> np.ndarray:
    """Return which pixels (unit, y, x) lie on images of these shapes (unit × 2)."""
    if "top" not in array.coords:
        return np.ones((array.shape[0], *array.shape[2:]), bool)
    grid = np.arange(array.shape[-1])
    ys, xs = (array.coords[name].to_numpy()[:, None] + grid for name in ("top", "left"))
    rows, columns = ((pixel >= 0) & (pixel < shapes[:, [axis]]) for axis, pixel in enumerate((ys, xs)))
    return rows[:, :, None] & columns[:, None, :]
