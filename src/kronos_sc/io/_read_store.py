"""A SpatialData store, whatever its path is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from spatialdata import SpatialData

_ELEMENTS = ("images", "labels", "points", "shapes", "tables")
_METADATA = ("zarr.json", ".zgroup")


def read_store(path: str | os.PathLike[str]) -> SpatialData:
    """Read a SpatialData store as `spatialdata.read_zarr` does, whatever its path holds.

    That is, also where the path holds what an address would end at, "#" say.

    SpatialData gives the path of a table to anndata as text, and a recent zarr takes text for an address: of "run
    #2.zarr" it opens "run ". Such tables are read here by their path.
    """
    import spatialdata

    store = Path(path)
    if urlsplit(str(store)).path == str(store):
        return spatialdata.read_zarr(store)
    sdata = spatialdata.read_zarr(store, selection=_ELEMENTS[:-1])
    for folder in sorted((store / "tables").glob("*")):
        if any((folder / name).is_file() for name in _METADATA):
            sdata.tables[folder.name] = _table(folder)
    return sdata


def _table(folder: Path) -> AnnData:
    """Read a table, its links to elements as SpatialData wants them."""
    from anndata.io import read_zarr
    from spatialdata.models import TableModel

    table = read_zarr(folder)
    if TableModel.ATTRS_KEY in table.uns:
        links = table.uns[TableModel.ATTRS_KEY]
        for key in ("region", "region_key", "instance_key"):
            links.setdefault(key, None)  # None is not stored
        if isinstance(links["region"], np.ndarray):
            links["region"] = links["region"].tolist()
    return table
