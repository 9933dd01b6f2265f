"""Names of results that replace nothing a user would miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc._core import results
from kronos_sc._core.checks import listed
from kronos_sc._core.keys import UNS_SPATIALDATA
from kronos_sc._core.record import is_embedding
from kronos_sc._core.target import require_anndata

if TYPE_CHECKING:
    from anndata import AnnData


def free_key(adata: AnnData, key: str, *inputs: str | None) -> str:
    """Return `key` if a result may be called that.

    Results of earlier calls are replaced, and nothing else that matters.

    Raises a ValueError for a column that the call reads (`inputs`), for the columns that say which element a row
    annotates, for the record of an embedding, and for entries of `uns` that others left.
    """
    require_anndata(adata)
    attrs = adata.uns.get(UNS_SPATIALDATA) or {}
    ties = [str(attrs[part]) for part in ("region_key", "instance_key") if part in attrs]
    if key in ties:
        why = f"obs[{key!r}] ties the table to its elements (as do {listed(ties)})"
    elif key in inputs:
        why = f"obs[{key!r}] is what this call reads"
    elif is_embedding(adata.uns.get(key)):
        why = f"uns[{key!r}] is the record of an embedding"
    elif key in adata.uns and key not in results.names(adata):
        why = f"uns[{key!r}] holds something that no analysis of this package made"
    else:
        return key
    msg = f"{why}, and is not overwritten. Choose another key_added, such as {key + '_result'!r}."
    raise ValueError(msg)
