"""Writing the slots of an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kronos_sc._core.record import is_embedding

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from anndata import AnnData

    from kronos_sc._core.keys import EmbedKeys


def fill(
    table: AnnData,
    keys: EmbedKeys,
    features: Mapping[str, Any],
    edge: np.ndarray,
    entry: dict[str, Any],
    *,
    excluded: np.ndarray | None = None,
) -> list[str]:
    """Write all slots, and return the names of those in `obsm`; nothing can fail between the first and the last.

    Kinds and flags of an earlier call under this name do not stay behind.
    """
    if not is_embedding(table.uns.get(f"{keys.name}_cls")):  # else it is another embedding's, of that very name
        table.obsm.pop(keys.obsm("cls", alone=False), None)
    slots = {keys.obsm(kind, alone=len(features) == 1): values for kind, values in features.items()}
    for name, values in slots.items():
        table.obsm[name] = values
    table.obs[keys.edge] = edge
    if excluded is not None:
        table.obs[keys.excluded] = excluded
    elif keys.excluded in table.obs:
        del table.obs[keys.excluded]
    table.uns[keys.uns] = entry
    return list(slots)
