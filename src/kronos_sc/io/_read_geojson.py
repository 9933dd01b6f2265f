"""Outlines drawn elsewhere (QuPath) → shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core.checks import listed, numbers
from kronos_sc._core.log import info
from kronos_sc._core.missing import is_missing_text
from kronos_sc._core.paths import existing
from kronos_sc._core.progress import track
from kronos_sc._core.resolve import require_free, require_spatialdata
from kronos_sc._core.warn import warn
from kronos_sc.io._geojson import features, object_of, parse_properties
from kronos_sc.io._valid_areas import area_of, log_repaired, not_finite, valid_areas
from kronos_sc.patches import Raster, raster

if TYPE_CHECKING:
    import os

    from geopandas import GeoDataFrame
    from spatialdata import SpatialData

_AREAS = ("Polygon", "MultiPolygon", "GeometryCollection")
_COLUMNS = ("name", "color", "object_type", "geometry")


def read_geojson(
    sdata: SpatialData,
    path: str | os.PathLike[str],
    *,
    image_key: str | None = None,
    key_added: str = "annotations",
    class_key: str = "class",
    overwrite: bool = False,
) -> None:
    """Read outlines with classes, as QuPath exports them, into shapes on an image.

    For regions that a pathologist drew: truth for `tl.dense_probe`. Coordinates are pixels of the full-resolution
    image, x before y, as QuPath writes them whatever the zoom. A FeatureCollection, a single Feature and a bare list of
    Features are read, plain, compressed (`.gz`) or in a zip, as QuPath's *Compress data* makes it; annotations,
    detections and cells alike.

    Parameters
    ----------
    sdata
        Holds the image; the shapes are added to it.
    path
        The file. Of a zip, the only `.geojson` (or `.json`) in it.
    image_key
        The image that was drawn on; the only one if left out.
    key_added
        Name of the shapes.
    class_key
        Name of the column of classes.
    overwrite
        Replace shapes of that name.

    Returns
    -------
    `None`. Sets:

    `shapes['annotations' | key_added]`
        Polygons and multipolygons in pixels of the image, with the image's transformations. Columns: `class` (or
        `class_key`; categorical, in order of appearance, missing where an object is not classified), `name`, `color`
        (#rrggbb) and `object_type`, missing where nothing is said. Points and lines are left out (also of a
        collection), outlines that cross themselves are mended, empty ones dropped; the log says which.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is no GeoJSON, an archive of several, unpacks to what no text does, holds no area, or all areas lie outside
        the image; an object cannot be read, which is named; `key_added` is taken.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> sdata = ks.datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8"])
    >>> path = Path(mkdtemp()) / "drawn.geojson"
    >>> box = '{"type": "Polygon", "coordinates": [[[8, 8], [40, 8], [40, 30], [8, 30], [8, 8]]]}'
    >>> said = '{"classification": {"name": "Tumor"}}'
    >>> _ = path.write_text(f'{{"type": "Feature", "geometry": {box}, "properties": {said}}}')
    >>> ks.io.read_geojson(sdata, path)
    >>> sdata["annotations"]["class"].tolist()
    ['Tumor']
    """
    require_spatialdata(sdata)
    if class_key in _COLUMNS:
        msg = (
            f"class_key={class_key!r} is the name of another column of the shapes ({listed(_COLUMNS)}). Choose another "
            "name, 'class' say."
        )
        raise ValueError(msg)
    image = raster(sdata, image_key)
    require_free(sdata, {key_added: "shapes"}, overwrite=overwrite)
    file = existing(Path(path), argument="path")
    frame = _frame_of_areas(features(file), file, class_key)
    _require_overlap(frame, image, file)
    sdata.shapes[key_added] = _element(frame, image)
    counts = frame[class_key].value_counts(sort=False, dropna=False)
    class_counts = ", ".join(
        f"{count:,} {'without a class' if pd.isna(name) else repr(name)}" for name, count in counts.items() if count
    )
    info(f"added {len(frame):,} areas of {file.name!r} to shapes[{key_added!r}]: {class_counts}")


def _frame_of_areas(objects: list[Mapping[str, Any]], file: Path, class_key: str) -> GeoDataFrame:
    """Return the areas among the features, each valid, and what is said of them."""
    import geopandas
    import shapely

    kinds: Counter[str] = Counter()
    areas = []
    shapes = []
    for number, one in enumerate(track(objects, description=f"read {file.name}", unit="object")):
        with object_of(file, number, "an outline"):
            kind = _kind(one)
            if kind in _AREAS:
                shapes.append(_geometry(one["geometry"]))
                areas.append((number, one))
        kinds[kind] += 1
    if others := {kind: count for kind, count in kinds.items() if kind not in _AREAS}:
        info(
            f"{file.name}: {', '.join(f'{count:,} {kind}' for kind, count in others.items())} left out; areas are read"
        )
    geometry = _repaired(shapely.force_2d(np.array(shapes, dtype=object)), [number for number, _ in areas], file)
    empty = shapely.is_empty(geometry) if len(geometry) else np.empty(0, bool)
    if empty.all():
        what = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()) or "no object"
        msg = (
            f"{file.name!r} holds no area ({what}). Draw polygons, rectangles or brush strokes in QuPath, and export "
            "them as GeoJSON."
        )
        raise ValueError(msg)
    if empty.any():
        info(
            f"{file.name}: {int(empty.sum()):,} empty outlines dropped: "
            f"{numbers(areas[row][0] for row in np.flatnonzero(empty))}"
        )
    return geopandas.GeoDataFrame(
        _columns([areas[row] for row in np.flatnonzero(~empty)], file, class_key), geometry=geometry[~empty]
    )


def _columns(areas: list[tuple[int, Mapping[str, Any]]], file: Path, class_key: str) -> dict[str, Any]:
    """Return what is said of each area."""
    properties = []
    for number, one in areas:
        with object_of(file, number, "properties"):
            properties.append(parse_properties(one))
    # tables that were exported as GeoJSON write missing classes as text
    classes = [None if is_missing_text(one.label) else one.label for one in properties]
    if texts := sorted({repr(one.label) for one in properties if one.label and is_missing_text(one.label)}):
        info(f"{file.name}: the class {', '.join(texts)} is taken as none: it is the text of a missing value")
    return {
        class_key: pd.Categorical(classes, categories=[name for name in dict.fromkeys(classes) if name is not None]),
        "name": pd.Series([one.name for one in properties], dtype=object),
        "color": pd.Series([one.color for one in properties], dtype=object),
        "object_type": pd.Series([one.kind for one in properties], dtype=object),
    }


def _kind(feature: Mapping[str, Any]) -> str:
    """Return the type of a feature's geometry."""
    geometry = feature.get("geometry")
    if geometry is not None and not isinstance(geometry, Mapping):
        msg = f"it is of the kind {type(geometry).__name__}, not an object"
        raise TypeError(msg)
    if geometry is None:
        return "no geometry"
    return str(geometry.get("type", "no geometry"))


def _geometry(geometry: Mapping[str, Any]) -> Any:
    """Return the areas of a GeoJSON geometry; a ring of no point is a hole in the file, not in the tissue."""
    import shapely
    from shapely.geometry import shape

    if geometry["type"] == "GeometryCollection":
        parts = [_geometry(part) for part in geometry.get("geometries") or () if part and part.get("type") in _AREAS]
        return area_of(shapely.GeometryCollection(parts))
    polygons = geometry["coordinates"]
    if geometry["type"] == "Polygon":
        polygons = [polygons]
    parts = [[ring for ring in part if ring] for part in polygons if part and part[0]]
    return area_of(shape({"type": "MultiPolygon", "coordinates": parts}))


def _repaired(geometry: np.ndarray, number: list[int], file: Path) -> np.ndarray:
    """Return areas that are valid; those that crossed themselves are cut into parts that do not."""
    if len(unreadable := not_finite(geometry)):
        msg = (
            f"Object {number[unreadable[0]]} of {file.name!r} has corners that are not finite. Remove or mend "
            "it, and export "
            "again."
        )
        raise ValueError(msg)
    geometry, broken = valid_areas(geometry)
    log_repaired(file.name, (number[i] for i in broken))
    return geometry


def _require_overlap(frame: GeoDataFrame, image: Raster, file: Path) -> None:
    """Raise a ValueError if no area lies on the image; warn of those that do not."""
    import shapely

    # coordinates of another image, or of another zoom, show by where they lie
    height, width = image.shape
    outside = ~shapely.intersects(frame.geometry.to_numpy(), shapely.box(0, 0, width, height))
    if not outside.any():
        return
    left, top, right, bottom = frame.total_bounds
    extent = (
        f"the areas span x {left:g} to {right:g}, y {top:g} to {bottom:g}; image {image.name!r} has {width} × {height} "
        "pixels"
    )
    if outside.all():
        msg = f"No area of {file.name!r} lies on the image: {extent}. Name the image that was drawn on with image_key=."
        raise ValueError(msg)
    warn(
        f"{int(outside.sum()):,} of {len(frame):,} areas of {file.name!r} lie outside the image: {extent}. Was "
        "it drawn "
        "on another image?"
    )


def _element(frame: GeoDataFrame, image: Raster) -> GeoDataFrame:
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import get_transformation

    return ShapesModel.parse(frame, transformations=dict(get_transformation(image.element, get_all=True)))
