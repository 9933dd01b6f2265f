"""Shapes or segmented cells, with their classes → outlines that QuPath opens."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import numpy as np

from kronos_sc._core.checks import known, numbers, one_of
from kronos_sc._core.log import info
from kronos_sc._core.progress import track
from kronos_sc._core.resolve import image_of, require_spatialdata
from kronos_sc._core.warn import warn
from kronos_sc.io._geojson import OBJECT_TYPES, ObjectProperties, format_properties
from kronos_sc.io._geojson_classes import Classes, classes_of
from kronos_sc.io._label_outlines import label_outlines
from kronos_sc.io._valid_areas import log_repaired, not_finite, valid_areas
from kronos_sc.io._whole_file import whole_file
from kronos_sc.patches import Raster, raster
from kronos_sc.patches._raster import between, label_raster

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from spatialdata import SpatialData

    from kronos_sc.patches._raster import Affine

    Outline = tuple[Any, ObjectProperties, Any]  # label or index, what is said of it, geometry in pixels of the image

_ID_NAMESPACE = UUID("6f6a5a86-7f0b-5c64-9d4c-0f3f0d2f7c11")  # of all ids that this package gives
_BATCH = 1000


def write_geojson(
    sdata: SpatialData,
    path: str | os.PathLike[str],
    *,
    element: str,
    class_key: str | None = None,
    table_key: str | None = None,
    image_key: str | None = None,
    object_type: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write regions or cells with their classes as GeoJSON, to look at and correct in QuPath.

    Coordinates are pixels of the full-resolution image, whatever the element's own: a map of tokens comes out in its
    place on the image. In QuPath, drop the file on the image it belongs to. The same call gives the same bytes, ids
    included. Written as it grows: hundreds of thousands of cells need little memory, and a file that was not finished
    does not stay behind.

    Parameters
    ----------
    sdata
        Holds the element.
    path
        The file; compressed if it ends in `.gz`. Its folder must exist.
    element
        Shapes (the regions of `tl.predict_map(polygons=True)`, annotations, boxes), or labels: segmented cells, or a
        map of classes.
    class_key
        Column with the classes: of the shapes, or of the table that annotates the element. `"class"` if there is one;
        without any, objects have no class.
    table_key
        The table; the only one that annotates the element if left out.
    image_key
        The image that QuPath opens; the only one if left out, or the one whose name has the element's number
        (`cells_3`, `image_3`).
    object_type
        What QuPath takes the objects for: `"annotation"`, `"detection"` or `"cell"`. Annotations for shapes, detections
        for labels if left out; many thousands of annotations make QuPath slow. As annotations, the parts of a label
        that do not touch are objects of their own.
    overwrite
        Replace a file of that name.

    Returns
    -------
    `None`. Writes the file: valid polygons and multipolygons with `objectType`, `name` (from a column of that name) and
    `classification` (name, and colour from `uns['{class_key}_colors']`, the shapes' column `color`, or the package's
    own). Circles become polygons, outlines that cross themselves are cut into parts that do not (the log names them),
    and what covers nothing is left out with a warning. Rows of the table without an outline, and labels without a row,
    are left out.

    Raises
    ------
    KeyError
        There is no such element, column or table.
    ValueError
        Element and image are related by more than scale and translation; several tables annotate the element.
    FileExistsError, FileNotFoundError
        The file exists, or its folder does not.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> sdata = ks.datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8"])
    >>> path = Path(mkdtemp()) / "cells.geojson"
    >>> ks.io.write_geojson(sdata, path, element="cells", class_key="cell_type")
    >>> path.exists()
    True
    """
    require_spatialdata(sdata)
    known(element, [*sdata.shapes, *sdata.labels], what="shapes or labels", fix="Name one with element=.")
    one_of(object_type, (None, *OBJECT_TYPES), name="object_type")
    file = _require_free(Path(path).expanduser(), overwrite=overwrite)
    image = raster(sdata, image_of(sdata, element, image_key))
    classes = classes_of(sdata, element, class_key, table_key)
    if element in sdata.labels:
        outlines, total = _of_labels(sdata, element, image, classes, object_type or "detection")
    else:
        outlines, total = _of_shapes(sdata, element, image, classes, object_type or "annotation")
    areas = _Areas(element)
    tracked = track(outlines, total=total, description=f"write {file.name}", unit="object")
    count = _write(file, areas.of(tracked), element)
    areas.say()
    info(f"wrote {count:,} outlines of {element!r} to {file}, in pixels of image {image.name!r}")


def _require_free(path: Path, *, overwrite: bool) -> Path:
    """Return the path if a file may be written there."""
    if not path.parent.is_dir():
        msg = (
            f"The folder {str(path.parent)!r} does not exist, so {path.name!r} cannot be written. Make the folder "
            "first, or name another."
        )
        raise FileNotFoundError(msg)
    if path.is_dir() or (path.exists() and not overwrite):
        what = "there already"
        if path.is_dir():
            what = "a folder"
        msg = f"{str(path)!r} is {what}. Choose another path, or pass overwrite=True to replace a file."
        raise FileExistsError(msg)
    return path


def _of_shapes(
    sdata: SpatialData, name: str, image: Raster, classes: Classes, kind: str
) -> tuple[Iterator[Outline], int]:
    """Return what to write of shapes, in their order."""
    import shapely

    shapes = sdata.shapes[name]
    geometry = shapes.geometry.to_numpy()
    if "radius" in shapes.columns:
        geometry = shapely.buffer(geometry, shapes["radius"].to_numpy())
    geometry_in_image = _in_image_pixels(geometry, between(shapes, image.element, names=(name, image.name)))
    names: list[Any] = [None] * len(shapes)
    if "name" in shapes.columns:
        names = shapes["name"].tolist()
    keep = [i for i, index in enumerate(shapes.index) if index in classes]
    # missing names are NaN or None
    names = [name if isinstance(name, str) else None for name in names]
    properties = (classes.properties(shapes.index[i], names[i], kind) for i in keep)
    return zip(shapes.index[keep], properties, geometry_in_image[keep], strict=True), len(keep)


def _of_labels(
    sdata: SpatialData, name: str, image: Raster, classes: Classes, kind: str
) -> tuple[Iterator[Outline], int | None]:
    """Return what to write of labels."""
    import shapely

    labels, element = label_raster(sdata, name)
    affine = between(element, image.element, names=(name, image.name))

    def outlines() -> Iterator[Outline]:
        for label, outline in label_outlines(labels, name=name):
            if label in classes:
                properties = classes.properties(label, None, kind)
                parts = [outline]
                if kind == "annotation":  # QuPath edits one outline at a time
                    parts = shapely.get_parts(outline)
                for part in parts:
                    yield label, properties, _in_image_pixels(np.array([part], object), affine)[0]

    return outlines(), classes.count


def _in_image_pixels(geometry: np.ndarray, affine: Affine) -> np.ndarray:
    """Return geometries in pixels of the image, to a millionth."""
    import shapely

    # of an affine (y, x), of geometries (x, y)
    scale = affine.scale[::-1]
    shift = affine.shift[::-1]
    return shapely.transform(geometry, lambda xy: np.round(xy * scale + shift, 6))


class _Areas:
    """What of an element can be written; remembers what was mended and what covers nothing."""

    def __init__(self, element: str) -> None:
        self.element = element
        self.mended: list[Any] = []
        self.lost: list[Any] = []

    def of(self, outlines: Iterable[Outline]) -> Iterator[tuple[list[ObjectProperties], np.ndarray]]:
        """Yield a thousand outlines at a time, each a valid area."""
        import shapely

        for batch in _batches(outlines):
            units, properties, geometries = zip(*batch, strict=True)
            geometry = np.array(geometries, dtype=object)
            # these cannot be repaired: they count as covering nothing
            geometry[not_finite(geometry)] = None
            geometry, broken = valid_areas(geometry)
            empty = shapely.is_empty(geometry)
            self.mended += [units[i] for i in broken if not empty[i]]
            self.lost += [units[i] for i in np.flatnonzero(empty)]
            yield [one for one, is_empty in zip(properties, empty, strict=True) if not is_empty], geometry[~empty]

    def say(self) -> None:
        """Say what was mended, and warn of what is not in the file."""
        log_repaired(self.element, self.mended)
        if self.lost:
            warn(
                f"{len(self.lost):,} outlines of {self.element!r} cover nothing (empty, flat, or with corners that are "
                f"not finite) and are not written: {numbers(self.lost)}."
            )


def _write(file: Path, batches: Iterable[tuple[list[ObjectProperties], np.ndarray]], name: str) -> int:
    """Write all features; return how many. The id of each is drawn from its number and all that it says."""
    import shapely

    count = 0
    with whole_file(file) as stream:
        stream.write(b'{"type":"FeatureCollection","features":[')
        for properties, outlines in batches:
            for one, outline in zip(properties, shapely.to_geojson(outlines), strict=True):
                body = f'"geometry":{outline},"properties":{format_properties(one)}'
                line = f'{{"type":"Feature","id":"{uuid5(_ID_NAMESPACE, f"{name}:{count}:{body}")}",{body}}}'
                stream.write((",\n" if count else "\n").encode() + line.encode())
                count += 1
        stream.write(b"\n]}\n")
    return count


def _batches(outlines: Iterable[Outline]) -> Iterator[list[Outline]]:
    outlines = iter(outlines)
    while batch := list(islice(outlines, _BATCH)):
        yield batch
