"""Outlines as areas that every program takes: closed, finite, crossing nothing, one part as a polygon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import numbers
from kronos_sc._core.log import info

if TYPE_CHECKING:
    from collections.abc import Iterable


def not_finite(geometry: np.ndarray) -> np.ndarray:
    """Return the positions of outlines with corners that are not finite (int64, each once)."""
    import shapely

    xy, owner = shapely.get_coordinates(geometry, return_index=True)
    return np.unique(owner[~np.isfinite(xy).all(axis=1)])


def valid_areas(geometry: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return areas that are valid, and the positions (int64) of those that were not.

    Outlines that cross themselves are cut into parts that do not; lines and points among them go, holes stay. What
    covers nothing is empty, and a multipolygon or collection of one part is that part.

    Parameters
    ----------
    geometry
        Finite geometries, None for none.
    """
    import shapely

    geometry = np.asarray(geometry, dtype=object).copy()
    other = shapely.get_type_id(geometry) != shapely.GeometryType.POLYGON
    # first collections and multipolygons: what is left of them may be valid as it is
    geometry[other] = [area_of(one) for one in geometry[other]]
    broken = np.flatnonzero(~shapely.is_valid(geometry)) if len(geometry) else np.empty(0, np.int64)
    if len(broken):
        areas = shapely.make_valid(geometry[broken], method="structure", keep_collapsed=False)
        geometry[broken] = [area_of(one) for one in areas]
    return geometry, broken


def area_of(geometry: Any) -> Any:
    """Return the areas of a geometry: itself, those of a collection, the only part of a multipolygon.

    An empty polygon without any.
    """
    import shapely

    if geometry is None or geometry.is_empty:
        return shapely.Polygon()
    if geometry.geom_type == "Polygon":
        return geometry
    parts = [part for part in _leaves(geometry) if part.geom_type == "Polygon" and not part.is_empty]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return shapely.Polygon()
    return shapely.MultiPolygon(parts)


def _leaves(geometry: Any) -> list[Any]:
    """Return the parts of a geometry, and of collections within it."""
    parts = getattr(geometry, "geoms", None)
    if parts is None:
        return [geometry]
    return [leaf for part in parts for leaf in _leaves(part)]


def log_repaired(name: str, which: Iterable[object]) -> None:
    """Log which outlines of a file or an element were mended."""
    if repaired := list(which):
        info(f"{name}: {len(repaired):,} outlines crossed or touched themselves and were mended: {numbers(repaired)}")
