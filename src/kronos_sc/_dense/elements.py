"""A map as elements of a SpatialData: made first, all of them, then put in their places."""

# Shapes: k classes, r × c tokens of the map.
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core import results
from kronos_sc._core.colours import EIGHT, class_colours
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
        kinds = {self.name: "images", self.labels: "labels", self.table: "tables"} | (
            {self.shapes: "shapes"} if polygons else {}
        )
        require_free(sdata, kinds, overwrite=overwrite)

    def old_shapes(self, sdata: SpatialData) -> bool:
        """Whether there are outlines that an earlier map of this name drew."""
        table = sdata.tables.get(self.table)
        entry = None if table is None else table.uns.get(self.name)
        if not isinstance(entry, Mapping) or str(entry.get("kind")) != "predict_map" or self.shapes not in sdata.shapes:
            return False
        return bool(entry["params"].get("polygons", False))


def placed(image: Raster, tiling: Tiling) -> dict[str, Any]:
    """Return the transformations of a map: to pixels of the image, then where the image goes."""
    from spatialdata.transformations import Scale, Sequence, Translation, get_transformation

    step, corner, axes = tiling.grid.step, tiling.corner, ("y", "x")
    onto = [Scale([step, step], axes=axes), Translation([corner, corner], axes=axes)]
    return {
        system: Sequence([*onto, there]) for system, there in get_transformation(image.element, get_all=True).items()
    }


def elements(
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

    where = placed(image, tiling)
    lazy = da.from_array(proba_krc, chunks=(1, _CHUNK, _CHUNK))
    codes_rc = codes_rc.astype(np.uint8 if len(classes) < 256 else np.int32)
    made = {
        "images": {
            keys.name: Image2DModel.parse(lazy, dims=("c", "y", "x"), c_coords=list(classes), transformations=where)
        },
        "labels": {
            keys.labels: Labels2DModel.parse(
                da.from_array(codes_rc, chunks=_CHUNK), dims=("y", "x"), transformations=where
            )
        },
        "tables": {keys.table: _table(keys, codes_rc, tiling, classes, params)},
    }
    if polygons:
        made["shapes"] = {keys.shapes: _outlines(codes_rc, image, tiling, classes)}
    return made


def put(sdata: SpatialData, keys: MapKeys, made: Mapping[str, Mapping[str, Any]]) -> None:
    """Add all elements; outlines of an earlier map go with it."""
    if "shapes" not in made and keys.old_shapes(sdata):
        del sdata.shapes[keys.shapes]
        disk = (
            f"; those on disk go with sdata.delete_element_from_disk({keys.shapes!r})" if sdata.path is not None else ""
        )
        info(f"removed shapes[{keys.shapes!r}] of the map that is replaced{disk}")
    for kind, named in made.items():
        for name, element in named.items():
            getattr(sdata, kind)[name] = element


def _table(
    keys: MapKeys, codes_rc: np.ndarray, tiling: Tiling, classes: Sequence[str], params: Mapping[str, Any]
) -> AnnData:
    """Return one row per class, those that the map lacks included."""
    from anndata import AnnData
    from spatialdata.models import TableModel

    tokens = np.bincount(codes_rc.ravel(), minlength=len(classes) + 1)[1:]
    area = _covered(codes_rc, tiling, len(classes))
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
    counted = pd.DataFrame(
        {
            "class": list(classes),
            "label": obs["label"].to_numpy(),
            "tokens": tokens,
            "area": area,
            "share": obs["share"].to_numpy(),
        }
    )
    results.store(table, keys.name, kind="predict_map", params=params, tables={"classes": counted})
    colours = dict(zip(classes, class_colours(len(classes)), strict=True)) | (
        {_ARTIFACT: EIGHT[3]} if _ARTIFACT in classes[:3] else {}
    )
    table.uns["class_colors"] = np.array(list(colours.values()), object)
    return table


def _covered(codes_rc: np.ndarray, tiling: Tiling, n_classes: int) -> np.ndarray:
    """Return the pixels of the image under each class (int64).

    Tokens of the border count with the part that lies on it.
    """
    sides = []
    for axis, edge in enumerate(tiling.shape):
        low = tiling.corner + np.arange(codes_rc.shape[axis]) * tiling.grid.step
        sides.append(np.minimum(low + tiling.grid.step, edge) - np.maximum(low, 0))
    weights = np.outer(*sides)
    return np.rint(np.bincount(codes_rc.ravel(), weights=weights.ravel(), minlength=n_classes + 1)[1:]).astype(np.int64)


def _outlines(codes_rc: np.ndarray, image: Raster, tiling: Tiling, classes: Sequence[str]) -> Any:
    """Return one shape per connected region in pixels of the image, with its class.

    The last tokens end where the image ends.
    """
    import geopandas
    import shapely
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import get_transformation

    from kronos_sc._core.outlines import outlines

    found = outlines(codes_rc)
    geometry = shapely.transform(
        np.array([shape for _, shape in found], object), lambda xy: xy * tiling.grid.step + tiling.corner
    )
    geometry = shapely.intersection(geometry, shapely.box(0, 0, *tiling.shape[::-1]))
    names = pd.Categorical([classes[code - 1] for code, _ in found], categories=list(classes))
    frame = geopandas.GeoDataFrame({"class": names}, geometry=geometry)
    return ShapesModel.parse(frame, transformations=dict(get_transformation(image.element, get_all=True)))
