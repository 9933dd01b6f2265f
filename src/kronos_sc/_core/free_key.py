"""Names of results that replace nothing a user would miss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kronos_sc._core.checks import listed
from kronos_sc._core.keys import UNS_SPATIALDATA
from kronos_sc._core.target import require_anndata

if TYPE_CHECKING:
    from anndata import AnnData


def free_key(adata: AnnData, key: str) -> str:
    """Return `key` if a result may be called that; results of earlier calls are replaced, but never what holds a table together.

    Raises a ValueError for the columns that say which element a row annotates, and for the record of an embedding.
    """
    require_anndata(adata)
    attrs = adata.uns.get(UNS_SPATIALDATA) or {}
    taken = [str(attrs[part]) for part in ("region_key", "instance_key") if part in attrs]
    if key in taken:
        msg = f"obs[{key!r}] ties the table to its elements (as do {listed(taken)}) and is not overwritten. Choose another key_added."
        raise ValueError(msg)
    entry = adata.uns.get(key)
    if isinstance(entry, Mapping) and {"model", "panel", "params"} <= set(entry):
        msg = f"uns[{key!r}] is the record of an embedding and is not overwritten. Choose another key_added, such as {key + '_result'!r}."
        raise ValueError(msg)
    return key
