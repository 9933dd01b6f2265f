"""Columns of `obs` that results must not take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc._core.checks import listed
from kronos_sc._core.keys import UNS_SPATIALDATA

if TYPE_CHECKING:
    from anndata import AnnData


def require_free_column(adata: AnnData, name: str) -> None:
    """Raise a ValueError if the column says which element a row annotates: overwritten, the rows would belong to nothing."""
    attrs = adata.uns.get(UNS_SPATIALDATA) or {}
    taken = [str(attrs[key]) for key in ("region_key", "instance_key") if key in attrs]
    if name in taken:
        msg = f"obs[{name!r}] ties the table to its elements (as do {listed(taken)}) and is not overwritten. Choose another key_added."
        raise ValueError(msg)
