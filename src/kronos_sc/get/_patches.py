"""The pixels of chosen units."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc import patches as room
from kronos_sc._core.checks import known, listed, one_of, positive_integer
from kronos_sc._core.resolve import require_spatialdata

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from spatialdata import SpatialData


def patches(
    sdata: SpatialData,
    ids: Sequence[str],
    *,
    channels: Sequence[str] | None = None,
    image_key: str | Mapping[str, str] | None = None,
    labels_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
    spatial_key: str | None = None,
    patch_size: int | None = None,
    scale: str | None = None,
    nan: str = "error",
) -> xr.DataArray:
    """Read the windows of chosen units, as `tl.embed` sees them before scaling.

    For montages, for checking what a model looks at, and for people's own networks.

    Parameters
    ----------
    sdata
        Holds image, labels or shapes, and a table that annotates them.
    ids
        Names of units (`obs_names` of the table), in the order wanted.
    channels
        Which channels, in order; all of the image if left out.
    image_key, labels_key, shapes_key, table_key, spatial_key, patch_size, scale, nan
        As in :func:`kronos_sc.tl.embed`.

    Returns
    -------
    Array (`unit`, `c`, `y`, `x`) in the image's dtype, zero beyond the border, with coordinates `unit` (names), `c`
    (channel names) and `mask` (`unit`, `y`, `x`; bool: the unit's own pixels), `top` and `left` (`unit`; first row and
    column on the image).

    Raises
    ------
    KeyError
        A unit or channel does not exist.
    ValueError
        The units lie in several regions whose windows or channels differ.
    """
    import xarray as xr

    require_spatialdata(sdata)
    one_of(nan, ("error", "zero"), name="nan")
    if patch_size is not None:
        positive_integer(patch_size, name="patch_size")
    target = room.target(
        sdata, image_key=image_key, labels_key=labels_key, shapes_key=shapes_key, table=table_key, scale=scale
    )
    rows = _rows(target, ids)
    _require_readable(target, rows)
    names = tuple(channels) if channels is not None else next(iter(target.images.values())).channels

    # region by region; the first one says how large windows are and of which dtype
    pixels = masks = None
    corners = np.zeros((2, len(rows)), np.int64)
    for region, image in target.images.items():
        if not np.isin(target.annotation.rows(target.table, region), rows).any():
            continue
        units = room.units(
            sdata, target.table, target.annotation, region, image, size=patch_size, spatial_key=spatial_key
        )
        chosen, slots = _chosen(units.rows, rows)
        units = units.subset(chosen)
        fix = "Name channels as the image spells them."
        positions = [image.channels.index(known(c, image.channels, what="channel", fix=fix)) for c in names]
        if pixels is None:
            pixels = np.zeros((len(rows), len(names), units.size, units.size), image.data.dtype)
            masks = np.zeros((len(rows), units.size, units.size), bool)
        elif pixels.shape[-1] != units.size or pixels.dtype != image.data.dtype:
            msg = (
                f"The chosen units have windows of different size or dtype ({listed(target.images)}). Read one region "
                "at a time, or pass patch_size=."
            )
            raise ValueError(msg)
        plan = room.plan(image, positions, units)
        if nan == "error":
            room.require_stored(plan)
        with closing(room.read(plan, nan=nan)) as blocks:
            for block in blocks:
                pixels[slots[block.units]] = room.crop(block)
                masks[slots[block.units]] = room.crop_masks(block)
        corners[:, slots] = units.y, units.x
    coordinates = {
        "unit": target.table.obs_names.to_numpy()[rows],
        "c": list(names),
        "mask": (("unit", "y", "x"), masks),
        "top": ("unit", corners[0]),
        "left": ("unit", corners[1]),
    }
    return xr.DataArray(pixels, dims=("unit", "c", "y", "x"), coords=coordinates)


def _rows(target: room.EmbedTarget, ids: Sequence[str]) -> np.ndarray:
    """Return the row of each named unit."""
    ids = [ids] if isinstance(ids, str) else list(ids)
    if not ids:
        msg = "No unit was named. Pass obs_names of the table, for instance list(table.obs_names[:16])."
        raise ValueError(msg)
    names = target.table.obs_names
    if not names.is_unique:
        msg = f"Table {target.key!r} has repeated obs_names. Make them unique with table.obs_names_make_unique()."
        raise ValueError(msg)
    rows = names.get_indexer([str(i) for i in ids])
    if unknown := [name for name, row in zip(ids, rows, strict=True) if row < 0]:
        msg = f"Table {target.key!r} has no units {listed(unknown)}; its names look like {listed(names[:3])}."
        raise KeyError(msg)
    return rows


def _require_readable(target: room.EmbedTarget, rows: np.ndarray) -> None:
    """Raise a KeyError for units of regions that are not read."""
    regions = target.table.obs[target.annotation.region_key].astype(str).to_numpy()[rows]
    names = target.table.obs_names[rows]
    unread = [name for name, region in zip(names, regions, strict=True) if region not in target.images]
    if unread:
        msg = (
            f"The units {listed(unread)} belong to other regions than {listed(target.images)}. Name theirs with "
            "labels_key= or shapes_key=, or leave both out to read all regions."
        )
        raise KeyError(msg)


def _chosen(region_rows: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions among a region's units, and where each goes in the answer."""
    position = {int(row): i for i, row in enumerate(region_rows)}
    slots = np.asarray([i for i, row in enumerate(rows) if int(row) in position], np.int64)
    chosen = np.asarray([position[int(rows[i])] for i in slots], np.int64)
    return chosen, slots
