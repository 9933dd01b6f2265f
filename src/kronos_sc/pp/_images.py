"""Which image each unit lies on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc._core.log import info
from kronos_sc._core.resolve import region_column

if TYPE_CHECKING:
    from anndata import AnnData


def image_key(adata: AnnData, name: str | None) -> str | None:
    """Return the column of `obs` that names images.

    As told, or the element that each row annotates where there are several.
    """
    if name is not None:
        return name
    region = region_column(adata)
    if region is None or adata.obs[region].nunique() <= 1:
        return None
    info(f"images are told apart by obs[{region!r}]")
    return region
