"""From what the user has to what the call needs: the table, its regions, the only image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import known, listed
from kronos_sc._core.keys import UNS_SPATIALDATA
from kronos_sc._core.pairing import fitting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData


_LINK_AGAIN = (
    "Link the table again with spatialdata.models.TableModel.parse(adata, region=..., region_key=..., "
    "instance_key=..., overwrite_metadata=True)."
)

CLASS = "class"
"""Column of `obs` that names the classes of labels."""


@dataclass(frozen=True)
class Annotation:
    """Which elements a table annotates.

    Parameters
    ----------
    regions
        Names of the annotated elements, in the table's order.
    region_key
        Column of `obs` that holds the element of each row.
    instance_key
        Column of `obs` that holds the label or shape index of each row.
    """

    regions: tuple[str, ...]
    region_key: str
    instance_key: str

    def rows(self, table: AnnData, region: str) -> np.ndarray:
        """Return the row numbers (int64) of one region."""
        return np.flatnonzero(table.obs[self.region_key].astype(str).to_numpy() == region)


def only(elements: Mapping[str, Any], name: str | None, *, what: str, argument: str, fix: str) -> str:
    """Return `name` if it exists, or the only element when no name was given."""
    if name is not None:
        return known(name, elements, what=what, fix=fix)
    if not elements:
        msg = f"There is no {what} in this SpatialData. {fix}"
        raise ValueError(msg)
    if len(elements) > 1:
        msg = (
            f"There are {len(elements)} elements of the kind {what!r} ({listed(elements)}) and none was named. Choose "
            f"one with {argument}=."
        )
        raise ValueError(msg)
    return next(iter(elements))


def tissue_images(sdata: Any) -> Mapping[str, Any]:
    """Return the images without the maps that tl.predict_map drew, which are meant only where they are named."""
    return {name: image for name, image in sdata.images.items() if not _is_map(sdata, name)}


def _is_map(sdata: Any, name: str) -> bool:
    """Whether an image holds class probabilities: the table beside it says so, or the class map of its name."""
    if f"{name}_class" in sdata.labels:
        return True
    table = sdata.tables.get(f"{name}_table")
    if table is None:
        return False
    entry = table.uns.get(name)
    return isinstance(entry, Mapping) and str(entry.get("kind")) == "predict_map"


def _names_classes(table: AnnData) -> bool:
    """Whether the rows of a table are classes of a labels element rather than units.

    They have a label and a class each, and nothing measured.
    """
    attrs = table.uns.get(UNS_SPATIALDATA) or {}
    measured = table.n_vars > 0 or len(table.obsm) > 0
    return str(attrs.get("instance_key")) == "label" and CLASS in table.obs and not measured


def classes_of_labels(sdata: Any, labels: str) -> tuple[AnnData | None, dict[int, str]]:
    """Return the table that says which value of a labels element is which class, and what it says.

    None and nothing without one.
    """
    import pandas as pd

    from kronos_sc._core.missing import class_column

    for key, table in sdata.tables.items():
        if not table.uns.get(UNS_SPATIALDATA) or CLASS not in table.obs:
            continue
        what = annotation(table, name=key)
        rows = what.rows(table, labels)
        if len(rows):
            codes = pd.to_numeric(table.obs[what.instance_key].iloc[rows])
            classes = class_column(table.obs[CLASS], place=f"sdata.tables[{key!r}].obs[{CLASS!r}]").iloc[rows]
            has_class = classes.notna().to_numpy()
            names = classes[has_class].astype(str)
            return table, dict(zip((int(code) for code in codes[has_class]), names, strict=True))
    return None, {}


def unit_tables(sdata: Any) -> Mapping[str, Any]:
    """Return the tables without those that name classes of maps and regions, meant only where they are named."""
    return {name: table for name, table in sdata.tables.items() if not _names_classes(table)}


def unit_labels(sdata: Any) -> Mapping[str, Any]:
    """Return the labels without those of maps and regions, whose values are classes."""
    legends = [table for table in sdata.tables.values() if _names_classes(table)]
    classes = {region for table in legends for region in np.atleast_1d(table.uns[UNS_SPATIALDATA]["region"]).tolist()}
    return {name: labels for name, labels in sdata.labels.items() if name not in classes}


def images_fitting(sdata: Any, element: str, named: Iterable[str] = ()) -> list[str]:
    """Return the images that an element belongs to by its name (`cells_3`: `image_3`).

    Asked are all images of tissue, and those that a call names (`named`) whatever they hold.
    """
    return fitting(element, dict.fromkeys([*tissue_images(sdata), *named]))


def image_of(sdata: Any, region: str | None, image_key: str | Mapping[str, str] | None = None) -> str:
    """Return the image of a region: as told, the only one, or the one whose name has its number (cells_3, image_3)."""
    if isinstance(image_key, Mapping):
        if region is None or region not in image_key:
            msg = (
                f"image_key names no image for region {region!r}; it has {listed(image_key)}. Add {region!r}: one of "
                f"{listed(sdata.images)}."
            )
            raise KeyError(msg)
        return image_key[region]
    images = sdata.images if image_key is not None else tissue_images(sdata)
    if image_key is None and region is not None and len(images) > 1:
        matches = images_fitting(sdata, region)
        if len(matches) == 1:
            return matches[0]
    return only(images, image_key, what="image", argument="image_key", fix="Read one with io.read_tiff(path).")


def table_key(sdata: Any, name: str | None) -> str:
    """Return the key of the table to work on."""
    fix = "Make one with pp.label_table(sdata, labels_key=...) for cells or pp.tile(sdata, size=...) for patches."
    tables = sdata.tables if name is not None else unit_tables(sdata)
    return only(tables, name, what="table", argument="table_key", fix=fix)


def annotation(table: AnnData, *, name: str) -> Annotation:
    """Return what a table annotates, read from its SpatialData attributes."""
    attrs = table.uns.get(UNS_SPATIALDATA)
    if not attrs:
        msg = (
            f"Table {name!r} has no region metadata, so its rows belong to no element (uns has: {listed(table.uns)}). "
            "Link it with spatialdata.models.TableModel.parse(adata, region=..., region_key=..., instance_key=...)."
        )
        raise ValueError(msg)
    region_key = str(attrs["region_key"])
    instance_key = str(attrs["instance_key"])
    for column in (region_key, instance_key):
        known(column, list(table.obs.columns), what=f"column in obs of table {name!r}", fix=_LINK_AGAIN)
    region = attrs["region"]
    regions = (region,) if isinstance(region, str) else tuple(str(r) for r in region)
    return Annotation(regions, region_key, instance_key)


def linked_to(name: str, what: Annotation, old: str, new: str) -> str:
    """Return the lines that link the rows of one region of a table to another element."""
    column = f"sdata[{name!r}].obs[{what.region_key!r}]"
    regions = [new if region == old else region for region in what.regions]
    linked = regions[0] if len(regions) == 1 else regions
    return (
        f"{column} = {column}.astype(str).replace({old!r}, {new!r}); "
        f"sdata.set_table_annotates_spatialelement({name!r}, region={linked!r})"
    )


def region_column(table: AnnData) -> str | None:
    """Return the column of `obs` that says which element each row annotates; None for a table that annotates none."""
    name = str((table.uns.get(UNS_SPATIALDATA) or {}).get("region_key", ""))
    return name if name in table.obs else None


def as_table(data: Any, name: str | None) -> AnnData:
    """Return the AnnData itself, or the named (or only) table of a SpatialData."""
    if hasattr(data, "obs") and hasattr(data, "obsm"):
        return data
    if hasattr(data, "tables"):
        return data.tables[table_key(data, name)]
    msg = (
        f"Expected AnnData or SpatialData, got {type(data).__name__}. Read images with io.read_tiff or "
        "spatialdata.read_zarr."
    )
    raise TypeError(msg)


def require_spatialdata(sdata: Any) -> None:
    """Raise a TypeError unless `sdata` is a SpatialData."""
    if not (hasattr(sdata, "images") and hasattr(sdata, "tables")):
        msg = (
            f"Expected a SpatialData, got {type(sdata).__name__}; pixels are needed. "
            "Read images with io.read_tiff(...) or spatialdata.read_zarr(...), or simulate them with datasets.tissue()."
        )
        raise TypeError(msg)


def require_free(sdata: Any, names: Mapping[str, str], *, overwrite: bool | None = None) -> None:
    """Raise a ValueError if a name to be added (name → kind of element) is taken.

    `overwrite` allows the same name of the same kind; None for calls that cannot replace anything.
    """
    # SpatialData tells names apart without case, across all kinds
    by_lower_case = {name.lower(): name for name in names}
    for kind in ("images", "labels", "points", "shapes", "tables"):
        for other in getattr(sdata, kind):
            name = by_lower_case.get(other.lower())
            if name is None:
                continue
            same_element = other == name and names[name] == kind
            if not (overwrite and same_element):
                hint = ", or pass overwrite=True to replace it" if same_element and overwrite is not None else ""
                msg = f"The name {other!r} is taken ({kind}). Choose another with key_added={hint}."
                raise ValueError(msg)
