"""Units of a table: cells of a label image or boxes of a shapes element, as square windows in image pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core.checks import known, listed, near, numbers
from kronos_sc._core.log import info
from kronos_sc._core.resolve import linked_to
from kronos_sc.patches._labels import LabelImage, find_ids, scan, whole_ids
from kronos_sc.patches._raster import Affine, Raster, between, label_raster, labels_on
from kronos_sc.patches._stored import unstored_labels

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from kronos_sc._core.resolve import Annotation
    from kronos_sc.patches._rect import Rect

_SQUARE = 256  # edge of what is looked up at once where labels and image are turned against each other


@dataclass(frozen=True)
class LabelSource:
    """Labels read on the pixel grid of an image, whatever their own scale, shift and direction.

    Parameters
    ----------
    image
        The labels on their own grid.
    affine
        From label to image pixels.
    """

    image: LabelImage
    affine: Affine

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Return labels under image rows `y0`–`y1` and columns `x0`–`x1`; 0 where there are none."""
        if self.affine.identity:
            return self.image.read(y0, y1, x0, x1)
        if not self.affine.upright:
            return self._read_turned(y0, y1, x0, x1)
        # the label pixel that holds the centre of each image pixel
        rows, columns = (
            np.floor((np.arange(start, stop) + 0.5 - shift) / scale).astype(np.int64)
            for start, stop, shift, scale in zip((y0, x0), (y1, x1), self.affine.shift, self.affine.scale, strict=True)
        )
        corner = self.image.read(rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
        return corner[rows - rows[0]][:, columns - columns[0]]

    def _read_turned(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Return labels that are rotated, sheared or mirrored against the image."""
        labels = np.zeros((y1 - y0, x1 - x0), self.image.dtype)
        back = self.affine.inverse()
        # by squares, because what a long strip covers on a turned grid is far larger than itself
        for top, left in product(range(y0, y1, _SQUARE), range(x0, x1, _SQUARE)):
            y, x = np.mgrid[top : min(top + _SQUARE, y1), left : min(left + _SQUARE, x1)]
            rows, columns = (np.floor(c).astype(np.int64) for c in back.apply(y + 0.5, x + 0.5))
            corner = self.image.read(rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
            square = corner[rows - rows.min(), columns - columns.min()]
            labels[top - y0 : top - y0 + square.shape[0], left - x0 : left - x0 + square.shape[1]] = square
        return labels


@dataclass(frozen=True)
class LabelWindow:
    """Labels of one rectangle on the pixel grid of an image, compressed, to be sent to another machine.

    Parameters
    ----------
    rect
        Rows and columns of the image.
    part
        The labels.
    """

    rect: Rect
    part: LabelImage

    @classmethod
    def of(cls, labels: LabelSource | LabelWindow, rect: Rect) -> LabelWindow:
        """Return the labels under a rectangle."""
        pixels = labels.read(rect.y0, rect.y1, rect.x0, rect.x1)
        part = LabelImage(pixels.shape, pixels.dtype)
        part.add(0, 0, pixels)
        return cls(rect, part)

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Return labels under image rows `y0`–`y1` and columns `x0`–`x1`, which the rectangle must hold."""
        return self.part.read(y0 - self.rect.y0, y1 - self.rect.y0, x0 - self.rect.x0, x1 - self.rect.x0)


@dataclass(frozen=True)
class Units:
    """Square windows of one region of a table on one image; arrays have one entry per unit.

    Parameters
    ----------
    region
        The element that the table's rows annotate.
    rows
        Row numbers of the table (int64).
    y, x
        First row and column of the window in image pixels (int64); negative where it reaches beyond the border.
    size
        Edge of the window in image pixels.
    ids
        Label of each cell (int64, or uint64 beyond 2⁶³); None for boxes.
    area
        Pixels of each cell on the label grid (int64); None for boxes.
    labels
        Where masks are read from; None for boxes.
    """

    region: str
    rows: np.ndarray
    y: np.ndarray
    x: np.ndarray
    size: int
    ids: np.ndarray | None = None
    area: np.ndarray | None = None
    labels: LabelSource | LabelWindow | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def edge(self, shape: tuple[int, int]) -> np.ndarray:
        """Return which windows reach beyond an image of this shape (bool)."""
        return (self.y < 0) | (self.x < 0) | (self.y + self.size > shape[0]) | (self.x + self.size > shape[1])

    def resized(self, size: int) -> Units:
        """Return windows of another size around the same centres."""
        y, x = (corner + self.size // 2 - size // 2 for corner in (self.y, self.x))
        return replace(self, y=y, x=x, size=size)

    def subset(self, keep: np.ndarray) -> Units:
        """Return the chosen units (positions or flags), in the given order."""
        ids, area = (None if a is None else a[keep] for a in (self.ids, self.area))
        return Units(self.region, self.rows[keep], self.y[keep], self.x[keep], self.size, ids, area, self.labels)


def units(
    sdata: SpatialData,
    table: AnnData,
    annotation: Annotation,
    region: str,
    image: Raster,
    *,
    size: int | None,
    spatial_key: str | None = None,
) -> Units:
    """Return the units that a table annotates in one region.

    Parameters
    ----------
    sdata
        Holds the region's element.
    table
        Annotates it.
    annotation
        What the table annotates.
    region
        A labels or shapes element.
    image
        The image to cut windows from.
    size
        Edge of the window in pixels of that image; None takes the boxes' own size (shapes only).
    spatial_key
        Column pair (x, y) of `obsm`, in pixels of the annotated element, to centre windows on instead of the labels'
        centroids.
    """
    rows = annotation.rows(table, region)
    instances = table.obs[annotation.instance_key].to_numpy()[rows]
    if rows.size == 0:
        msg = (
            f"The table has no row for region {region!r}. Rows exist for: "
            f"{listed(table.obs[annotation.region_key].unique())}."
        )
        raise ValueError(msg)
    if region in sdata.labels:
        edge = 64 if size is None else size
        windows = _cells(sdata, region, image, rows, instances, size=edge, key=annotation.instance_key)
    elif region in sdata.shapes:
        windows = _boxes(sdata, region, image, rows, instances, size=size)
    else:
        msg = (
            f"The table annotates {region!r}, which is neither labels ({listed(sdata.labels)}) nor shapes "
            f"({listed(sdata.shapes)}). " + _another_element(sdata, table, annotation, region)
        )
        raise KeyError(msg)
    # coordinates of a table are those of its element, whose grid need not be the image's
    if spatial_key is not None:
        element = label_raster(sdata, region)[1] if region in sdata.labels else sdata.shapes[region]
        affine = between(element, image.element, names=(region, image.name), upright=region in sdata.shapes)
        windows = _recentred(windows, table, spatial_key, affine)
    return _inside(windows, image, table)


def _another_element(sdata: SpatialData, table: AnnData, annotation: Annotation, region: str) -> str:
    """Return how a table is linked to an element that exists: the one spelt most like the one that does not."""
    elements = [element for element in (*sdata.labels, *sdata.shapes) if element not in annotation.regions]
    name = next((key for key, other in sdata.tables.items() if other is table), "table")
    if not elements:
        return f"Add that element first, as in sdata[{region!r}] = ..."
    closest = [*near(region, elements), *elements][0]
    return f"Link the table to an existing element: {linked_to(name, annotation, region, closest)}."


def _cells(
    sdata: SpatialData, region: str, image: Raster, rows: np.ndarray, instances: np.ndarray, *, size: int, key: str
) -> Units:
    """Return windows around the pixel that holds each label's centroid."""
    data, affine = labels_on(sdata, region, image)
    ids = _whole_ids(instances, region, key)
    # one pass over the labels finds where each lies, and keeps them for the masks
    table, copy = scan(data, name=region)
    positions = find_ids(ids, table["label"].to_numpy())
    if (positions < 0).any():
        lost = ids[positions < 0]
        holes = ""
        if gaps := unstored_labels(data):
            holes = f" Its store has no chunk at {numbers(gaps, most=5)}: restore it if it was lost."
        msg = (
            f"{len(lost)} rows of the table have no pixels in labels {region!r}: {numbers(lost)}. The element holds "
            f"{len(table)} labels.{holes} Keep the other rows only (table[~table.obs[{key!r}].isin([...])]), or "
            "restore the labels."
        )
        raise ValueError(msg)
    if len(table) > len(ids):
        info(f"{len(table) - len(ids)} labels of {region!r} have no row in the table and are left out")

    cells = table.iloc[positions]
    y, x = affine.apply(cells["y"].to_numpy(), cells["x"].to_numpy())
    top, left = (np.floor(c).astype(np.int64) - size // 2 for c in (y, x))
    return Units(region, rows, top, left, size, ids, cells["area"].to_numpy(), LabelSource(copy, affine))


def _whole_ids(instances: np.ndarray, region: str, key: str) -> np.ndarray:
    """Return the labels that the table's rows name, as whole numbers, each once."""
    numeric = pd.to_numeric(pd.Series(instances), errors="coerce")
    fine = (numeric > 0) & (numeric % 1 == 0)
    if not fine.all():
        bad = [value for value, ok in zip(instances, fine, strict=True) if not ok]
        msg = (
            f"Rows of labels {region!r} need whole, positive instance ids; found {listed(bad)} (0 is background). "
            "Correct the instance column of the table, or leave these rows out: "
            f"table[~table.obs[{key!r}].isin([...])]."
        )
        raise ValueError(msg)
    whole = pd.Series(whole_ids(instances, what=f"The instance column of labels {region!r}"))
    if whole.duplicated().any():
        msg = (
            f"Several rows name the same label of {region!r}: {numbers(whole[whole.duplicated()].unique())}. "
            f"Each row must be one cell: keep the first of each with table[~table.obs[{key!r}].duplicated()]."
        )
        raise ValueError(msg)
    return whole.to_numpy()


def _boxes(
    sdata: SpatialData, region: str, image: Raster, rows: np.ndarray, instances: np.ndarray, *, size: int | None
) -> Units:
    """Return windows around the centres of shapes (boxes, circles, polygons)."""
    shapes = sdata.shapes[region]
    if not shapes.index.is_unique:
        again = shapes.index[shapes.index.duplicated()].unique()
        msg = (
            f"Shapes {region!r} repeat the index {listed(again)}, so rows of the table cannot name them. Number them "
            "with shapes.reset_index(drop=True)."
        )
        raise ValueError(msg)
    positions = shapes.index.get_indexer(instances)
    unknown = positions < 0
    if unknown.any():
        msg = (
            f"{int(unknown.sum())} rows of the table name no shape of {region!r}: {listed(instances[unknown])}. "
            "The instance column must hold the index of the shapes."
        )
        raise ValueError(msg)
    affine = between(shapes, image.element, names=(region, image.name))
    bounds = shapes.geometry.bounds.to_numpy()[positions]  # minx, miny, maxx, maxy
    if (empty := ~np.isfinite(bounds).all(axis=1)).any():
        msg = (
            f"{int(empty.sum())} shapes of {region!r} are empty or have no finite outline: {listed(instances[empty])}. "
            "Drop them and their rows."
        )
        raise ValueError(msg)
    if "radius" in shapes.columns:
        radius = shapes["radius"].to_numpy()[positions]
        bounds = bounds + np.stack([-radius, -radius, radius, radius], axis=1)

    top, left = affine.apply(bounds[:, 1], bounds[:, 0])
    bottom, right = affine.apply(bounds[:, 3], bounds[:, 2])
    if size is None:
        size = _common_size(np.concatenate([bottom - top, right - left]), region)
    # a centre that lies on the line between two pixels but for rounding belongs to the second
    y = np.floor((top + bottom) / 2 + 1e-6).astype(np.int64) - size // 2
    x = np.floor((left + right) / 2 + 1e-6).astype(np.int64) - size // 2
    return Units(region, rows, y, x, size)


def _common_size(edges: np.ndarray, region: str) -> int:
    """Return the edge that all boxes share, in whole pixels; a coarser pyramid level may divide it unevenly."""
    size = round(float(np.median(edges)))
    if size < 1 or np.abs(edges - size).max() > 0.5 + 1e-6 or np.ptp(edges) > 0.5:
        msg = (
            f"Shapes {region!r} are boxes of different size ({edges.min():.1f} to {edges.max():.1f} pixels). "
            "Choose one window for all of them with patch_size=."
        )
        raise ValueError(msg)
    return size


def _recentred(windows: Units, table: AnnData, spatial_key: str, affine: Affine) -> Units:
    """Return the units with windows around the table's own coordinates (x, y), in pixels of the annotated element."""
    fix = "Leave spatial_key out to use the labels' centroids."
    known(spatial_key, list(table.obsm), what="entry of obsm", fix=fix)
    xy = np.asarray(table.obsm[spatial_key])[windows.rows]
    if xy.ndim != 2 or xy.shape[1] < 2 or not np.isfinite(xy[:, :2]).all():
        msg = f"obsm[{spatial_key!r}] must hold finite x and y per row, got shape {xy.shape}. {fix}"
        raise ValueError(msg)
    y, x = (np.floor(c).astype(np.int64) - windows.size // 2 for c in affine.apply(xy[:, 1], xy[:, 0]))
    return replace(windows, y=y, x=x)


def _inside(windows: Units, image: Raster, table: Any) -> Units:
    """Return the units unchanged if each one's centre lies on the image."""
    y = windows.y + windows.size // 2
    x = windows.x + windows.size // 2
    outside = (y < 0) | (x < 0) | (y >= image.shape[0]) | (x >= image.shape[1])
    if outside.any():
        names = table.obs_names[windows.rows[outside]]
        msg = (
            f"{int(outside.sum())} units of {windows.region!r} have their centre outside image {image.name!r} "
            f"({image.shape[0]} × {image.shape[1]} pixels): {listed(names)}. Check the transformations with "
            "spatialdata.transformations.get_transformation, "
            "or leave these units out: table[~table.obs_names.isin([...])]."
        )
        raise ValueError(msg)
    return windows
