"""The boundary to SpatialData: elements become rasters and affine maps between pixel grids.

A raster is a lazy array with a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.axes import require_two_axes, select_a_plane
from kronos_sc._core.checks import listed, repeated
from kronos_sc._core.keys import MICROMETRE
from kronos_sc._core.resolve import image_of
from kronos_sc.patches._straighten import how_to_straighten, turned

if TYPE_CHECKING:
    import dask.array as da
    import zarr
    from spatialdata import SpatialData


@dataclass(frozen=True)
class Raster:
    """An image as a lazy array.

    Parameters
    ----------
    name
        Of the element, for messages.
    data
        Dask array (channels, rows, columns).
    channels
        Names, one per channel.
    element
        The DataArray it came from; carries the transformations.
    """

    name: str
    data: da.Array
    channels: tuple[str, ...]
    element: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.data.shape[1], self.data.shape[2]


def raster(sdata: SpatialData, image_key: str | None = None, *, scale: str | None = None) -> Raster:
    """Return the named (or only) image of a SpatialData, at full resolution or at the pyramid level `scale`."""
    name = image_of(sdata, None, image_key)
    element = _level(sdata.images[name], name, scale)
    channels: tuple[str, ...] = ()
    if "c" in element.coords:
        channels = tuple(str(c) for c in element.coords["c"].to_numpy())
    if element.dims != ("c", "y", "x") or not channels:
        msg = (
            f"Image {name!r} has axes {element.dims}; two-dimensional images with axes ('c', 'y', 'x') are embedded. "
            f"{select_a_plane(sdata.images[name], name, kind='images')}"
        )
        raise ValueError(msg)
    if twice := repeated(channels):
        msg = (
            f"Image {name!r} has repeated channel names: {listed(twice)}. Name channels uniquely with "
            f"sdata.set_channel_names({name!r}, [...])."
        )
        raise ValueError(msg)
    return Raster(name, _as_dask(element), channels, element)


def _level(element: Any, name: str, scale: str | None) -> Any:
    """Return one DataArray of a single- or multi-scale element; the largest by default."""
    if hasattr(element, "dims") and not hasattr(element, "children"):
        if scale is not None:
            msg = f"{name!r} has a single scale, so scale={scale!r} does not exist. Leave scale out."
            raise ValueError(msg)
        return element
    # each level of a pyramid is a small tree that holds one array
    levels = {key: next(iter(child.values())) for key, child in element.children.items()}
    if scale is None:
        return max(levels.values(), key=lambda level: level.shape[-1] * level.shape[-2])
    if scale not in levels:
        sizes = ", ".join(f"{key} ({level.shape[-2]} × {level.shape[-1]})" for key, level in levels.items())
        msg = f"{name!r} has no scale {scale!r}; there are: {sizes}. Choose one with scale=."
        raise ValueError(msg)
    return levels[scale]


def _as_dask(element: Any) -> da.Array:
    import dask.array as da

    if isinstance(element.data, da.Array):
        return element.data
    return da.from_array(element.data, chunks=-1)


def _whole_numbers(sdata: SpatialData, name: str) -> str:
    """Return the line that replaces labels by whole numbers, at full resolution."""
    level = "['scale0']['image']" if getattr(sdata.labels[name], "children", None) else ""
    return f"sdata[{name!r}] = spatialdata.models.Labels2DModel.parse(sdata[{name!r}]{level}.astype('uint32'))"


def label_raster(sdata: SpatialData, labels_key: str) -> tuple[da.Array, Any]:
    """Return the full-resolution labels of an element as a dask array (rows, columns), and the DataArray."""
    element = _level(sdata.labels[labels_key], labels_key, None)
    require_two_axes(sdata.labels[labels_key], element, labels_key)
    if not np.issubdtype(element.dtype, np.integer):
        msg = (
            f"Labels {labels_key!r} have dtype {element.dtype}; labels must be whole numbers. "
            f"Convert them with .astype('uint32') and parse again: {_whole_numbers(sdata, labels_key)}."
        )
        raise ValueError(msg)
    return _as_dask(element), element


@dataclass(frozen=True)
class Affine:
    """From an element to an image.

    row = scale[0] · y + cross[0] · x + shift[0], column = cross[1] · y + scale[1] · x + shift[1].

    Parameters
    ----------
    scale
        (rows, columns); positive unless the element is mirrored or turned.
    shift
        (rows, columns), image pixels.
    cross
        How far a row moves with x, and a column with y: 0 unless the element is rotated, sheared or has its axes
        swapped.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    cross: tuple[float, float] = (0.0, 0.0)

    @property
    def identity(self) -> bool:
        """Whether both grids are the same."""
        return self == Affine()

    @property
    def upright(self) -> bool:
        """Whether there is nothing but a positive scale and a shift."""
        return self.cross == (0.0, 0.0) and min(self.scale) > 0

    @property
    def area(self) -> float:
        """Pixels of the image that a pixel of the element covers."""
        return abs(self.scale[0] * self.scale[1] - self.cross[0] * self.cross[1])

    def apply(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map element coordinates to image pixels."""
        if self.cross == (0.0, 0.0):
            return y * self.scale[0] + self.shift[0], x * self.scale[1] + self.shift[1]
        row = y * self.scale[0] + x * self.cross[0] + self.shift[0]
        return row, y * self.cross[1] + x * self.scale[1] + self.shift[1]

    def inverse(self) -> Affine:
        """Return the map from image pixels to element coordinates."""
        (a, d), (b, c) = self.scale, self.cross
        determinant = a * d - b * c
        scale = (d / determinant, a / determinant)
        cross = (-b / determinant, -c / determinant)
        y, x = self.shift
        shift = (-(scale[0] * y + cross[0] * x), -(cross[1] * y + scale[1] * x))
        return Affine(scale, shift, cross)


def between(element: Any, image: Any, *, names: tuple[str, str], upright: bool = True) -> Affine:
    """Return the map from an element's intrinsic coordinates to an image's pixels, through a system they share.

    Raises a ValueError for more than scale and translation, which windows and boxes cannot follow, unless `upright` is
    False.
    """
    # to the system that both know, and from there back onto the image
    system, forward, back = _matrices(element, image, names)
    matrix = np.linalg.inv(back) @ forward
    bent = turned(matrix)
    if bent and upright:
        elements = dict(zip(names, (element, image), strict=True))
        matrices = dict(zip(names, (forward, back), strict=True))
        advice = how_to_straighten(elements, matrices, system)
        msg = (
            f"{names[0]!r} and {names[1]!r} are related by a rotation, shear or flip; scale and translation are "
            f"honoured. {advice}"
        )
        raise ValueError(msg)
    (a, b, y), (c, d, x) = ([_snapped(float(value)) for value in row] for row in matrix[:2])
    return Affine((a, d), (y, x), (b, c) if bent else (0.0, 0.0))


def labels_on(sdata: SpatialData, labels_key: str, image: Raster) -> tuple[da.Array, Affine]:
    """Return full-resolution labels (rows, columns), and the map from their pixels to an image's.

    A ValueError if nothing relates them.
    """
    data, element = label_raster(sdata, labels_key)
    # each pixel of the image takes the label under its centre, however the labels lie
    affine = between(element, image.element, names=(labels_key, image.name), upright=False)
    if affine.identity and data.shape != image.shape:
        msg = (
            f"Labels {labels_key!r} ({data.shape[0]} × {data.shape[1]} pixels) and image {image.name!r} "
            f"({image.shape[0]} × {image.shape[1]}) differ in size and no transformation relates them. "
            "Give one of them its scale or translation with "
            "spatialdata.transformations.set_transformation."
        )
        raise ValueError(msg)
    return data, affine


def _snapped(value: float) -> float:
    """Return the whole number that a value differs from by rounding alone, else the value."""
    whole = float(round(value))
    return whole if abs(value - whole) < 1e-9 * max(1.0, abs(value)) else value


def _matrices(element: Any, image: Any, names: tuple[str, str]) -> tuple[str, np.ndarray, np.ndarray]:
    """Return a coordinate system that two elements share, and the 3 × 3 matrix (y, x, 1) from each of them to it."""
    from spatialdata.transformations import get_transformation

    of_element = get_transformation(element, get_all=True)
    of_image = get_transformation(image, get_all=True)
    shared = [system for system in of_element if system in of_image]
    if not shared:
        msg = (
            f"{names[0]!r} (coordinate systems {listed(of_element)}) and {names[1]!r} ({listed(of_image)}) share no "
            "coordinate system. "
            "Align them with spatialdata.transformations.set_transformation(element, transformation, 'global')."
        )
        raise ValueError(msg)
    system = "global" if "global" in shared else shared[0]
    axes = ("y", "x")
    forward = of_element[system].to_affine_matrix(input_axes=axes, output_axes=axes)
    back = of_image[system].to_affine_matrix(input_axes=axes, output_axes=axes)
    return system, forward, back


def pixel_size(image: Raster) -> float | None:
    """Return the edge of a pixel in micrometres, or None where the image does not record it."""
    from spatialdata.transformations import get_transformation

    systems = get_transformation(image.element, get_all=True)
    if MICROMETRE not in systems:
        return None
    matrix = systems[MICROMETRE].to_affine_matrix(input_axes=("y", "x"), output_axes=("y", "x"))
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))


def stored_array(data: da.Array) -> zarr.Array | None:
    """Return the Zarr array that a dask array reads as it is.

    None unless there is exactly one, and nothing is computed from it.
    """
    import zarr
    from dask.array.core import getter, getter_inline, getter_nofancy

    # one layer holds the array, the other reads its chunks; a third would compute something
    layers = data.dask.layers
    if len(layers) != 2:
        return None
    held = [layer for layer in layers.values() if len(layer) == 1]
    arrays = [value for layer in held for value in layer.values() if isinstance(value, zarr.Array)]
    task = getattr(layers.get(data.name), "task", None)
    reads = getattr(task, "func", None) in (getter, getter_inline, getter_nofancy)
    same = len(arrays) == 1 and arrays[0].shape == data.shape and arrays[0].dtype == data.dtype
    if reads and same:
        return arrays[0]
    return None
