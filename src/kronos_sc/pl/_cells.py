"""Cells of a label image, as many pixels as can be seen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core.checks import listed, numbers
from kronos_sc._core.outlines import outlines
from kronos_sc.pl._marks import VEIL, style
from kronos_sc.pl._outline import ground, small
from kronos_sc.pl._tissue import MOST_PIXELS, pyramid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kronos_sc.pl._points import Layer
    from kronos_sc.pl._space import Placement

_WIDE = 7  # pixels across the middle cell from which a dark border still leaves its colour to be seen
_SHADE = 0.55


@dataclass(frozen=True)
class Cells:
    """Units as pixels.

    Parameters
    ----------
    unit
        (y, x): position of the unit + 1, 0 for none.
    n_units
        Number of units, those without a pixel included.
    origin, pixel
        Upper left corner and size of a pixel on the page (x, y).
    """

    unit: np.ndarray
    n_units: int
    origin: np.ndarray
    pixel: np.ndarray

    @cached_property
    def bounds(self) -> np.ndarray:
        """Smallest and largest x and y of a unit (2 × 2)."""
        columns, rows = (np.flatnonzero(self.unit.any(axis=axis)) for axis in (0, 1))
        if not len(rows):
            return self._on_page(np.array([[0, 0], self.unit.shape[::-1]]))
        return self._on_page(np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]]))

    def _on_page(self, xy: np.ndarray) -> np.ndarray:
        return self.origin + xy * self.pixel

    def fill(self, ax: Axes, layer: Layer, values: np.ndarray, *, over: bool) -> Any:
        """Draw the cells with dark borders.

        On an image they are a veil within borders of their colour, which are white without one.
        """
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize, to_rgba_array

        look = style(layer, values)
        mappable = None
        if layer.number_map is not None:
            mappable = ScalarMappable(Normalize(*layer.limits), layer.number_map)
            unit_rgba = mappable.to_rgba(look["array"])
        else:
            unit_rgba = to_rgba_array(look["facecolors"])
        # the first entry, transparent, is that of pixels without a unit
        rgba_by_unit = np.zeros((len(values) + 1, 4), np.uint8)
        rgba_by_unit[1:] = np.round(unit_rgba * 255)

        borders = self._borders()
        if over and not layer.title:
            rgba = np.zeros((*self.unit.shape, 4), np.uint8)
            rgba[borders] = 255
        else:
            rgba = rgba_by_unit[self.unit]
            if over:
                rgba[~borders, 3] = rgba[~borders, 3] * VEIL
            else:
                rgba[borders, :3] = rgba[borders, :3] * _SHADE

        (left, top), (right, bottom) = self._on_page(np.array([[0, 0], self.unit.shape[::-1]]))
        image = ax.imshow(
            rgba, extent=(left, right, bottom, top), origin="upper", interpolation="nearest", zorder=1, label="units"
        )
        if mappable is None:
            return image
        return mappable

    def _measured(self) -> tuple[np.ndarray, np.ndarray]:
        """Return area and centre (x, y) of each unit on the page, NaN for one without pixels."""
        pixels = np.flatnonzero(self.unit)
        owner = self.unit.ravel()[pixels] - 1
        y, x = np.divmod(pixels, self.unit.shape[1])
        count = np.bincount(owner, minlength=self.n_units).astype(float)
        count[count == 0] = np.nan
        sums = [np.bincount(owner, weights=place + 0.5, minlength=self.n_units) for place in (x, y)]
        return count * np.prod(self.pixel), self._on_page(np.stack(sums, axis=1) / count[:, None])

    def _borders(self) -> np.ndarray:
        """Return the pixels of a cell that touch another cell or none (bool).

        None of them where cells are too small to keep an inside.
        """
        unit = self.unit
        borders = np.zeros(unit.shape, bool)
        sizes = np.bincount(unit.ravel())[1:]
        if not sizes.any() or np.median(sizes[sizes > 0]) < _WIDE**2:
            return borders
        down = unit[1:] != unit[:-1]
        across = unit[:, 1:] != unit[:, :-1]
        borders[:-1] |= down
        borders[:, :-1] |= across
        borders[1:] |= down & (unit[:-1] == 0)
        borders[:, 1:] |= across & (unit[:, :-1] == 0)
        return borders & (unit > 0)

    def outline(self, members: np.ndarray) -> list[np.ndarray]:
        """Return lines (points × 2) along the pixels around some units.

        Where cells are small on the page, around their ground.
        """
        import shapely

        area, centres = self._measured()
        if small(np.nanmedian(area), self.bounds):
            return ground(centres, members)
        inside = np.r_[False, members][self.unit]
        parts = np.array([part for _, part in outlines(inside.astype(np.uint8))], dtype=object)
        return [self._on_page(shapely.get_coordinates(ring)) for ring in shapely.get_rings(parts)]


def cells_of(element: Any, instances: np.ndarray, place: Placement, *, name: str) -> Cells:
    """Return the cells that rows of a table name, on the page.

    Parameters
    ----------
    element
        The labels.
    instances
        Label of each row.
    place
        Where the element lies.
    name
        Of the element, for messages.
    """
    levels = pyramid(element)
    full = levels[0]
    if full.dims != ("y", "x"):
        msg = (
            f"Labels {name!r} have axes {full.dims}; labels with axes ('y', 'x') are drawn. Select a plane first, or "
            "leave labels out."
        )
        raise ValueError(msg)
    large_enough = [level for level in levels if max(level.shape) >= MOST_PIXELS] or levels[:1]
    plane = large_enough[-1]
    step = -(-max(plane.shape) // MOST_PIXELS)
    # every n-th pixel: labels have no mean
    codes = np.asarray(plane.data[step // 2 :: step, step // 2 :: step])
    labels, inverse = np.unique(codes, return_inverse=True)
    unit = _units(labels, instances, name)[inverse].reshape(codes.shape)
    coarse = step * np.array([full.shape[1] / plane.shape[1], full.shape[0] / plane.shape[0]])
    return Cells(unit, len(instances), place.apply(np.zeros(2)), coarse * place.scale)


def _units(labels: np.ndarray, instances: np.ndarray, name: str) -> np.ndarray:
    """Return position + 1 of the row that names each label, 0 where none does."""
    ids = pd.Index(pd.to_numeric(pd.Series(instances), errors="coerce"))
    if ids.has_duplicates:
        msg = (
            f"Several rows name the same label of {name!r}: {numbers(ids[ids.duplicated()].unique())}. Each row must "
            "be one cell; leave labels out for discs."
        )
        raise ValueError(msg)
    positions = np.where(labels == 0, -1, ids.get_indexer(pd.Index(labels)))
    if len(labels) and (positions < 0).all():
        present = labels[labels > 0]
        msg = (
            f"No row of the table names a label of {name!r}: the rows have {listed(instances, most=3)}, the labels "
            f"{listed(present, most=3)}. Name the labels that the table annotates with labels=, or leave it out for "
            "discs."
        )
        raise ValueError(msg)
    return positions.astype(np.int32) + 1
