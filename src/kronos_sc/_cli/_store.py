"""The store that a command works on, and its table as the place for an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData
    from spatialdata import SpatialData

_WAIT = 3600.0  # seconds: what took hours to compute is not given up because another process writes for a while


def read(store: Path) -> SpatialData:
    """Read a SpatialData store; what a killed run left is put right first."""
    from kronos_sc import io
    from kronos_sc.io._read_store import read_store

    io.recover(store)
    return read_store(store)


def require_writable(store: Path) -> None:
    """Raise an error unless an embedding can be written into a table of the store; nothing has been computed yet."""
    from kronos_sc._store.table import require_writable as require

    require(store, instead="Write the table to a file with --output table.h5ad, keep the features apart with --beside")


def added(table: AnnData, before: Mapping[str, Any]) -> list[str]:
    """Return the names of the embeddings that `uns` of a table did not hold before."""
    from kronos_sc._core.record import is_embedding

    return [name for name, entry in table.uns.items() if is_embedding(entry) and entry is not before.get(name)]


def kept_on_disk(table: AnnData, embedding: str) -> bool:
    """Return whether the features of an embedding are read from a store."""
    from kronos_sc._core.keys import EmbedKeys

    return hasattr(table.obsm[EmbedKeys(embedding).obsm("marker", alone=True)], "dask")


def write(sdata: SpatialData, key: str, embedding: str) -> str:
    """Write an embedding into the table of the store, and return what was done."""
    from kronos_sc import io

    io.write_embedding(sdata, key=embedding, table_key=key, wait=_WAIT)
    return f"wrote embedding {embedding!r} into table {key!r} of {sdata.path}"


def stored(sdata: SpatialData, key: str, embedding: str, place: Path | None) -> str:
    """Return where the features of an embedding are, and how to get at them.

    Without a place they lie beside the SpatialData.
    """
    from kronos_sc._embedding.resume import resolve_store_path

    path = resolve_store_path(sdata, place or True, table=key, key=embedding, size=0)
    return (
        f"features of {embedding!r} are in {path}; io.read_embedding(sdata, {str(path)!r}) attaches them to table "
        f"{key!r}"
    )
