"""Names of the columns of a representation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc._core.features import contents, feature_frame
from kronos_sc._core.representation import representation
from kronos_sc._core.resolve import as_table

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from spatialdata import SpatialData


def feature_names(
    data: AnnData | SpatialData, use_rep: str = "X_kronos", *, table_key: str | None = None
) -> pd.DataFrame:
    """Return what each column of a representation is called, from the record of its embedding; no feature is read.

    The same names stand in the variables of :func:`kronos_sc.tl.aggregate`, in :func:`kronos_sc.pl.importance`, and
    behind `pl.spatial(sdata, "X_mean_marker_plus[CD3_mean]")`; they are the rows of the loadings of
    :func:`kronos_sc.tl.pca`.

    Parameters
    ----------
    data
        A table, or the SpatialData that holds it.
    use_rep
        Entry of `obsm`, or `"X"`.
    table_key
        Which table of a SpatialData; the only one if left out.

    Returns
    -------
    Frame with one row per column, in order. Its index is the name: `CD3` where a marker has one feature, `CD3_mean`
    where the model names them (`mean-marker+`), else `CD3_17`; with `_hop1_mean` for neighbourhoods; names of
    variables; `area` for named features of the unit; `{representation}_{number}` for all else, components among it.
    Columns `marker`, `feature` (name or number within the marker), `hop` and `stat`, where they apply.

    Raises
    ------
    KeyError
        There is no such representation.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(96, 96), channels=["DAPI", "CD8"])
    >>> ks.tl.embed(sdata, model="mean-marker+")
    >>> list(ks.get.feature_names(sdata, "X_mean_marker_plus").index[:3])
    ['DAPI_mean', 'DAPI_std', 'DAPI_q05']
    """
    table = as_table(data, table_key)
    return contents(feature_frame(table, representation(table, use_rep)))
