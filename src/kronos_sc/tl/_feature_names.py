"""Names of the features of a representation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._core.record import thaw

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
    markers = _markers(adata, rep)
    each = rep.width // len(markers) if markers else 0
    if each == 0:
        return pd.DataFrame(index=[f"{rep.label}_{i}" for i in range(rep.width)])
    if each == 1:
        return pd.DataFrame({"marker": markers}, index=markers)
    number = np.tile(np.arange(each), len(markers))
    marker = np.repeat(np.array(markers, dtype=object), each)
    return pd.DataFrame({"marker": marker, "feature": number}, index=[f"{m}_{i}" for m, i in zip(marker, number, strict=True)])


def _markers(adata: AnnData, rep: Representation) -> list[str]:
    """Return the panel of an embedding that holds a block of features per marker; empty if it is not on record or holds something else."""
    entry = adata.uns.get(rep.label)
    if not isinstance(entry, Mapping) or not {"panel", "params"} <= set(entry):
        return []
    names = [str(name) for name in thaw(entry["panel"])["marker"]]
    features = [str(name) for name in np.atleast_1d(thaw(entry["params"]).get("features", "marker"))]
    return names if "marker" in features and names and rep.width % len(names) == 0 else []
