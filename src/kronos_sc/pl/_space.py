"""Where an element lies and how large its pixels are, for whoever draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kronos_sc._core.keys import MICROMETRE


@dataclass(frozen=True)
class Placement:
    """From pixels of an element to coordinates on a page: scale · pixel + shift.

    Parameters
    ----------
    scale, shift
        (x, y), in units per pixel and units.
    unit
        "µm", or "px" where the pixel size is not known.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    unit: str = "px"

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel, the mean of both sides; None where the pixel size is not known."""
        return float(np.sqrt(np.prod(self.scale))) if self.unit == "µm" else None

    def apply(self, xy: np.ndarray) -> np.ndarray:
        """Return coordinates (units × 2: x, y) of pixels."""
        return np.asarray(xy, float) * self.scale + self.shift

    def extent(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Return left, right, bottom, top of an image of this size, rows downwards."""
        (left, top), (right, bottom) = self.apply(np.array([[0, 0], [width, height]]))
        return float(left), float(right), float(bottom), float(top)


def placement(element: Any, *, mpp: float | None = None) -> Placement:
    """Return where an element lies on a page.

    In micrometres if its pixel size is recorded (or given as `mpp`), else in pixels of "global". A rotation or shear is
    not drawn: such an element is shown on its own axes, with its mean pixel size.
    """
    from spatialdata.transformations import get_transformation

    if mpp is not None:
        return scaled(mpp)
    systems = get_transformation(element, get_all=True)
    if MICROMETRE in systems:
        return _in_system(systems[MICROMETRE], "µm")
    if "global" in systems:
        return _in_system(systems["global"], "px")
    return Placement()


def placement_beside(element: Any, other: Any, place: Placement) -> Placement:
    """Return where an element lies on a page on which another has its place.

    By the coordinate system that both have, else at the same place.
    """
    from spatialdata.transformations import get_transformation

    own_systems, other_systems = (get_transformation(part, get_all=True) for part in (element, other))
    shared = next(
        (system for system in ("global", MICROMETRE) if system in own_systems and system in other_systems), None
    )
    if shared is None:
        return place
    own_placement = _in_system(own_systems[shared], place.unit)
    other_placement = _in_system(other_systems[shared], place.unit)
    factor = np.array(place.scale) / other_placement.scale
    scale = factor * own_placement.scale
    shift = factor * np.subtract(own_placement.shift, other_placement.shift) + place.shift
    return Placement(tuple(scale.tolist()), tuple(shift.tolist()), place.unit)


def _in_system(transformation: Any, unit: str) -> Placement:
    """Return what a transformation says of scale and shift."""
    matrix = transformation.to_affine_matrix(input_axes=("x", "y"), output_axes=("x", "y"))
    linear = matrix[:2, :2]
    shift = matrix[:2, 2]
    is_sheared = np.abs([linear[0, 1], linear[1, 0]]).max() > 1e-9 * np.abs(linear).max()
    # a picture is drawn upright: of a rotated or mirrored one only the size of its pixels is kept
    if is_sheared or (np.diag(linear) <= 0).any():
        edge = float(np.sqrt(abs(np.linalg.det(linear))))
        return Placement((edge, edge), (0.0, 0.0), unit)
    return Placement((float(linear[0, 0]), float(linear[1, 1])), (float(shift[0]), float(shift[1])), unit)


def scaled(mpp: float) -> Placement:
    """Return a placement in micrometres from the size of a pixel."""
    if not (np.isfinite(mpp) and mpp > 0):
        msg = f"mpp must be a positive number of micrometres per pixel, got {mpp!r}."
        raise ValueError(msg)
    return Placement((float(mpp), float(mpp)), (0.0, 0.0), "µm")
