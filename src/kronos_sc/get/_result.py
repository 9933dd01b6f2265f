"""Tables of an analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc._core import results

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def result(adata: AnnData | results.HasResult, key: str | None = None, *, table: str | None = None) -> pd.DataFrame:
    """Return a table that a function of `tl` left in `uns`, or one of a :class:`kronos_sc.tl.DenseProbe`.

    Parameters
    ----------
    adata
        The table the function was run on; or a probe, without `key`.
    key
        Name of the result: `key_added` of the call, or its default.
    table
        Which of its tables (`"scores"`, `"summary"`, `"per_class"`, …); the main one if left out.

    Returns
    -------
    A new frame; text as plain strings, the same from memory, h5ad and Zarr.

    Raises
    ------
    KeyError
        There is no such result or table; the message lists those that exist.
    TypeError
        No key for a table, or one for a probe.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128))["table"]
    >>> ks.tl.ari(cells, "cell_type", use_rep="X", rng=0)
    >>> list(ks.get.result(cells, "cell_type_ari")["representation"].unique())
    ['X']
    """
    return results.frame(adata, key, table)
