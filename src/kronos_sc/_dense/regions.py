"""Labelled boxes and polygons → regions in pixels of their image, with class and group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc import patches
from kronos_sc._core.checks import known, listed, numbers
from kronos_sc._core.keys import UNS_SPATIALDATA
from kronos_sc._core.log import info
from kronos_sc._core.missing import class_column
from kronos_sc._core.positions import positions
from kronos_sc._core.resolve import annotation, image_of
from kronos_sc._core.target import classes_of
from kronos_sc._core.warn import warn
from kronos_sc.patches._raster import between

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from kronos_sc.patches import Raster


@dataclass(frozen=True)
class Regions:
    """Labelled regions of all images of a call; arrays have one entry per region.

    Parameters
    ----------
    images
        The images.
    image
        Which of them (int64).
    outline
        Shapely geometries in pixels of the image (x, y).
    codes
        Class (int64).
    classes
        Names.
    groups
        Group of each region (int64): folds never split one.
    names
        `image`, `shapes`, `region` (index in the shapes) and `group` of each region.
    """

    images: list[Raster]
    image: np.ndarray
    outline: np.ndarray
    codes: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray
    names: pd.DataFrame

    def __len__(self) -> int:
        return len(self.codes)

    def subset(self, keep: np.ndarray) -> Regions:
        """Return some of the regions (flags); classes stay."""
        names = self.names[keep].reset_index(drop=True)
        return Regions(
            self.images, self.image[keep], self.outline[keep], self.codes[keep], self.classes, self.groups[keep], names
        )


def read_regions(
    sdata: SpatialData,
    shapes_key: Any,
    *,
    class_key: str,
    image_key: str | Mapping[str, str] | None,
    group_key: str | None,
) -> Regions:
    """Return the regions of all shapes named that have a class and lie on their image."""
    pairs = _pairs(sdata, shapes_key, image_key)
    images = {name: patches.raster(sdata, name) for name in dict.fromkeys(image for image, _ in pairs)}
    parts = [_of_shapes(sdata, shapes, images[image], class_key, group_key) for image, shapes in pairs]
    frame = pd.concat(parts, ignore_index=True)
    classes = _classes([part["class"] for part in parts], class_key, listed(shapes for _, shapes in pairs))
    if group_key is None and len(images) > 1:
        frame["group"] = frame["image"]
        info("folds keep the regions of an image together; name a column of cores or patients with group_key=")

    # names become codes: of classes, of images, of groups
    codes = positions(frame["class"].astype(str), classes)
    order = list(images)
    image = np.array([order.index(name) for name in frame["image"]])
    groups = pd.factorize(frame["group"])[0].astype(np.int64)
    names = frame[["image", "shapes", "region", "group"]]
    return Regions(list(images.values()), image, frame["outline"].to_numpy(), codes, classes, groups, names)


def _pairs(sdata: SpatialData, shapes_key: Any, image_key: Any) -> list[tuple[str, str]]:
    """Return (image, shapes) of a call: a name, several, or a mapping from image to shapes."""
    if isinstance(shapes_key, Mapping):
        pairs = [(image, shapes) for image, shapes in shapes_key.items()]
        for image, _ in pairs:
            known(image, sdata.images, what="image", fix="shapes_key maps images to shapes: {'image_0': 'regions_0'}.")
    else:
        names = [shapes_key] if isinstance(shapes_key, str) else list(shapes_key)
        pairs = [(image_of(sdata, name, image_key), name) for name in names]
    for _, shapes in pairs:
        known(
            shapes,
            sdata.shapes,
            what="shapes",
            fix="Read annotations with io.read_geojson(sdata, path), or draw them with napari.",
        )
    if not pairs:
        msg = (
            f"shapes_key names no shapes; there are: {listed(sdata.shapes)}. Name those that hold the labelled regions."
        )
        raise ValueError(msg)
    return pairs


def _of_shapes(
    sdata: SpatialData, shapes_key: str, image: Raster, class_key: str, group_key: str | None
) -> pd.DataFrame:
    """Return one row per labelled region on the image."""
    shapes = sdata.shapes[shapes_key]
    classes = _column(sdata, shapes_key, class_key, argument="class_key")
    groups = None if group_key is None else _column(sdata, shapes_key, group_key, argument="group_key")
    frame = pd.DataFrame({"image": image.name, "shapes": shapes_key, "region": [str(i) for i in shapes.index]})
    # categories keep their order, which becomes that of the classes
    frame["class"] = classes.array if isinstance(classes.dtype, pd.CategoricalDtype) else classes.to_numpy()
    if groups is None:
        frame["group"] = [f"{shapes_key}:{index}" for index in shapes.index]
    else:
        frame["group"] = groups.astype(str).to_numpy()
    frame["outline"] = _outlines(shapes, image, shapes_key)

    unlabelled = frame["class"].isna()
    if groups is not None and (n_ungrouped := int((groups.isna().to_numpy() & ~unlabelled.to_numpy()).sum())):
        warn(f"{n_ungrouped} regions of {shapes_key!r} have no {group_key!r} and are left out.")
        unlabelled |= groups.isna().to_numpy()
    if unlabelled.any():
        info(f"{int(unlabelled.sum())} of {len(frame)} shapes of {shapes_key!r} have no {class_key!r} and are left out")
    return _on_image(frame[~unlabelled], image, shapes_key)


def _column(sdata: SpatialData, shapes_key: str, name: str, *, argument: str) -> pd.Series:
    """Return a column of shapes, or of `obs` of a table that annotates them, one value per shape."""
    shapes = sdata.shapes[shapes_key]
    if name in shapes.columns and name != "geometry":
        values = pd.Series(shapes[name].array, index=shapes.index)
        return class_column(values, place=f"sdata.shapes[{shapes_key!r}][{name!r}]")

    # no column of the shapes: the first table that annotates them and has one, row by row through its instances
    table_columns: list[str] = []
    for key, table in sdata.tables.items():
        if not table.uns.get(UNS_SPATIALDATA):
            continue
        link = annotation(table, name=key)
        if shapes_key not in link.regions:
            continue
        if name in table.obs:
            rows = link.rows(table, shapes_key)
            values = class_column(table.obs[name], place=f"sdata.tables[{key!r}].obs[{name!r}]").iloc[rows]
            instances = table.obs[link.instance_key].iloc[rows].to_numpy()
            return pd.Series(values.array, index=instances).reindex(shapes.index)
        table_columns += list(table.obs.columns)
    columns = [c for c in shapes.columns if c != "geometry"]
    msg = (
        f"Shapes {shapes_key!r} have no column {name!r}; they have: {listed(columns)}, and tables that annotate them: "
        f"{listed(table_columns)}. Name the column with {argument}=, or add it: "
        f"sdata.shapes[{shapes_key!r}][{name!r}] = [...]."
    )
    raise KeyError(msg)


def _outlines(shapes: Any, image: Raster, name: str) -> np.ndarray:
    """Return geometries in pixels of the image.

    Circles become polygons, and outlines that cross themselves valid ones.
    """
    import shapely

    affine = between(shapes, image.element, names=(name, image.name))
    geometry = shapes.geometry.to_numpy()
    if "radius" in shapes.columns:
        geometry = shapely.buffer(geometry, shapes["radius"].to_numpy())
    # the affine counts y first, geometries x first
    scale = np.array(affine.scale[::-1])
    shift = np.array(affine.shift[::-1])
    return shapely.make_valid(shapely.transform(geometry, lambda xy: xy * scale + shift))


def _on_image(frame: pd.DataFrame, image: Raster, shapes_key: str) -> pd.DataFrame:
    """Return the rows whose outline meets the image; others are left out with a warning, all of them an error."""
    import shapely

    outside = ~shapely.intersects(frame["outline"].to_numpy(), shapely.box(0, 0, image.shape[1], image.shape[0]))
    if not outside.any():
        return frame
    place = f"outside image {image.name!r} ({image.shape[0]} × {image.shape[1]} pixels)"
    fix = (
        "Check the transformations with spatialdata.transformations.get_transformation, or name the image with "
        "image_key=."
    )
    indices = numbers(frame.loc[outside, "region"])
    if outside.all():
        msg = f"All {len(frame)} labelled regions of {shapes_key!r} lie {place}: {indices}. {fix}"
        raise ValueError(msg)
    warn(
        f"{int(outside.sum())} of {len(frame)} labelled regions of {shapes_key!r} lie {place} and are left out: "
        f"{indices}. {fix}"
    )
    return frame[~outside]


def _classes(parts: Sequence[pd.Series], class_key: str, shapes: str) -> tuple[str, ...]:
    """Return the names of the classes, in the order of the categories; two at least."""
    names: list[str] = []
    for part in parts:
        names += [name for name in classes_of(part).classes if name not in names]
    if not all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
        names = sorted(names)
    if len(names) < 2:
        msg = (
            f"The labelled regions of {shapes} have {len(names)} classes in {class_key!r} ({listed(names)}); at least "
            "2 are needed. Label regions of what is to be told apart, background included, or name another column "
            "with class_key=."
        )
        raise ValueError(msg)
    return tuple(names)
