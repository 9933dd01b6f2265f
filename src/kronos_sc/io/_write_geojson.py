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
from kronos_sc.io._geojson import OBJECT_TYPES, Words, properties
from kronos_sc.io._geojson_classes import Classes, classes_of
from kronos_sc.io._label_outlines import label_outlines
from kronos_sc.io._valid_areas import not_finite, say_mended, valid_areas
from kronos_sc.io._whole_file import whole_file
from kronos_sc.patches import Raster, raster
from kronos_sc.patches._raster import between, label_raster

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from spatialdata import SpatialData

    from kronos_sc.patches._raster import Affine

    Outline = tuple[Any, Words, Any]  # label or index, what is said of it, geometry in pixels of the image

_NAMES = UUID("6f6a5a86-7f0b-5c64-9d4c-0f3f0d2f7c11")  # of all ids that this package gives
_AT_ONCE = 1000


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
    file = _free(Path(path).expanduser(), overwrite=overwrite)
    image = raster(sdata, image_of(sdata, element, image_key))
    classes = classes_of(sdata, element, class_key, table_key)
    if element in sdata.labels:
        outlines, total = _of_labels(sdata, element, image, classes, object_type or "detection")
    else:
        outlines, total = _of_shapes(sdata, element, image, classes, object_type or "annotation")
    areas = _Areas(element)
    count = _write(
        file, areas.of(track(outlines, total=total, description=f"write {file.name}", unit="object")), element
    )
    areas.say()
    info(f"wrote {count:,} outlines of {element!r} to {file}, in pixels of image {image.name!r}")


def _free(path: Path, *, overwrite: bool) -> Path:
    """Return the path if a file may be written there."""
    if not path.parent.is_dir():
        msg = (
            f"The folder {str(path.parent)!r} does not exist, so {path.name!r} cannot be written. Make the folder "
            "first, or name another."
        )
        raise FileNotFoundError(msg)
    if path.is_dir() or (path.exists() and not overwrite):
        what = "a folder" if path.is_dir() else "there already"
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
    placed = _placed(geometry, between(shapes, image.element, names=(name, image.name)))
    names = shapes["name"].tolist() if "name" in shapes.columns else [None] * len(shapes)
    keep = [i for i, index in enumerate(shapes.index) if index in classes]
    said = (classes.words(shapes.index[i], names[i] if isinstance(names[i], str) else None, kind) for i in keep)
    return zip(shapes.index[keep], said, placed[keep], strict=True), len(keep)


def _of_labels(
    sdata: SpatialData, name: str, image: Raster, classes: Classes, kind: str
) -> tuple[Iterator[Outline], int | None]:
    """Return what to write of labels."""
    import shapely

    labels, element = label_raster(sdata, name)
    affine = between(element, image.element, names=(name, image.name))

    def every() -> Iterator[Outline]:
        for label, outline in label_outlines(labels, name=name):
            if label in classes:
                said = classes.words(label, None, kind)
                for part in shapely.get_parts(outline) if kind == "annotation" else [outline]:
                    yield label, said, _placed(np.array([part], object), affine)[0]

    return every(), classes.count


def _placed(geometry: np.ndarray, affine: Affine) -> np.ndarray:
    """Return geometries in pixels of the image, to a millionth."""
    import shapely

    scale, shift = affine.scale[::-1], affine.shift[::-1]
    return shapely.transform(geometry, lambda xy: np.round(xy * scale + shift, 6))


class _Areas:
    """What of an element can be written; remembers what was mended and what covers nothing."""

    def __init__(self, element: str) -> None:
        self.element = element
        self.mended: list[Any] = []
        self.lost: list[Any] = []

    def of(self, outlines: Iterable[Outline]) -> Iterator[tuple[list[Words], np.ndarray]]:
        """Yield a thousand outlines at a time, each a valid area."""
        import shapely

        for batch in _batches(outlines):
            units, said, every = zip(*batch, strict=True)
            geometry = np.array(every, dtype=object)
            geometry[not_finite(geometry)] = None
            geometry, broken = valid_areas(geometry)
            empty = shapely.is_empty(geometry)
            self.mended += [units[i] for i in broken if not empty[i]]
            self.lost += [units[i] for i in np.flatnonzero(empty)]
            yield [one for one, gone in zip(said, empty, strict=True) if not gone], geometry[~empty]

    def say(self) -> None:
        """Say what was mended, and warn of what is not in the file."""
        say_mended(self.element, self.mended)
        if self.lost:
            warn(
                f"{len(self.lost):,} outlines of {self.element!r} cover nothing (empty, flat, or with corners that are "
                f"not finite) and are not written: {numbers(self.lost)}."
            )


def _write(file: Path, batches: Iterable[tuple[list[Words], np.ndarray]], name: str) -> int:
    """Write all features; return how many. The id of each is drawn from its number and all that it says."""
    import shapely

    count = 0
    with whole_file(file) as out:
        out.write(b'{"type":"FeatureCollection","features":[')
        for said, outlines in batches:
            for one, outline in zip(said, shapely.to_geojson(outlines), strict=True):
                body = f'"geometry":{outline},"properties":{properties(one)}'
                line = f'{{"type":"Feature","id":"{uuid5(_NAMES, f"{name}:{count}:{body}")}",{body}}}'
                out.write((",\n" if count else "\n").encode() + line.encode())
                count += 1
        out.write(b"\n]}\n")
    return count


def _batches(outlines: Iterable[Outline]) -> Iterator[list[Outline]]:
    outlines = iter(outlines)
    while batch := list(islice(outlines, _AT_ONCE)):
        yield batch
