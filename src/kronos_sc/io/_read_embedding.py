"""Features of a store → a table, where they stay on disk until they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc import _store
from kronos_sc._core.checks import listed
from kronos_sc._core.keys import EmbedKeys
from kronos_sc._core.log import info
from kronos_sc._core.resolve import as_table, table_key
from kronos_sc._core.slots import fill

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from spatialdata import SpatialData


def read_embedding(
    data: AnnData | SpatialData,
    store: str | os.PathLike[str] | None = None,
    *,
    table_key: str | None = None,
    key_added: str | None = None,
) -> None:
    """Attach the features of a store to a table; no image, model or GPU is needed.

    `tl.embed(sdata, store=...)` writes such a store. Rows find their features by `obs_names`, so the table may hold
    fewer units than were embedded, in any order. Features are read when they are needed: `obsm` holds a dask array.

    Parameters
    ----------
    data
        The table, or the SpatialData that holds it.
    store
        Folder that `tl.embed` wrote; for a SpatialData on disk, the only one of the table beside it if left out.
    table_key
        Which table of a SpatialData; the only one if left out.
    key_added
        Name that all slots are derived from; that of the call that wrote the store if left out.

    Returns
    -------
    `None`. Sets the slots of :func:`kronos_sc.tl.embed`: `obsm['X_' + key_added]` (dask array, rows × features),
    `obs[key_added + '_edge']` and `uns[key_added]`.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no embedding, or one that is not finished; several and none named; rows of the table that it does not
        hold.
    """
    table = as_table(data, table_key)
    path = _beside(data, table_key) if store is None else Path(store).expanduser().absolute()
    stored = _store.EmbeddingStore(path)
    entry = stored.record()
    if entry is None:
        msg = (
            f"{path} is not finished: {stored.complete()} of {len(stored.rows)} blocks are there. Make the call of "
            "tl.embed that began it again; it goes on from there."
        )
        raise ValueError(msg)
    rows = _rows_of(table, stored.names(), path)
    keys = EmbedKeys(key_added or stored.key)
    excluded = stored.excluded()
    if excluded is not None:
        excluded = excluded[rows]
    features = {kind: stored.features(kind, rows) for kind in stored.kinds}
    slots = fill(table, keys, features, stored.edge()[rows], entry, excluded=excluded)
    info(
        f"added {', '.join(f'obsm[{slot!r}]' for slot in slots)}, obs[{keys.edge!r}] and uns[{keys.uns!r}]: "
        f"{table.n_obs:,} units of {path}"
    )


def _beside(data: AnnData | SpatialData, name: str | None) -> Path:
    """Return the only embedding that lies beside a SpatialData for one of its tables."""
    if not hasattr(data, "tables") or data.path is None:
        what = "A table alone does not say where it lies"
        if hasattr(data, "tables"):
            what = "This SpatialData is in memory only"
        msg = (
            f"{what}, so no store can be found beside it. Name the folder that tl.embed wrote: io.read_embedding(data, "
            "'features.zarr')."
        )
        raise ValueError(msg)
    tissue = Path(data.path).absolute()
    key = table_key(data, name)
    stores = _store.found_beside(tissue, key)
    if not stores:
        msg = (
            f"No embedding of table {key!r} lies beside {tissue} ({_store.beside(tissue, key, '…').name}). "
            "Make one with tl.embed(sdata, store=True), or name the folder: io.read_embedding(sdata, 'features.zarr')."
        )
        raise FileNotFoundError(msg)
    if len(stores) > 1:
        msg = (
            f"{len(stores)} embeddings of table {key!r} lie beside {tissue}: {listed(path.name for path in stores)}. "
            f"Name one: io.read_embedding(sdata, {str(stores[0])!r}), say."
        )
        raise ValueError(msg)
    return stores[0]


def _rows_of(table: AnnData, names: np.ndarray, path: Path) -> np.ndarray:
    """Return the stored row of each row of the table."""
    obs_names = table.obs_names.to_numpy().astype(object)
    # row by row the same table: names may then repeat
    if np.array_equal(obs_names, names):
        return np.arange(len(names))
    index = pd.Index(names)
    if not index.is_unique:
        msg = (
            f"{path} was written for a table with repeated obs_names, and this table is not that one row by row. "
            "Attach it to the table that was embedded."
        )
        raise ValueError(msg)
    rows = index.get_indexer(obs_names)
    if (rows < 0).any():
        msg = (
            f"{int((rows < 0).sum()):,} of {len(obs_names):,} rows of the table are not in {path}: "
            f"{listed(obs_names[rows < 0])}. It holds {len(names):,} units ({listed(names, most=3)}, …). Attach "
            "it to the table that was embedded, or "
            "to a part of it."
        )
        raise ValueError(msg)
    return rows
