"""Lazy arrays and measured cells → elements of a SpatialData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._core.keys import MICROMETRE
from kronos_sc.io._pixel_size import micrometre_scale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import dask.array as da
    from anndata import AnnData
    from spatialdata.transformations.transformations import BaseTransformation
    from xarray import DataArray, DataTree


def transformations(mpp: tuple[float, float] | None) -> dict[str, BaseTransformation]:
    """Return what relates pixels to "global" (the same) and, where their size (y, x) is known, to micrometres."""
    from spatialdata.transformations import Identity

    to_systems: dict[str, BaseTransformation] = {"global": Identity()}
    if mpp is not None:
        to_systems[MICROMETRE] = micrometre_scale(mpp)
    return to_systems


def image_element(
    levels: Sequence[da.Array], names: list[str], mpp: tuple[float, float] | None
) -> DataArray | DataTree:
    """Return an image of one level, or a multiscale image of several as they are stored.

    Parameters
    ----------
    levels
        (channel, row, column), full resolution first.
    names
        Of the channels.
    mpp
        Edges (y, x) of a full-resolution pixel in µm, if known.
    """
    from spatialdata.models import Image2DModel

    if len(levels) == 1:
        return Image2DModel.parse(levels[0], dims=("c", "y", "x"), c_coords=names, transformations=transformations(mpp))
    return _multiscale(levels, names, mpp)


def _multiscale(levels: Sequence[da.Array], names: list[str], mpp: tuple[float, float] | None) -> DataTree:
    """Return a tree of the stored levels; Image2DModel.parse could only compute new ones from the first."""
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import set_transformation
    from xarray import Dataset, DataTree

    full = levels[0].shape
    scales = {}
    for number, level in enumerate(levels):
        array = Image2DModel.parse(level, dims=("c", "y", "x"), c_coords=names)
        # pixel centres of every level in pixels of the first
        centres = {
            axis: (np.arange(n) + 0.5) * (whole / n)
            for axis, n, whole in zip("yx", level.shape[1:], full[1:], strict=True)
        }
        scales[f"scale{number}"] = Dataset({"image": array.assign_coords(centres)})
    tree = DataTree.from_dict(scales)
    set_transformation(tree, transformations(mpp), set_all=True)
    Image2DModel().validate(tree)
    return tree


def labels_element(labels: da.Array, mpp: tuple[float, float] | None) -> DataArray:
    """Return a labels element."""
    from spatialdata.models import Labels2DModel

    return Labels2DModel.parse(labels, dims=("y", "x"), transformations=transformations(mpp))


def cell_table(cells: Mapping[str, pd.DataFrame]) -> AnnData:
    """Return one table that annotates the labels of one or several elements.

    Parameters
    ----------
    cells
        By labels element: frames of `label`, `y`, `x`, `area`.
    """
    from anndata import AnnData
    from spatialdata.models import TableModel

    all_cells = pd.concat(cells.values(), keys=cells, names=["region", None]).reset_index("region")
    # signed and unsigned 64 bits together would become float64, which rounds
    large = any(frame["label"].dtype == np.uint64 for frame in cells.values())
    dtype = np.uint64 if large else np.int64
    all_cells["label"] = np.concatenate([frame["label"].to_numpy(dtype) for frame in cells.values()])
    names = all_cells["label"].astype(str)
    if len(cells) > 1:  # two elements may have the same labels
        names = all_cells["region"] + "_" + names
    all_cells.index = pd.Index(names, name=None)
    region = pd.Categorical(all_cells["region"], categories=list(cells))
    columns = {"region": region, "cell_id": all_cells["label"], "area": all_cells["area"]}
    obs = pd.DataFrame(columns, index=all_cells.index)
    centroids = all_cells[["x", "y"]].to_numpy(np.float64)
    table = AnnData(X=np.zeros((len(obs), 0), np.float32), obs=obs, obsm={"spatial": centroids})
    return TableModel.parse(table, region=list(cells), region_key="region", instance_key="cell_id")
