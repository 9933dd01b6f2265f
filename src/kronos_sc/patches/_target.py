"""From a user's SpatialData to what is read: the table, its regions, the image of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kronos_sc._core.checks import known, listed
from kronos_sc._core.keys import UNS_SPATIALDATA
from kronos_sc._core.resolve import Annotation, annotation, image_of, table_key
from kronos_sc.patches._raster import Raster, raster

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from spatialdata import SpatialData


@dataclass(frozen=True)
class EmbedTarget:
    """The table to work on, and which of its regions lies on which image.

    Parameters
    ----------
    key
        Name of the table.
    table
        The table.
    annotation
        What it annotates.
    images
        Image of each region, in order.
    """

    key: str
    table: AnnData
    annotation: Annotation
    images: dict[str, Raster]

    def __str__(self) -> str:
        return ", ".join(f"{region!r} on {image.name!r}" for region, image in self.images.items())


def target(
    sdata: SpatialData,
    *,
    image_key: str | Mapping[str, str] | None,
    labels_key: str | None,
    shapes_key: str | None,
    table: str | None,
    scale: str | None,
) -> EmbedTarget:
    """Find the table, its regions and their images."""
    if labels_key is not None and shapes_key is not None:
        msg = (
            f"Both labels_key={labels_key!r} and shapes_key={shapes_key!r} were given; a unit is either a cell or a "
            "box. Give one of them."
        )
        raise ValueError(msg)

    # from the element that was named, if any, to the table that annotates it
    region = _region(sdata, labels_key, shapes_key)
    if not sdata.images:
        raster(sdata)  # raises: there is no image
    name = _table(sdata, table, region)
    adata = sdata.tables[name]
    what = annotation(adata, name=name)
    if adata.n_obs == 0:
        msg = (
            f"Table {name!r} has no rows, so there is nothing to read pixels for. "
            f"Remove it (del sdata.tables[{name!r}]), and make one with pp.label_table(sdata) or pp.tile(sdata)."
        )
        raise ValueError(msg)
    if region is not None and region not in what.regions:
        msg = (
            f"Table {name!r} annotates {listed(what.regions)}, not {region!r}. "
            f"Choose the table with table_key=, or {_new_table(sdata, region)}."
        )
        raise ValueError(msg)

    # without one, all regions that have rows
    regions = [region] if region is not None else [r for r in what.regions if len(what.rows(adata, r))]
    if not regions:
        msg = (
            f"No row of table {name!r} belongs to a region that it annotates ({listed(what.regions)}); "
            f"obs[{what.region_key!r}] holds {listed(adata.obs[what.region_key].unique())}. Say which rows are which "
            f"element's: {_own_rows(sdata, name, adata, what)}."
        )
        raise ValueError(msg)
    images = {r: raster(sdata, image_of(sdata, r, image_key), scale=scale) for r in regions}
    return EmbedTarget(name, adata, what, images)


def _region(sdata: SpatialData, labels_key: str | None, shapes_key: str | None) -> str | None:
    if labels_key is not None:
        return known(labels_key, sdata.labels, what="labels", fix="Name an element of sdata.labels.")
    if shapes_key is not None:
        return known(shapes_key, sdata.shapes, what="shapes", fix="Make a grid of boxes with pp.tile(sdata, size=...).")
    return None


def _new_table(sdata: SpatialData, region: str) -> str:
    """Return how an element gets a table of its own."""
    if region in sdata.labels:
        return f"make one with pp.label_table(sdata, labels_key={region!r}, key_added={region + '_table'!r})"
    return (
        f"link one to the shapes with spatialdata.models.TableModel.parse(adata, region={region!r}, region_key=..., "
        "instance_key=...)"
    )


def _own_rows(sdata: SpatialData, name: str, table: AnnData, what: Annotation) -> str:
    """Return the line that brings the regions of a table and those of its rows together."""
    regions = table.obs[what.region_key].astype(str).unique().tolist()
    if all(region in sdata.labels or region in sdata.shapes for region in regions):
        linked = regions[0] if len(regions) == 1 else regions
        return f"sdata.set_table_annotates_spatialelement({name!r}, region={linked!r})"
    return f"sdata[{name!r}].obs[{what.region_key!r}] = {what.regions[0]!r}"


def _table(sdata: SpatialData, name: str | None, region: str | None) -> str:
    """Return the named table, the one that annotates the chosen region, or the only one."""
    if name is None and region is not None and len(sdata.tables) > 1:
        fits = [
            key
            for key, table in sdata.tables.items()
            if table.uns.get(UNS_SPATIALDATA) and region in annotation(table, name=key).regions
        ]
        if len(fits) == 1:
            return fits[0]
    return table_key(sdata, name)
