"""What the columns of a representation are called, wherever the representation lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core import results
from kronos_sc._core.checks import listed, repeated
from kronos_sc._core.record import is_embedding, thaw
from kronos_sc._core.representation import Representation, representation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData


def record_of(adata: AnnData, name: str) -> tuple[dict[str, Any], str] | None:
    """Return the record of `tl.embed` that a representation belongs to, and its kind of features ("marker" or "cls").

    None without.
    """
    stem = name.removeprefix("X_")
    if name == "X" or stem == name:
        return None
    for key, suffixed in ((stem, False), (stem.removesuffix("_cls"), True)):
        if is_embedding(adata.uns.get(key)):
            record = thaw(adata.uns[key])
            if suffixed or "marker" not in list(record["params"]["features"]):
                return record, "cls"
            return record, "marker"
    return None


def feature_frame(adata: AnnData, rep: Representation) -> pd.DataFrame:
    """Return one row per column of a representation, indexed by its name, with what is known of it.

    - variables (`X`) and columns of a frame keep their names; column `name` repeats them
    - features of markers are `CD3` where a marker has one, `CD3_mean` where the model names them (`per_marker` in its
      record), else `CD3_17`; columns `marker` and, where a marker has several, `feature`
    - features of the unit that the model names (`per_unit` in its record) are those names; column `name`
    - neighbourhoods (`tl.nhood_aggregate`) add ring and statistic, `CD3_mean_hop1_var`; columns `hop` and `stat`
    - anything else, components among it, is `{representation}_{number}`, without columns
    """
    if rep.name == "X":
        return _named(adata.var_names)
    if isinstance(rep.values, pd.DataFrame):
        return _named(rep.values.columns)
    record = record_of(adata, rep.name)
    frame = _of_rings(adata, rep) if record is None else _of_record(*record, rep.width)
    if frame is None:
        return pd.DataFrame(index=[f"{rep.label}_{i}" for i in range(rep.width)])
    return frame


def owners(frame: pd.DataFrame) -> list[str] | None:
    """Return the marker (or variable, or named feature of the unit) that each column belongs to.

    None where columns are anonymous.
    """
    for column in ("marker", "name"):
        if column in frame:
            return [str(value) for value in frame[column]]
    return None


def has_named_features(frame: pd.DataFrame) -> bool:
    """Whether several columns belong to one marker and each has a name that says what it is, not a number."""
    if owners(frame) is None or not {"feature", "hop"} & set(frame.columns):
        return False
    return "feature" not in frame or not pd.api.types.is_numeric_dtype(frame["feature"])


def require_distinct(names: Sequence[str], name: str) -> None:
    """Raise a ValueError if two columns of a representation have one name."""
    if twice := repeated(names):
        msg = f"Columns of {slot(name)} cannot be told apart, names occur more than once: {listed(twice)}. Rename them."
        raise ValueError(msg)


def slot(name: str) -> str:
    """Return where a representation lies, as people write it."""
    return "X" if name == "X" else f"obsm[{name!r}]"


def contents(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame of names as a table of features holds it: without the column that only repeats the names."""
    return frame.drop(columns="name", errors="ignore")


def _named(names: Any) -> pd.DataFrame:
    index = pd.Index([str(name) for name in names])
    return pd.DataFrame({"name": index}, index=index)


def _of_record(entry: Mapping[str, Any], kind: str, width: int) -> pd.DataFrame | None:
    """Return the names of an embedding from its record; None for features of the unit without names."""
    model = entry["model"]
    markers = [str(marker) for marker in entry["panel"]["marker"]]
    if kind == "cls" or not markers or width % len(markers):
        names = _listed(model, "per_unit")
        if len(names) != width:
            return None
        return _named(names)

    per_marker = width // len(markers)
    if per_marker == 1:
        return pd.DataFrame({"marker": markers}, index=markers)
    names = _listed(model, "per_marker")
    features = np.array(names, dtype=object) if len(names) == per_marker else np.arange(per_marker)
    marker = np.repeat(np.array(markers, dtype=object), per_marker)
    feature = np.tile(features, len(markers))
    index = [f"{m}_{f}" for m, f in zip(marker, feature, strict=True)]
    return pd.DataFrame({"marker": marker, "feature": feature}, index=index)


def _listed(model: Mapping[str, Any], field: str) -> list[str]:
    return [str(name) for name in np.atleast_1d(model.get(field, ()))]


def _of_rings(adata: AnnData, rep: Representation) -> pd.DataFrame | None:
    """Return the names of neighbourhood features: those they were made from, with ring and statistic."""
    key = rep.name.removeprefix("X_")
    if key not in results.names(adata) or str(adata.uns[key]["kind"]) != "nhood_aggregate":
        return None
    params = results.params(adata, key)
    layout = results.frame(adata, key, "layout")

    # columns have names only if what they were made from is still here, and was not turned into components
    source = str(params["use_rep"])
    is_here = source in adata.obsm or (source == "X" and adata.n_vars > 0)
    if not is_here or str(params["n_pcs"]):
        return None
    base = feature_frame(adata, representation(adata, source))
    fits = layout["stop"].iloc[-1] == rep.width and (layout["stop"] - layout["start"] == len(base)).all()
    if owners(base) is None or not fits:
        return None

    parts = []
    for hop, stat in zip(layout["hop"].astype(int), layout["stat"], strict=True):
        ending = f"_hop{hop}_{stat}" if hop else ""
        parts.append(base.set_axis(base.index + ending).assign(hop=hop, stat=stat))
    return pd.concat(parts)
