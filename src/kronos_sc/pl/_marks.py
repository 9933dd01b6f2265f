"""Units as what they are: boxes and polygons with their corners, circles in their size.

They are discs where only a centre is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import listed, numbers
from kronos_sc._core.warn import warn
from kronos_sc.pl._outline import ground, small
from kronos_sc.pl._palette import MISSING

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes

    from kronos_sc.pl._points import Layer
    from kronos_sc.pl._space import Placement

MANY = 5_000  # more units than this are drawn as pixels in vector formats
VEIL = 0.5  # opacity of a fill that lies on an image
_FEW = 2_000  # up to so many polygons have an edge of their own
_MOST_OVERLAP = 8  # boxes over each other; more is no grid


def style(layer: Layer, values: np.ndarray) -> dict[str, Any]:
    """Return how a collection of units is coloured."""
    from matplotlib.colors import to_rgba_array

    if layer.colors:
        palette = to_rgba_array([*layer.colors.values(), MISSING])
        return {"facecolors": palette[np.nan_to_num(values, nan=len(palette) - 1).astype(int)]}
    if layer.number_map is not None:
        return {"array": np.ma.masked_invalid(values), "cmap": layer.number_map, "clim": layer.limits}
    return {"facecolors": MISSING}


def missing_first(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Return the units that can be drawn, those without a value first: they come to lie underneath."""
    # what is drawn first lies underneath
    order = np.argsort(np.isfinite(values), kind="stable")
    return order[usable[order]]


@dataclass(frozen=True)
class Discs:
    """Units around a centre.

    Parameters
    ----------
    xy
        Centres on the page (n × 2); units without one are not drawn.
    size
        Diameters (n × 2: along x and y).
    circles
        Whether these are circles of that size, not marks of a convenient one.
    """

    xy: np.ndarray
    size: np.ndarray
    circles: bool = False

    @cached_property
    def bounds(self) -> np.ndarray:
        """Smallest and largest x and y (2 × 2); a mark keeps its own size as a distance to the border."""
        margin = self.size
        if self.circles:
            margin = margin / 2
        return np.stack([np.nanmin(self.xy - margin, axis=0), np.nanmax(self.xy + margin, axis=0)])

    def fill(self, ax: Axes, layer: Layer, values: np.ndarray, *, over: bool) -> Any:
        """Draw the units, as discs with a white edge where they lie on an image."""
        from matplotlib.collections import EllipseCollection

        order = missing_first(values, np.isfinite(self.xy).all(axis=1))
        edge: dict[str, Any] = {"linewidths": 0, "edgecolors": "none"}
        if over:
            edge = {"linewidths": 0.4, "edgecolors": "white"}
        discs = EllipseCollection(
            self.size[order, 0],
            self.size[order, 1],
            0,
            units="xy",
            offsets=self.xy[order],
            offset_transform=ax.transData,
            **edge,
            alpha=VEIL if over and self.circles else None,
            rasterized=len(order) > MANY,
            zorder=2,
            label="units",
            **style(layer, values[order]),
        )
        ax.add_collection(discs)
        return discs

    def outline(self, members: np.ndarray) -> list[np.ndarray]:
        """Return lines (points × 2) around some units.

        Around circles as they are, else around the ground that is nearest to them.
        """
        import shapely

        if not self.circles or small(np.nanmedian(np.prod(self.size, axis=1)), self.bounds):
            return ground(self.xy, members)
        # pixels need not be square: circles are put together where they are round, then stretched
        scale = self.size[:, 1] / self.size[:, 0]
        flat = self.xy / np.stack([np.ones_like(scale), scale], axis=1)
        union = shapely.disjoint_subset_union_all(
            shapely.buffer(shapely.points(flat[members]), self.size[members, 0] / 2, quad_segs=32)
        )
        return [line * [1.0, scale[0]] for line in _rings(union)]


@dataclass(frozen=True)
class Polygons:
    """Units with corners.

    Parameters
    ----------
    shapes
        Polygons on the page (n; None for a unit that has none).
    boxes
        Whether all are boxes along the axes.
    """

    shapes: np.ndarray
    boxes: bool

    @cached_property
    def bounds(self) -> np.ndarray:
        """Smallest and largest x and y (2 × 2)."""
        import shapely

        low_x, low_y, high_x, high_y = shapely.total_bounds(self.shapes)
        return np.array([[low_x, low_y], [high_x, high_y]])

    def fill(self, ax: Axes, layer: Layer, values: np.ndarray, *, over: bool) -> Any:
        """Draw the units; on an image they are a veil, or outlines where they have no colour."""
        import shapely
        from matplotlib.collections import PathCollection

        order = missing_first(values, ~(shapely.is_missing(self.shapes) | shapely.is_empty(self.shapes)))
        # smoothed edges of boxes leave seams between them
        look: dict[str, Any] = {"linewidths": 0, "antialiaseds": not self.boxes}
        if not self.boxes and len(order) <= _FEW:
            look |= {"linewidths": 0.3, "edgecolors": "white"}
        look |= style(layer, values[order])
        if over and not layer.title:
            look = {"facecolors": "none", "edgecolors": "white", "linewidths": 0.6}
        elif over:
            look["alpha"] = VEIL
        units = PathCollection(paths(self.shapes[order]), rasterized=len(order) > MANY, zorder=2, label="units", **look)
        ax.add_collection(units)
        return units

    def outline(self, members: np.ndarray) -> list[np.ndarray]:
        """Return lines (points × 2) around the union of some units.

        Where cells are small on the page, around their ground.
        """
        import shapely

        if not self.boxes and small(np.nanmedian(shapely.area(self.shapes)), self.bounds):
            centres = shapely.centroid(self.shapes)
            return ground(np.stack([shapely.get_x(centres), shapely.get_y(centres)], axis=1), members)
        chosen = self.shapes[members]
        # outlines that cross themselves, which a union takes ill; None is not valid either
        crossed = ~shapely.is_valid(chosen)
        chosen[crossed] = shapely.make_valid(chosen[crossed])
        return _rings(shapely.disjoint_subset_union_all(chosen))


def _rings(union: Any) -> list[np.ndarray]:
    """Return every ring of polygons, holes among them, without the points that lie on straight lines."""
    import shapely

    parts = shapely.get_parts(shapely.simplify(union, 0))
    return [shapely.get_coordinates(ring) for ring in shapely.get_rings(parts[shapely.get_type_id(parts) == 3])]


def paths(polygons: np.ndarray) -> list[Any]:
    """Return one path per polygon, the parts and holes of it included."""
    import shapely
    from matplotlib.path import Path

    parts, unit = shapely.get_parts(polygons, return_index=True)
    # a hole is a hole where it runs against its shell
    rings, part = shapely.get_rings(shapely.orient_polygons(parts), return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    codes = np.full(len(xy), Path.LINETO, Path.code_type)
    first = np.r_[True, ring[1:] != ring[:-1]]
    codes[first] = Path.MOVETO
    codes[np.r_[first[1:], True]] = Path.CLOSEPOLY
    ends = np.searchsorted(unit[part[ring]], np.arange(len(polygons) + 1)).tolist()
    return [Path(xy[start:stop], codes[start:stop]) for start, stop in pairwise(ends)]


def shapes_of(frame: GeoDataFrame, instances: np.ndarray, place: Placement, *, region: str) -> Discs | Polygons:
    """Return the shapes that rows of a table name, on the page.

    Parameters
    ----------
    frame
        The shapes element.
    instances
        Index of the shape of each row.
    place
        Where the element lies.
    region
        Name of the element, for messages.
    """
    import shapely

    positions = _positions(frame, instances, region)
    has_shape = positions >= 0
    geometry = np.full(len(positions), None, dtype=object)
    geometry[has_shape] = frame.geometry.to_numpy()[positions[has_shape]]
    if "radius" in frame.columns:
        radius = np.where(has_shape, frame["radius"].to_numpy(float)[positions], np.nan)
        centres = np.stack([shapely.get_x(geometry), shapely.get_y(geometry)], axis=1)
        return Discs(place.apply(centres), 2 * radius[:, None] * np.asarray(place.scale), circles=True)
    shapes = shapely.transform(geometry, place.apply)
    corners = shapely.bounds(shapes)
    sides = corners[:, 2:] - corners[:, :2]
    boxes = bool(np.allclose(shapely.area(shapes)[has_shape], np.prod(sides[has_shape], axis=1), rtol=1e-6))
    # boxes that overlap would hide each other: each is drawn as its own part, the middle
    if boxes and (step := _grid_step(corners[has_shape])) is not None:
        inset = (sides - step) / 2
        low = corners[:, :2] + inset
        high = corners[:, 2:] - inset
        shapes = np.where(has_shape, shapely.box(*low.T, *high.T), None)
    return Polygons(shapes, boxes)


def _positions(frame: GeoDataFrame, instances: np.ndarray, region: str) -> np.ndarray:
    """Return where in an element the shape of each row is, −1 for rows without one."""
    hint = "pass size= to draw discs at obsm['spatial']"
    if not frame.index.is_unique:
        repeated = frame.index[frame.index.duplicated()].unique()
        msg = (
            f"Shapes {region!r} repeat the index {listed(repeated)}, so rows of the table cannot name them. "
            f"Number them with shapes.reset_index(drop=True), or {hint}."
        )
        raise ValueError(msg)
    positions = frame.index.get_indexer(instances)
    unknown = instances[positions < 0]
    if len(unknown) == len(positions):
        msg = (
            f"No row of the table names a shape of {region!r}: the rows have {listed(unknown, most=3)}, the shapes "
            f"{listed(frame.index, most=3)}. The instance column must hold the index of the shapes; correct it, or "
            f"{hint}."
        )
        raise ValueError(msg)
    if len(unknown):
        warn(
            f"{len(unknown):,} of {len(positions):,} rows name no shape of {region!r} and are not drawn: "
            f"{numbers(unknown, most=5)}."
        )
    return positions


def _grid_step(corners: np.ndarray) -> np.ndarray | None:
    """Return the step (x, y) of a grid whose boxes overlap, so that each may be drawn as its own part.

    None for all other boxes.
    """
    sides = corners[:, 2:] - corners[:, :2]
    if len(corners) < 2 or np.ptp(sides, axis=0).max() > 1e-6 * sides.max():
        return None
    # a grid: whole steps between offsets along each axis, and not too few of its sites taken
    step = sides[0].copy()
    sites = 1.0
    for axis in range(2):
        offsets = np.unique(np.round(corners[:, axis] / (1e-6 * sides[0, axis]))) * (1e-6 * sides[0, axis])
        gaps = np.diff(offsets)
        if len(gaps):
            step[axis] = min(step[axis], gaps.min())
            whole = gaps / gaps.min()
            if step[axis] < sides[0, axis] and np.abs(whole - whole.round()).max() > 1e-3:
                return None
        sites *= len(offsets)
    regular = (sides[0] / step).max() <= _MOST_OVERLAP and len(corners) >= 0.05 * sites
    return step if regular and (step < sides[0] * (1 - 1e-5)).any() else None
