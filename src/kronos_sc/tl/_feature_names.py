"""Names of the features of a representation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc.tl._aligned import blocks_of

if TYPE_CHECKING:
    from anndata import AnnData

    from kronos_sc._core.representation import Representation


def feature_frame(adata: AnnData, rep: Representation) -> pd.DataFrame:
    """Return one row per feature, named as well as the table allows.

    Marker features are `{marker}_{number}` with the columns `marker` and `feature`; variables and frames in `obsm` keep their names;
    anything else is `{representation}_{number}`.
    """
    if rep.name == "X":
        return pd.DataFrame(index=adata.var_names.astype(str))
    if isinstance(rep.values, pd.DataFrame):
        return pd.DataFrame(index=rep.values.columns.astype(str))
    markers, each = blocks_of(adata, rep.name) or ([], 0)
    if not markers:
        return pd.DataFrame(index=[f"{rep.label}_{i}" for i in range(rep.width)])
    if each == 1:
        return pd.DataFrame({"marker": markers}, index=markers)
    number = np.tile(np.arange(each), len(markers))
    marker = np.repeat(np.array(markers, dtype=object), each)
    return pd.DataFrame({"marker": marker, "feature": number}, index=[f"{m}_{i}" for m, i in zip(marker, number, strict=True)])
