"""A map of classes → few enough pixels to draw, their colours, and where they lie on the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core import results
from kronos_sc._core.axes import require_two_axes
from kronos_sc._core.checks import known, listed
from kronos_sc._core.keys import UNS_SPATIALDATA
from kronos_sc._core.resolve import CLASS, annotation, classes_of_labels, image_of, tissue_images
from kronos_sc.pl._palette import Palette, category_colors, number_map
from kronos_sc.pl._tissue import MOST_PIXELS, channel_names, pyramid

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

_SUFFIX = "_class"
_CLEAR = {"artifact": ("foreground", "background")}  # classes that are no finding, by preset
_DRAW = "Draw a map with tl.predict_map(sdata, probe), and name its key_added."


@dataclass(frozen=True)
class Layer:
    """What is laid over the tissue.

    Parameters
    ----------
    values
        (y, x): place of the class in `colors` + 1 and 0 for none, or probabilities.
    corners
        (x, y) of the upper left and the lower right corner in pixels of the image.
    colors
        By class; empty for probabilities.
    number_map
        Colormap of probabilities.
    clear
        Classes that are not painted.
    """

    values: np.ndarray
    corners: np.ndarray
    colors: dict[str, Any]
    number_map: Any = None
    clear: frozenset[str] = frozenset()


def map_named(sdata: SpatialData, key: str, color: str | None) -> str:
    """Return the name of a map, checked before anything else.

    It is that of the probabilities that `color` needs, or of labels of classes. The name of a map's labels
    (`map_class`) stands for the map, which holds the probabilities, the record and the image's name.
    """
    tissues = tissue_images(sdata)
    map_names = [name for name in sdata.images if name not in tissues]
    if (base := key.removesuffix(_SUFFIX)) != key and base in map_names:
        return base
    if color is not None:
        fix = "Draw one with tl.predict_map(sdata, probe), and name its key_added; for classes alone leave color out."
        return known(key, map_names, what="map of probabilities", fix=fix)
    if key in sdata.labels or f"{key}{_SUFFIX}" in sdata.labels:
        return key
    # labels of classes that no map of probabilities goes with; those of cells are no map
    bare_labels = [
        name for name in sdata.labels if name.removesuffix(_SUFFIX) not in map_names and not _of_units(sdata, name)
    ]
    return known(key, map_names + bare_labels, what="map", fix=_DRAW)


def _of_units(sdata: SpatialData, labels: str) -> bool:
    """Whether a table annotates labels and names no classes, as it does for cells."""
    for key, table in sdata.tables.items():
        if table.uns.get(UNS_SPATIALDATA) and labels in annotation(table, name=key).regions:
            return CLASS not in table.obs
    return False


def image_below(sdata: SpatialData, key: str, image_key: str | None) -> str:
    """Return the image that a map lies on.

    As told, as recorded with the map, the only one that is no map, or the one with its number.
    """
    if image_key is not None:
        return image_of(sdata, key, image_key)
    table = sdata.tables.get(f"{key}_table")
    if table is not None and key in results.names(table):
        recorded = str(results.params(table, key).get("image", ""))
        if recorded in sdata.images:
            return recorded
    return image_of(sdata, key)


def map_layer(sdata: SpatialData, key: str, color: str | None, image: Any, palette: Palette) -> Layer:
    """Return the probability of the class `color`, or the most probable class of each place if it is None."""
    if color is None:
        return _class_layer(sdata, key, image, palette)
    return _probability_layer(sdata, key, color, image, palette)


def _class_layer(sdata: SpatialData, key: str, image: Any, palette: Palette) -> Layer:
    """Return the most probable class of each place."""
    labels = f"{key}{_SUFFIX}" if f"{key}{_SUFFIX}" in sdata.labels else key
    known(labels, sdata.labels, what="labels element with classes", fix=_DRAW)
    full = pyramid(sdata.labels[labels])[0]
    require_two_axes(sdata.labels[labels], full, labels)
    codes = _thinned(full)
    table, name_of_code = classes_of_labels(sdata, labels)
    if not name_of_code:  # nothing names them: they are called by their number
        name_of_code = {code: str(code) for code in np.unique(codes[codes > 0]).tolist()}
    names = _class_names(table, name_of_code)
    colors = category_colors(_Plain if table is None else table, CLASS, names, palette)
    position = {code: names.index(name) + 1 for code, name in name_of_code.items()}
    present, inverse = np.unique(codes, return_inverse=True)
    values = np.array([position.get(code, 0) for code in present.tolist()], dtype=np.intp)[inverse].reshape(codes.shape)
    chosen_colors = palette if isinstance(palette, Mapping) else {}
    clear = frozenset(name for name in _CLEAR.get(_preset(sdata, key), ()) if name not in chosen_colors)
    return Layer(values, _corners(full, image, labels), {name: colors[name] for name in names}, clear=clear)


def _class_names(table: AnnData | None, name_of_code: dict[int, str]) -> list[str]:
    """Return the classes of a map in the order of the table's categories, as a legend lists them."""
    if table is not None and isinstance(table.obs[CLASS].dtype, pd.CategoricalDtype):
        return [str(name) for name in table.obs[CLASS].cat.categories]
    return [str(name) for name in dict.fromkeys(name_of_code.values())]


def _preset(sdata: SpatialData, key: str) -> str:
    """Return the preset of the probe that drew a map, as its record says; empty without one."""
    table = sdata.tables.get(f"{key}_table")
    if table is None or key not in results.names(table):
        return ""
    return str(results.params(table, key).get("preset", ""))


class _Plain:
    """A table without stored colours."""

    uns: dict[str, Any] = {}  # noqa: RUF012 - never written to


def _probability_layer(sdata: SpatialData, key: str, color: str, image: Any, palette: Palette) -> Layer:
    """Return the probability of one class."""
    element = sdata.images[key]
    names = channel_names(element)
    known(
        color, names, what=f"class of map {key!r}", fix="Name a class with color=, or leave it out for the class map."
    )
    full = pyramid(element)[0]
    return Layer(_thinned(full[names.index(color)]), _corners(full, image, key), {}, number_map(palette))


def _thinned(plane: Any) -> np.ndarray:
    """Return a plane (y, x), every n-th pixel of it if there are more than can be seen; classes have no mean."""
    step = -(-max(plane.shape) // MOST_PIXELS)
    rows, columns = (slice(step // 2, None, step) for _ in range(2))
    return np.asarray(plane[rows, columns])


def _corners(element: Any, image: Any, name: str) -> np.ndarray:
    """Return the upper left and lower right corner of a map (2 × 2: x, y) in pixels of the image."""
    from spatialdata.transformations import get_transformation

    map_systems = get_transformation(element, get_all=True)
    image_systems = get_transformation(image, get_all=True)
    shared = [system for system in map_systems if system in image_systems]
    if not shared:
        msg = (
            f"Map {name!r} (coordinate systems {listed(map_systems)}) and the image ({listed(image_systems)}) share no "
            "coordinate system. Relate them with spatialdata.transformations.set_transformation, or choose another "
            "image with image_key=."
        )
        raise ValueError(msg)

    # from pixels of the map to the shared system, and from there back to pixels of the image
    system = "global" if "global" in shared else shared[0]
    forward, back = (
        systems[system].to_affine_matrix(input_axes=("x", "y"), output_axes=("x", "y"))
        for systems in (map_systems, image_systems)
    )
    height, width = element.shape[-2:]
    return (np.linalg.inv(back) @ forward @ np.array([[0, 0, 1], [width, height, 1]]).T)[:2].T
