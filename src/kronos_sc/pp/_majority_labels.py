"""Labels for boxes from the cells that lie in them."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core import results
from kronos_sc._core.checks import known, listed, one_of
from kronos_sc._core.free_key import free_key
from kronos_sc._core.keys import UNS_SPATIALDATA, storable
from kronos_sc._core.log import info
from kronos_sc._core.pairing import fitting
from kronos_sc._core.resolve import annotation, only, require_spatialdata
from kronos_sc._core.target import ClassColumn
from kronos_sc._core.target import target as as_target
from kronos_sc.patches._labels import strips, whole_ids
from kronos_sc.patches._raster import between, label_raster
from kronos_sc.pp._class_pixels import Lookup, class_pixels

if TYPE_CHECKING:
    from collections.abc import Collection

    from anndata import AnnData
    from spatialdata import SpatialData

_BACKGROUND = "background"


def majority_labels(
    sdata: SpatialData,
    target: str,
    *,
    shapes_key: str = "patches",
    labels_key: str | None = None,
    table_key: str | None = None,
    patches_table: str | None = None,
    background: str = "own",
    key_added: str = "majority",
) -> None:
    """Label each box with the class that most of its pixels belong to :cite:p:`Shaban2025`.

    The truth for classifiers that look at boxes rather than at segmented cells, and the composition that retrieval of
    patches is judged by. The larger the majority's share of a box, the cleaner the label: `tl.ratio_scores` evaluates
    by it.

    Parameters
    ----------
    sdata
        Holds boxes (`pp.tile`), the segmentation, and a table of its cells.
    target
        Column of `obs` of the cells' table with their classes.
    shapes_key
        The boxes; axis-aligned rectangles of any size.
    labels_key
        The segmentation. If left out: the labels that the cells' table annotates; of several, the one with the same
        number as the boxes (`cells_3`, `patches_3`).
    table_key
        Table of the cells; the only one that annotates labels if left out.
    patches_table
        Table of the boxes; the only one that annotates them if left out.
    background
        `"own"`: pixels outside cells are counted and have no vote, so a box without a classified pixel has no label.
        `"vote"`: they vote as a class named background, as in the paper's tutorials. Pixels of cells without a class or
        without a row are background, too.
    key_added
        Name of the column of labels; see below for the others.

    Returns
    -------
    `None`. Sets in the table of the boxes (with a `key_added` of your own, all slots begin with it; rows of other
    elements are missing):

    `obs['majority' | key_added]`
        Class with the most pixels (categorical, in the order of the cells' categories; the first of equals). Missing
        where there is none.
    `obs['majority_ratio' | key_added + '_ratio']`
        Its pixels / all pixels of the box, above 0 to 1 (float32); missing where there is no label.
    `obs['background_ratio' | key_added + '_background_ratio']`
        Pixels without a class / all pixels, 0 to 1 (float32).
    `obsm['composition' | key_added + '_composition']`
        Frame (boxes × classes, float32): share of each class among the classified pixels of the box, 0 to 1, rows add
        up to 1; NaN without classified pixels.
    `uns['majority' | key_added]`
        Table `classes` (`class`, `n_boxes`, `n_pixels`) and parameters. Overlapping boxes count pixels again.

    Raises
    ------
    KeyError
        An element, table or column does not exist.
    ValueError
        Shapes are no boxes, nothing relates them to the labels, or no box holds a classified pixel.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(128, 128))
    >>> ks.pp.tile(sdata, size=32, stride=16)
    >>> ks.pp.majority_labels(sdata, "cell_type")
    >>> bool(sdata["patches_table"].obs["majority_ratio"].max() <= 1)
    True
    """
    require_spatialdata(sdata)
    one_of(background, ("own", "vote"), name="background")
    known(shapes_key, sdata.shapes, what="shapes", fix="Make a grid of boxes with pp.tile(sdata, size=...).")
    patches_table = _annotating(
        sdata, patches_table, [shapes_key], what=f"shapes {shapes_key!r}", argument="patches_table"
    )
    table_key = _annotating(sdata, table_key, list(sdata.labels), what="labels", argument="table_key")
    labels_key = _labels_of(sdata, table_key, labels_key, shapes_key)
    cells = sdata.tables[table_key]
    table = sdata.tables[patches_table]
    free_key(table, key_added)
    classes = as_target(cells, target, least=1)
    if background == "vote" and _BACKGROUND in classes.classes:
        msg = (
            f"obs[{target!r}] has a class 'background' already, which background='vote' would add. Rename it, or leave "
            "background='own'."
        )
        raise ValueError(msg)
    lookup = _lookup(cells, classes, table_key, labels_key)
    labels, element = label_raster(sdata, labels_key)
    rows, boxes = _boxes(sdata, table, shapes_key, element, names=(shapes_key, labels_key), table_name=patches_table)

    started = perf_counter()
    pieces = strips(labels, labels_key)
    pixels = class_pixels(pieces, lookup, boxes, len(classes.classes) + 1, shape=labels.shape)
    if not pixels[:, 1:].any():
        msg = (
            f"No box of {shapes_key!r} holds a pixel of a cell with a class. Cells of table {table_key!r} have ids "
            f"{listed(lookup.ids[:3])}; check that they are the values of labels {labels_key!r}, and that boxes and "
            "labels lie on each other."
        )
        raise ValueError(msg)
    params = {
        "target": target,
        "shapes_key": shapes_key,
        "labels_key": labels_key,
        "table_key": table_key,
        "background": background,
    }
    _write(table, rows, pixels, classes, key_added, params)
    n_empty = int((pixels[:, 1:].sum(axis=1) == 0).sum())
    info(
        f"added obs[{key_added!r}] to tables[{patches_table!r}]: {len(boxes):,} boxes, {len(classes.classes)} classes, "
        f"{n_empty:,} boxes without a classified pixel, {perf_counter() - started:.1f} s"
    )


def _annotating(sdata: SpatialData, name: str | None, elements: Collection[str], *, what: str, argument: str) -> str:
    """Return the named table, or the only one that annotates any of these elements."""
    if name is not None:
        return known(name, sdata.tables, what="table", fix=f"Name the table of the {what} with {argument}=.")
    linked = {key: table for key, table in sdata.tables.items() if table.uns.get(UNS_SPATIALDATA)}
    fits = {key: table for key, table in linked.items() if set(annotation(table, name=key).regions) & set(elements)}
    fix = "Make one with pp.tile(sdata, size=...) for boxes or pp.label_table(sdata) for cells."
    return only(fits, None, what=f"table of the {what}", argument=argument, fix=fix)


def _labels_of(sdata: SpatialData, table_key: str, labels_key: str | None, shapes_key: str) -> str:
    """Return the labels that boxes take their classes from."""
    regions = [
        region for region in annotation(sdata.tables[table_key], name=table_key).regions if region in sdata.labels
    ]
    if labels_key is None and len(regions) > 1:
        fits = fitting(shapes_key, regions)
        labels_key = fits[0] if len(fits) == 1 else None
    fix = f"Name labels that table {table_key!r} annotates, or its table with table_key=."
    return only(dict.fromkeys(regions), labels_key, what="labels", argument="labels_key", fix=fix)


def _lookup(cells: AnnData, classes: ClassColumn, table_key: str, labels_key: str) -> Lookup:
    """Return the classes of the labels of one element."""
    link = annotation(cells, name=table_key)
    rows = link.rows(cells, labels_key)
    rows = rows[classes.codes[rows] >= 0]
    instances = cells.obs[link.instance_key].iloc[rows]
    ids = whole_ids(instances, what=f"obs[{link.instance_key!r}] of table {table_key!r}")
    order = np.argsort(ids, kind="stable")
    repeated = ids[order][np.flatnonzero(np.diff(ids[order]) == 0)]
    if repeated.size:
        msg = (
            f"Several rows of table {table_key!r} name the same label of {labels_key!r}: {listed(repeated)}. Each row "
            f"must be one cell: keep the first of each with table[~table.obs[{link.instance_key!r}].duplicated()]."
        )
        raise ValueError(msg)
    positive = order[ids[order] > 0]  # 0 is background, whatever the table says of it
    return Lookup(ids[positive], (classes.codes[rows][positive] + 1).astype(np.uint16))


def _boxes(
    sdata: SpatialData, table: AnnData, shapes_key: str, labels: Any, *, names: tuple[str, str], table_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the table that are boxes, and their edges in pixels of the labels.

    Edges are top, left, bottom and right.
    """
    shapes = sdata.shapes[shapes_key]
    link = annotation(table, name=table_name)
    rows = link.rows(table, shapes_key)
    positions = np.array([-1])
    if shapes.index.is_unique:
        positions = shapes.index.get_indexer(table.obs[link.instance_key].to_numpy()[rows])
    if rows.size == 0 or (positions < 0).any():
        msg = (
            f"Rows of table {table_name!r} and shapes {shapes_key!r} do not match by obs[{link.instance_key!r}]. "
            "Make both with pp.tile(sdata, size=..., overwrite=True), or number the rows by the index of the shapes."
        )
        raise ValueError(msg)

    # a box fills its bounds; NaN of broken geometries must not pass, hence the negation
    geometry = shapes.geometry.iloc[positions]
    bounds = geometry.bounds.to_numpy()  # minx, miny, maxx, maxy
    area = (bounds[:, 2] - bounds[:, 0]) * (bounds[:, 3] - bounds[:, 1])
    odd = ~(np.abs(geometry.area.to_numpy() - area) <= 1e-6 * area) | ~(area > 0)
    if odd.any():
        kinds = listed(sorted(set(geometry.geom_type)))
        msg = (
            f"{int(odd.sum()):,} of {len(odd):,} shapes of {shapes_key!r} ({kinds}) are no axis-aligned boxes. Make "
            "boxes with pp.tile(sdata, size=...)."
        )
        raise ValueError(msg)

    affine = between(shapes, labels, names=names)
    top, left = affine.apply(bounds[:, 1], bounds[:, 0])
    bottom, right = affine.apply(bounds[:, 3], bounds[:, 2])
    # the pixels whose centres lie in the box; rounding errors of transformations decide nothing
    edges = np.ceil(np.column_stack([top, left, bottom, right]) - 0.5 - 1e-6).astype(np.int64)
    if small := int((edges[:, :2] >= edges[:, 2:]).any(axis=1).sum()):
        msg = (
            f"{small:,} boxes of {shapes_key!r} hold no pixel of labels {names[1]!r}: they are smaller than one. Make "
            "larger boxes with pp.tile."
        )
        raise ValueError(msg)
    return rows, edges


def _write(
    table: AnnData, rows: np.ndarray, pixels: np.ndarray, classes: ClassColumn, key: str, params: dict[str, Any]
) -> None:
    """Turn counts into labels, ratios and compositions, and write them."""
    of_class = pixels[:, 1:]
    labelled = of_class.sum(axis=1)
    total = np.maximum(pixels.sum(axis=1), 1)
    names = list(classes.classes)
    votes = of_class
    if params["background"] == "vote":
        votes = np.column_stack([of_class, pixels[:, 0]])
        names = [*names, _BACKGROUND]
    winner = votes.argmax(axis=1)
    most = votes.max(axis=1)

    def column(values: np.ndarray, width: tuple[int, ...] = ()) -> np.ndarray:
        full = np.full((table.n_obs, *width), np.nan, np.float32)
        full[rows] = values
        return full

    # the default's further slots have no prefix
    prefix = "" if key == "majority" else f"{key}_"
    codes = np.full(table.n_obs, -1, np.int64)
    codes[rows] = np.where(most > 0, winner, -1)
    composition = np.where(labelled[:, None] > 0, of_class / np.maximum(labelled, 1)[:, None], np.nan)
    table.obs[key] = pd.Categorical.from_codes(codes, categories=names)
    table.obs[f"{key}_ratio"] = column(np.where(most > 0, most / total, np.nan))
    table.obs[f"{prefix}background_ratio"] = column(pixels[:, 0] / total)
    table.obsm[f"{prefix}composition"] = pd.DataFrame(
        column(composition, (of_class.shape[1],)), index=table.obs_names, columns=storable(classes.classes)
    )
    n_boxes = np.bincount(codes[codes >= 0], minlength=len(names))
    counts = pd.DataFrame({"class": names, "n_boxes": n_boxes, "n_pixels": votes.sum(axis=0)})
    results.store(table, key, kind="majority_labels", params=params, tables={"classes": counts})
