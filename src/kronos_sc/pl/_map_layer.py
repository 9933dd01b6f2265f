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
    """Return the name of a map, checked before anything else: the probabilities that `color` needs, or labels of classes.

    The name of a map's labels (`map_class`) stands for the map, which holds the probabilities, the record and the
    image's name.
    """
    tissues = tissue_images(sdata)
    drawn = [name for name in sdata.images if name not in tissues]
    if (base := key.removesuffix(_SUFFIX)) != key and base in drawn:
        return base
    if color is not None:
        fix = "Draw one with tl.predict_map(sdata, probe), and name its key_added; for classes alone leave color out."
        return known(key, drawn, what="map of probabilities", fix=fix)
    if key in sdata.labels or f"{key}{_SUFFIX}" in sdata.labels:
        return key
    bare = [name for name in sdata.labels if name.removesuffix(_SUFFIX) not in drawn and not _of_units(sdata, name)]
    return known(key, drawn + bare, what="map", fix=_DRAW)


def _of_units(sdata: SpatialData, labels: str) -> bool:
    """Whether a table annotates labels and names no classes, as it does for cells."""
    for key, table in sdata.tables.items():
        if table.uns.get(UNS_SPATIALDATA) and labels in annotation(table, name=key).regions:
            return CLASS not in table.obs
    return False


def image_below(sdata: SpatialData, key: str, image_key: str | None) -> str:
    """Return the image that a map lies on: as told, as recorded with the map, the only one that is no map, or the one with its number."""
    if image_key is not None:
        return image_of(sdata, key, image_key)
    table = sdata.tables.get(f"{key}_table")
    if table is not None and key in results.names(table):
        recorded = str(results.params(table, key).get("image", ""))
        if recorded in sdata.images:
            return recorded
    return image_of(sdata, key)


def class_layer(sdata: SpatialData, key: str, image: Any, palette: Palette) -> Layer:
    """Return the most probable class of each place."""
    labels = f"{key}{_SUFFIX}" if f"{key}{_SUFFIX}" in sdata.labels else key
    known(labels, sdata.labels, what="labels element with classes", fix=_DRAW)
    full = pyramid(sdata.labels[labels])[0]
    require_two_axes(sdata.labels[labels], full, labels)
    codes = _thinned(full)
    table, named = classes_of_labels(sdata, labels)
    named = named or {code: str(code) for code in np.unique(codes[codes > 0]).tolist()}
    own = table.obs[CLASS] if table is not None else None
    names = (
        list(own.cat.categories)
        if own is not None and isinstance(own.dtype, pd.CategoricalDtype)
        else list(dict.fromkeys(named.values()))
    )
    names = [str(name) for name in names]
    colors = category_colors(_Plain if table is None else table, CLASS, names, palette)
    place = {code: names.index(name) + 1 for code, name in named.items()}
    found, inverse = np.unique(codes, return_inverse=True)
    values = np.array([place.get(code, 0) for code in found.tolist()], dtype=np.intp)[inverse].reshape(codes.shape)
    wanted = palette if isinstance(palette, Mapping) else {}
    clear = frozenset(name for name in _CLEAR.get(_preset(sdata, key), ()) if name not in wanted)
    return Layer(values, _corners(full, image, labels), {name: colors[name] for name in names}, clear=clear)


def _preset(sdata: SpatialData, key: str) -> str:
    """Return the preset of the probe that drew a map, as its record says; empty without one."""
    table = sdata.tables.get(f"{key}_table")
    return "" if table is None or key not in results.names(table) else str(results.params(table, key).get("preset", ""))


class _Plain:
    """A table without stored colours."""

    uns: dict[str, Any] = {}  # noqa: RUF012 - never written to


def probability_layer(sdata: SpatialData, key: str, color: str, image: Any, palette: Palette) -> Layer:
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

    mine = get_transformation(element, get_all=True)
    theirs = get_transformation(image, get_all=True)
    shared = [system for system in mine if system in theirs]
    if not shared:
        msg = (
            f"Map {name!r} (coordinate systems {listed(mine)}) and the image ({listed(theirs)}) share no coordinate "
            "system. "
            "Relate them with spatialdata.transformations.set_transformation, or choose another image with image_key=."
        )
        raise ValueError(msg)
    system = "global" if "global" in shared else shared[0]
    axes = ("x", "y")
    forward, back = (there[system].to_affine_matrix(input_axes=axes, output_axes=axes) for there in (mine, theirs))
    height, width = element.shape[-2:]
    return (np.linalg.inv(back) @ forward @ np.array([[0, 0, 1], [width, height, 1]]).T)[:2].T
