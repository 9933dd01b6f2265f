"""Units that hold a motif: cells of certain types, close together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._core.checks import known, listed, positive_integer, positive_number
from kronos_sc._core.pairing import contradict, fitting
from kronos_sc._core.resolve import region_column
from kronos_sc._core.target import ClassColumn, classes_of, column, require_anndata
from kronos_sc._core.target import target as as_target
from kronos_sc._core.warn import warn
from kronos_sc._methods.motif import motifs_around, motifs_inside

if TYPE_CHECKING:
    from anndata import AnnData


def motif_query(
    adata: AnnData,
    types: Sequence[str] | Mapping[str, int],
    *,
    target: str,
    radius: float,
    mpp: float | None = None,
    patches: AnnData | None = None,
    patch_size: float | None = None,
    library_key: str | None = None,
    spatial_key: str = "spatial",
    key_added: str = "motif",
    copy: bool = False,
) -> AnnData | None:
    """Mark the units where cells of all given types stand together :cite:p:`Shaban2025`.

    The query of a hypothesis-driven search. In the paper, patches with a tumour cell, a regulatory T cell and a PD-1⁺
    CD4⁺ T cell; ``tl.retrieve(patches, query="motif")`` then finds patches that look like them. A motif stands around a
    cell of one of the types if cells of every type, itself included, lie within `radius` of it. A larger radius finds
    more, and looser ones.

    Parameters
    ----------
    adata
        Cells, with types and positions.
    types
        Values of `obs[target]` that a motif is made of; a mapping gives the number of cells of each, as in ``{"Treg":
        1, "CD8 T cell": 3}``.
    target
        Column of `obs` with the cell types.
    radius
        Largest distance from the cell in the middle: in the units of `obsm["spatial"]`, pixels, or in µm if `mpp` is
        given.
    mpp
        Micrometres per pixel. It only says that `radius` is in µm.
    patches
        Table of square boxes (:func:`kronos_sc.pp.tile`), which is marked instead of the cells: a box holds a motif if
        all of its cells have their centres in the box.
    patch_size
        Edge of the boxes in pixels; needed with `patches`.
    library_key
        Column of `obs` that names the image of each unit (in both tables); cells of different images are never close.
        If left out, the elements of a SpatialData are told apart, and boxes go with cells whose element has the same
        number (`cells_3`, `patches_3`).
    spatial_key
        Entry of `obsm` with x and y in pixels.
    key_added
        Name of the column and of the result.
    copy
        Return a new AnnData instead of adding to the cells, or to `patches`.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets, in `patches` if given and else in `adata`:

    `obs['motif' | key_added]`
        Whether there is a motif around the cell, or in the box (bool).
    `obs['motif_count' | key_added + '_count']`
        How many motifs can be put together there, no cell used twice (int64); for a box, the largest number around one
        of its cells.
    `uns['motif' | key_added]`
        Table `images`: by image, `n_units`, and `n_found` that hold a motif; `params`.

    Raises
    ------
    KeyError
        A type, column or entry of `obsm` does not exist.
    ValueError
        `radius` is not positive, `patches` comes without `patch_size`, or images of the two tables do not match.

    Warns
    -----
    UserWarning
        No unit holds the motif.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128))["table"]
    >>> ks.tl.motif_query(cells, ["Tumor", "B cell"], target="cell_type", radius=30, mpp=0.5)
    >>> bool(cells.obs["motif"].any())
    True
    """
    require_anndata(adata)
    cell_types = as_target(adata, target, least=1)
    needed = _needed(types, cell_types)
    reach = positive_number(radius, name="radius")
    if mpp is not None:
        reach /= positive_number(mpp, name="mpp")
    marked = adata if patches is None else patches
    run = AnalysisRun(marked, "motif_query", key_added, target, library_key, copy=copy)
    edge = _edge(patches, patch_size)
    xy = _positions(adata, spatial_key)
    centres = _positions(marked, spatial_key)
    images = _images(adata, patches, library_key)
    # cells of types that the motif does not name get -1, as do those without a type
    number = {name: i for i, name in enumerate(needed)}
    codes = np.array([*(number.get(name, -1) for name in cell_types.classes), -1], np.int64)[cell_types.codes]
    counts_needed = np.array(list(needed.values()))

    count = np.zeros(marked.n_obs, np.int64)
    rows = []
    for name, cells, units in images:
        if patches is None:
            count[units] = motifs_around(xy[cells], codes[cells], counts_needed, reach)
        else:
            count[units] = motifs_inside(
                xy[cells], codes[cells], counts_needed, reach, centres=centres[units], edge=edge
            )
        rows.append({"image": name, "n_units": len(units), "n_found": int((count[units] > 0).sum())})
    params = {
        "types": needed,
        "target": target,
        "radius": float(radius),
        "mpp": mpp,
        "library_key": library_key,
        "patch_size": patch_size,
    }
    columns = {key_added: count > 0, f"{key_added}_count": count}
    run.store(params=params, tables={"images": pd.DataFrame(rows)}, obs=columns)
    if not count.any():
        unit = "pixels" if mpp is None else "µm"
        warn(f"No unit holds {_described(needed)} within {radius:g} {unit}. Enlarge radius, or ask for fewer types.")
    share = f"{int((count > 0).sum()):,} of {len(count):,} units"
    return run.finish(f"added obs[{key_added!r}]: {share} hold {_described(needed)}")


def _needed(types: Sequence[str] | Mapping[str, int], cell_types: ClassColumn) -> dict[str, int]:
    """Return the number of cells of each type that a motif takes."""
    if isinstance(types, str):
        types = [types]
    counts = dict(types) if isinstance(types, Mapping) else dict.fromkeys(types, 1)
    if not counts:
        msg = f"types is empty; name cell types of obs[{cell_types.name!r}]: {listed(cell_types.classes)}."
        raise ValueError(msg)
    for name in counts:
        known(
            str(name),
            list(cell_types.classes),
            what=f"type in obs[{cell_types.name!r}]",
            fix="Name another, or another column with target=.",
        )
    return {str(name): positive_integer(count, name=f"types[{name!r}]") for name, count in counts.items()}


def _edge(patches: AnnData | None, patch_size: float | None) -> float:
    if (patches is None) != (patch_size is None):
        if patch_size is None:
            msg = "patches was given alone; add patch_size=, the edge of the boxes in pixels."
        else:
            msg = "patch_size was given alone; add patches=, a table of boxes."
        raise ValueError(msg)
    return 0.0 if patch_size is None else positive_number(patch_size, name="patch_size")


def _positions(table: AnnData, key: str) -> np.ndarray:
    """Return x and y of every unit (float64)."""
    known(key, list(table.obsm), what="entry of obsm", fix="Name that of the coordinates with spatial_key=.")
    xy = np.asarray(table.obsm[key], float)
    if xy.ndim != 2 or xy.shape[1] < 2 or not np.isfinite(xy).all():
        msg = (
            f"obsm[{key!r}] must hold a finite x and y for every unit. Drop the units without, or name another entry "
            "with spatial_key=."
        )
        raise ValueError(msg)
    return xy[:, :2]


def _images(
    adata: AnnData, patches: AnnData | None, library_key: str | None
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return name, rows of cells and rows of units to mark, for each image."""
    cells = _by_image(adata, library_key)
    if patches is None:
        return [(name, rows, rows) for name, rows in cells.items()]
    boxes = _by_image(patches, library_key)
    # one image of cells and one of boxes belong together, unless their names say otherwise
    if library_key is None and len(cells) == len(boxes) == 1 and not contradict(*cells, *boxes):
        return [(name, *cells.values(), rows) for name, rows in boxes.items()]
    matches = [(name, cells.get(_cells_of(name, list(cells), library_key)), rows) for name, rows in boxes.items()]
    if lost := [name for name, rows_of_cells, _ in matches if rows_of_cells is None]:
        msg = (
            f"Boxes of {listed(lost)} belong to no image of the cells ({listed(cells)}). Name a column of obs that "
            "says the image of cells and boxes alike with library_key=."
        )
        raise ValueError(msg)
    return matches


def _by_image(table: AnnData, library_key: str | None) -> dict[str, np.ndarray]:
    """Return the rows of each image: of a column, or of each element that the table annotates."""
    if library_key is None:
        library_key = region_column(table)
    if library_key is None:
        return {"": np.arange(table.n_obs)}
    images = classes_of(column(table, library_key, argument="library_key"), name=library_key)
    return {str(name): np.flatnonzero(images.codes == code) for code, name in enumerate(images.classes)}


def _cells_of(boxes: str, cells: list[str], library_key: str | None) -> str:
    """Return the image of cells that boxes belong to: that of their name, or the one element with their number."""
    fits = fitting(boxes, cells) if library_key is None and boxes not in cells else []
    return fits[0] if len(fits) == 1 else boxes


def _described(needed: Mapping[str, int]) -> str:
    return " + ".join(f"{count} {name}" if count > 1 else name for name, count in needed.items())
