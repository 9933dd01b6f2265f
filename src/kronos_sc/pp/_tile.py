"""A grid of boxes over an image, with a table that annotates it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core.checks import known, positive_integer
from kronos_sc._core.log import info
from kronos_sc._core.resolve import require_free, require_spatialdata
from kronos_sc.patches import Raster, exclusion, grid, raster
from kronos_sc.patches._exclude import excluded_codes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from geopandas import GeoDataFrame
    from spatialdata import SpatialData

_COARSE = 8  # tissue is found on the image shrunk by this factor


def tile(
    sdata: SpatialData,
    *,
    size: int = 256,
    overlap: float = 0.0,
    stride: int | None = None,
    image_key: str | None = None,
    tissue_channel: str | None = None,
    min_tissue: float = 0.25,
    exclude: str | Sequence[str] | Mapping[str, Any] | None = None,
    max_excluded: float = 0.5,
    key_added: str = "patches",
    overwrite: bool = False,
) -> None:
    """Cover an image with a grid of square boxes, ready for `tl.embed(sdata, shapes_key="patches")`.

    Origins are range(0, edge − size + 1, stride) on each axis; the remainder at the right and bottom is dropped, as in
    the paper's tutorials.

    Parameters
    ----------
    sdata
        Holds the image; boxes and table are added to it.
    size
        Edge of a box in pixels: 32 for segmentation-free phenotyping, 64 for tissue, 256 for cases (paper, Online
        Methods).
    overlap
        Share of a box that its neighbour repeats, 0 to below 1; 0.5 moves by half a box.
    stride
        Pixels from one box to the next; instead of `overlap`.
    image_key
        Which image; the only one if left out.
    tissue_channel
        Keep only boxes on tissue, found by Otsu's threshold on this channel (the nuclear stain, say). All boxes if left
        out.
    min_tissue
        Share of a box that must be tissue.
    exclude
        Labels that mark pixels not to be used, as :func:`kronos_sc.tl.artifact_map` writes them: an element of which
        every pixel above 0 counts, several, or a mapping from element to names or codes of classes,
        `{"artifact_map_class": ["artifact"]}`.
    max_excluded
        Boxes with a larger share of such pixels are left out: at 0 every box with one, at 1 none.
    key_added
        Name of the shapes; the table's is `{key_added}_table` (a SpatialData has each name once).
    overwrite
        Replace elements of that name.

    Returns
    -------
    `None`. Sets:

    `shapes['patches' | key_added]`
        Boxes, with the transformations of the image.
    `tables['patches_table' | key_added + '_table']`
        Annotates them. `obs` has `region`, `patch_id`, `row` and `column` (grid position) and, with `tissue_channel`,
        `tissue` (share of tissue), with `exclude`, `excluded` (share of excluded pixels); `obsm['spatial']` holds the
        centres (x, y) in pixels of the image.

    Raises
    ------
    ValueError
        The image is smaller than a box, an element of that name exists, or no box holds enough tissue or few enough
        excluded pixels.
    KeyError
        Channel, labels or classes to exclude do not exist.
    """
    require_spatialdata(sdata)
    image = raster(sdata, image_key)
    size = positive_integer(size, name="size")
    step = _stride(size, overlap, stride)
    require_free(sdata, {key_added: "shapes", _table_name(key_added): "tables"}, overwrite=overwrite)
    excluded_codes(sdata, exclude)
    if not 0 <= max_excluded <= 1:
        msg = f"max_excluded must lie between 0 and 1 (a share of the box), got {max_excluded!r}. The default is 0.5."
        raise ValueError(msg)
    origins = grid(image.shape, size, step)
    if len(origins) == 0:
        msg = (
            f"Image {image.name!r} ({image.shape[0]} × {image.shape[1]} pixels) is smaller than one box of {size} "
            "pixels. Choose a smaller size."
        )
        raise ValueError(msg)

    # boxes are dropped first for want of tissue, then for excluded pixels
    shares: dict[str, np.ndarray] = {}
    if tissue_channel is not None:
        known(tissue_channel, image.channels, what="channel", fix="Name the channel as the image spells it.")
        share = _tissue_share(image, tissue_channel, origins, size)
        keep = share >= min_tissue
        if not keep.any():
            msg = (
                f"No box has {min_tissue:.0%} tissue (the best has {share.max():.0%}). Lower min_tissue or choose "
                "another tissue_channel."
            )
            raise ValueError(msg)
        origins = origins[keep]
        shares["tissue"] = share[keep]
    if exclude is not None:
        keep, share = _few_excluded(sdata, exclude, image, origins, size, most=max_excluded)
        origins = origins[keep]
        shares = {name: values[keep] for name, values in shares.items()}
        shares["excluded"] = share[keep]

    # both exist before the first is added
    shapes = _boxes(origins, size, image)
    table = _table(origins, size, step, key_added, shares)
    sdata.shapes[key_added] = shapes
    sdata.tables[_table_name(key_added)] = table
    info(f"added {len(table):,} boxes of {size} px to shapes[{key_added!r}] and tables[{_table_name(key_added)!r}]")


def _table_name(name: str) -> str:
    return f"{name}_table"


def _stride(size: int, overlap: float, stride: int | None) -> int:
    """Return pixels from one box to the next."""
    if stride is not None:
        return positive_integer(stride, name="stride")
    if not 0 <= overlap < 1:
        msg = (
            f"overlap must be at least 0 and below 1 (a share of the box), got {overlap!r}. For a step in pixels use "
            "stride=."
        )
        raise ValueError(msg)
    return max(1, round(size * (1 - overlap)))


def _boxes(origins: np.ndarray, size: int, image: Raster) -> GeoDataFrame:
    """Return the boxes as shapes, with the transformations of the image."""
    import geopandas
    import shapely
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import get_transformation

    y, x = origins[:, 0], origins[:, 1]
    frame = geopandas.GeoDataFrame(geometry=shapely.box(x, y, x + size, y + size))
    return ShapesModel.parse(frame, transformations=dict(get_transformation(image.element, get_all=True)))


def _table(origins: np.ndarray, size: int, step: int, region: str, shares: dict[str, np.ndarray]) -> AnnData:
    """Return the table that annotates the boxes."""
    from anndata import AnnData
    from spatialdata.models import TableModel

    number = np.arange(len(origins))
    obs = pd.DataFrame(
        {
            "region": pd.Categorical([region] * len(number)),
            "patch_id": number,
            "row": origins[:, 0] // step,
            "column": origins[:, 1] // step,
        },
        index=[f"{region}_{i}" for i in number],
    )
    for name, share in shares.items():
        obs[name] = share.astype(np.float32)
    table = AnnData(obs=obs, obsm={"spatial": origins[:, ::-1] + size / 2})
    return TableModel.parse(table, region=region, region_key="region", instance_key="patch_id")


def _few_excluded(
    sdata: SpatialData, exclude: Any, image: Raster, origins: np.ndarray, size: int, *, most: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return which boxes have few enough excluded pixels, and the share of them in each."""
    excluded = exclusion(sdata, exclude, image)
    share = np.zeros(len(origins))
    if excluded is not None:
        share = excluded.share(np.hstack([origins, origins + size]))
    keep = share <= most
    if not keep.any():
        msg = (
            f"Every box has more than {most:.0%} excluded pixels (the best has {share.min():.0%}). Raise max_excluded, "
            "choose smaller boxes, or exclude fewer classes."
        )
        raise ValueError(msg)
    info(f"{int((~keep).sum()):,} of {len(keep):,} boxes have more than {most:.0%} excluded pixels and are left out")
    return keep, share


def _tissue_share(image: Raster, channel: str, origins: np.ndarray, size: int) -> np.ndarray:
    """Return the share of tissue in each box (float64), from the image shrunk by `_COARSE`."""
    import dask.array as da
    from skimage.filters import gaussian, threshold_otsu

    plane = image.data[image.channels.index(channel)]
    factor = min(_COARSE, *plane.shape)
    coarsened = da.coarsen(np.mean, plane, {0: factor, 1: factor}, trim_excess=True)
    coarse = np.asarray(coarsened.compute(scheduler="threads"), np.float64)
    smooth = gaussian(np.log1p(coarse), sigma=2)
    tissue = np.zeros(smooth.shape, bool)
    if np.ptp(smooth) > 0:  # a plane of one value has no threshold
        tissue = smooth > threshold_otsu(smooth)

    # summed-area table: the share of any box in four look-ups
    total = np.pad(tissue.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    low = origins // factor
    high = np.minimum(np.maximum(-(-(origins + size) // factor), low + 1), tissue.shape)
    low = np.minimum(low, high - 1)
    area = np.prod(high - low, axis=1)
    return (
        total[high[:, 0], high[:, 1]]
        - total[low[:, 0], high[:, 1]]
        - total[high[:, 0], low[:, 1]]
        + total[low[:, 0], low[:, 1]]
    ) / area
