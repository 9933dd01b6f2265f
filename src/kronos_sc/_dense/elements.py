"""A map as elements of a SpatialData: built first, all of them, then added to it."""

# Shapes: k classes, r × c tokens of the map.
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core import results
from kronos_sc._core.colors import EIGHT, class_colors
from kronos_sc._core.log import info
from kronos_sc._core.resolve import require_free

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from spatialdata import SpatialData

    from kronos_sc._dense.windows import Tiling
    from kronos_sc.patches import Raster

_CHUNK = 512
_ARTIFACT = "artifact"  # drawn in vermilion: blue is lost on a nuclear stain


@dataclass(frozen=True)
class MapKeys:
    """Names of a map's elements.

    Parameters
    ----------
    name
        `key_added` of the call; every name is derived from it.
    """

    name: str

    @property
    def labels(self) -> str:
        """Class map."""
        return f"{self.name}_class"

    @property
    def table(self) -> str:
        """Annotates the class map."""
        return f"{self.name}_table"

    @property
    def shapes(self) -> str:
        """Outlines."""
        return f"{self.name}_regions"

    def require_free(self, sdata: SpatialData, *, polygons: bool, overwrite: bool) -> None:
        """Raise a ValueError if a name is taken."""
        kinds = {self.name: "images", self.labels: "labels", self.table: "tables"}
        if polygons:
            kinds[self.shapes] = "shapes"
        require_free(sdata, kinds, overwrite=overwrite)

    def has_old_shapes(self, sdata: SpatialData) -> bool:
        """Whether there are outlines that an earlier map of this name drew."""
        table = sdata.tables.get(self.table)
        if table is None:
            return False
        entry = table.uns.get(self.name)
        if not isinstance(entry, Mapping) or str(entry.get("kind")) != "predict_map" or self.shapes not in sdata.shapes:
            return False
        return bool(entry["params"].get("polygons", False))


def map_transformations(image: Raster, tiling: Tiling) -> dict[str, Any]:
    """Return the transformations of a map: to pixels of the image, then where the image goes."""
    from spatialdata.transformations import Scale, Sequence, Translation, get_transformation

    axes = ("y", "x")
    step = tiling.grid.step
    to_image = [Scale([step, step], axes=axes), Translation([tiling.corner, tiling.corner], axes=axes)]
    of_image = get_transformation(image.element, get_all=True)
    return {system: Sequence([*to_image, transformation]) for system, transformation in of_image.items()}


def build_elements(
    keys: MapKeys,
    image: Raster,
    tiling: Tiling,
    proba_krc: np.ndarray,
    codes_rc: np.ndarray,
    *,
    classes: Sequence[str],
    params: Mapping[str, Any],
    polygons: bool,
) -> dict[str, dict[str, Any]]:
    """Return the elements by kind and name; codes are 0 for none, i + 1 for the i-th class."""
    import dask.array as da
    from spatialdata.models import Image2DModel, Labels2DModel

    transformations = map_transformations(image, tiling)
    codes_rc = codes_rc.astype(np.uint8 if len(classes) < 256 else np.int32)
    proba = da.from_array(proba_krc, chunks=(1, _CHUNK, _CHUNK))
    codes = da.from_array(codes_rc, chunks=_CHUNK)
    probabilities = Image2DModel.parse(
        proba, dims=("c", "y", "x"), c_coords=list(classes), transformations=transformations
    )
    class_map = Labels2DModel.parse(codes, dims=("y", "x"), transformations=transformations)

    by_kind = {
        "images": {keys.name: probabilities},
        "labels": {keys.labels: class_map},
        "tables": {keys.table: _table(keys, codes_rc, tiling, classes, params)},
    }
    if polygons:
        by_kind["shapes"] = {keys.shapes: _outlines(codes_rc, image, tiling, classes)}
    return by_kind


def add_elements(sdata: SpatialData, keys: MapKeys, by_kind: Mapping[str, Mapping[str, Any]]) -> None:
    """Add all elements; outlines of an earlier map go with it."""
    if "shapes" not in by_kind and keys.has_old_shapes(sdata):
        del sdata.shapes[keys.shapes]
        on_disk = ""
        if sdata.path is not None:
            on_disk = f"; those on disk go with sdata.delete_element_from_disk({keys.shapes!r})"
        info(f"removed shapes[{keys.shapes!r}] of the map that is replaced{on_disk}")
    for kind, named in by_kind.items():
        for name, element in named.items():
            getattr(sdata, kind)[name] = element


def _table(
    keys: MapKeys, codes_rc: np.ndarray, tiling: Tiling, classes: Sequence[str], params: Mapping[str, Any]
) -> AnnData:
    """Return one row per class, those that the map lacks included."""
    from anndata import AnnData
    from spatialdata.models import TableModel

    tokens = np.bincount(codes_rc.ravel(), minlength=len(classes) + 1)[1:]
    area = _class_areas(codes_rc, tiling, len(classes))

    # what SpatialData needs to join the rows to the labels, and sizes for people
    obs = pd.DataFrame(
        {
            "region": pd.Categorical([keys.labels] * len(classes)),
            "label": np.arange(1, len(classes) + 1),
            "class": pd.Categorical(list(classes), categories=list(classes)),
            "area": area,
            "share": area / max(int(np.prod(tiling.shape)), 1),
        },
        index=[f"{keys.labels}_{i + 1}" for i in range(len(classes))],
    )
    table = TableModel.parse(AnnData(obs=obs), region=keys.labels, region_key="region", instance_key="label")

    # the same numbers once more as a result, which get.result reads
    class_sizes = pd.DataFrame(
        {
            "class": list(classes),
            "label": obs["label"].to_numpy(),
            "tokens": tokens,
            "area": area,
            "share": obs["share"].to_numpy(),
        }
    )
    results.store(table, keys.name, kind="predict_map", params=params, tables={"classes": class_sizes})

    colors = dict(zip(classes, class_colors(len(classes)), strict=True))
    if _ARTIFACT in classes[:3]:
        colors[_ARTIFACT] = EIGHT[3]
    table.uns["class_colors"] = np.array(list(colors.values()), object)
    return table


def _class_areas(codes_rc: np.ndarray, tiling: Tiling, n_classes: int) -> np.ndarray:
    """Return the pixels of the image under each class (int64).

    Tokens of the border count with the part that lies on it.
    """
    # pixels of the image under each row and each column of tokens
    sides = []
    for axis, edge in enumerate(tiling.shape):
        low = tiling.corner + np.arange(codes_rc.shape[axis]) * tiling.grid.step
        sides.append(np.minimum(low + tiling.grid.step, edge) - np.maximum(low, 0))
    weights = np.outer(*sides)
    areas = np.bincount(codes_rc.ravel(), weights=weights.ravel(), minlength=n_classes + 1)[1:]
    return np.rint(areas).astype(np.int64)


def _outlines(codes_rc: np.ndarray, image: Raster, tiling: Tiling, classes: Sequence[str]) -> Any:
    """Return one shape per connected region in pixels of the image, with its class.

    The last tokens end where the image ends.
    """
    import geopandas
    import shapely
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import get_transformation

    from kronos_sc._core.outlines import outlines

    coded_shapes = outlines(codes_rc)
    shapes = np.array([shape for _, shape in coded_shapes], object)
    geometry = shapely.transform(shapes, lambda xy: xy * tiling.grid.step + tiling.corner)
    geometry = shapely.intersection(geometry, shapely.box(0, 0, *tiling.shape[::-1]))
    names = pd.Categorical([classes[code - 1] for code, _ in coded_shapes], categories=list(classes))
    frame = geopandas.GeoDataFrame({"class": names}, geometry=geometry)
    return ShapesModel.parse(frame, transformations=dict(get_transformation(image.element, get_all=True)))
