"""Results of an analysis in `uns`: what was run, and frames that hold what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from kronos_sc._core.checks import known, listed
from kronos_sc._core.record import freeze, thaw
from kronos_sc._core.target import require_anndata

if TYPE_CHECKING:
    from anndata import AnnData

_RESERVED = {"kind", "params", "main"}
_PREPARATION = {"spatial_folds", "nested_subsets", "majority_labels"}


@runtime_checkable
class HasResult(Protocol):
    """What is a result by itself, outside a table; a trained dense probe is."""

    def as_result(self) -> Mapping[str, Any]:
        """Return what `uns` would hold: `kind`, `params`, `main` and frames by name."""


def store(
    adata: AnnData, key: str, *, kind: str, params: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], **arrays: Any
) -> None:
    """Write one result to `uns[key]`.

    It holds `kind` (the function), `params`, frames by name, the first being the main one, and arrays by name.
    """
    entry: dict[str, Any] = {"kind": kind, "params": freeze(params), "main": next(iter(tables), "")}
    entry |= {name: _storable(table) for name, table in tables.items()}
    adata.uns[key] = entry | {name: freeze(value) for name, value in arrays.items()}


def _storable(table: pd.DataFrame) -> pd.DataFrame:
    """Return a frame that every file format takes: names and text as plain strings, rows by number."""
    plain = table.reset_index(drop=True)
    plain.columns = [str(column) for column in plain.columns]
    for name in plain.columns:
        if _is_text(plain[name]):
            plain[name] = plain[name].map(lambda value: "" if _is_missing(value) else str(value)).astype(object)
    return plain


def _is_text(column: pd.Series) -> bool:
    """Whether a column holds neither numbers nor truth values."""
    return not pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or value != value


def names(adata: AnnData) -> list[str]:
    """Return the keys of all results in `uns`."""
    return [key for key, entry in adata.uns.items() if isinstance(entry, Mapping) and set(entry) >= _RESERVED]


def entry(adata: AnnData | HasResult, key: str | None, *, kind: str | None = None) -> Mapping[str, Any]:
    """Return a result as stored; with `kind`, only one that this function made."""
    if isinstance(adata, HasResult):
        return _by_itself(adata, key)
    require_anndata(adata)
    keys = names(adata)
    if key is None:
        msg = f"key is missing: which result in uns? There are: {listed(keys)}."
        raise TypeError(msg)
    analysis = _call(kind) if kind else "the analysis"
    known(key, keys, what="result in uns", fix=f"Run {analysis} first, or name its key_added.")
    result = adata.uns[key]
    if kind is not None and str(result["kind"]) != kind:
        of_kind = [name for name in keys if str(adata.uns[name]["kind"]) == kind]
        msg = (
            f"uns[{key!r}] was made by {_call(result['kind'])}, not by {_call(kind)}, whose results are: "
            f"{listed(of_kind)}. Name one of them."
        )
        raise ValueError(msg)
    return result


def _by_itself(source: HasResult, key: str | None) -> Mapping[str, Any]:
    """Return what is a result by itself, which no key chooses."""
    if key is not None:
        own = type(source).__name__
        msg = (
            f"key={key!r} names a result in uns, and a {own} is one by itself. Pass it alone to get.result, pl.scores, "
            "pl.class_scores, pl.roc or pl.confusion."
        )
        raise TypeError(msg)
    return source.as_result()


def described(adata: AnnData | HasResult, key: str | None) -> str:
    """Return a result as messages name it."""
    if key is None:
        return f"of this {type(adata).__name__}"
    return repr(key)


def _call(kind: object) -> str:
    """Return a function as people call it."""
    room = "pp" if str(kind) in _PREPARATION else "tl"
    return f"{room}.{kind}"


def frame(
    adata: AnnData | HasResult, key: str | None, table: str | None = None, *, kind: str | None = None
) -> pd.DataFrame:
    """Return one table of a result, the main one if left out.

    Text comes back as plain strings from every file format.
    """
    result = entry(adata, key, kind=kind)
    tables = [name for name, value in result.items() if isinstance(value, pd.DataFrame)]
    what = f"table of the result {described(adata, key)}"
    name = known(table or str(result["main"]), tables, what=what, fix="Leave table out for the main one.")
    copy = result[name].reset_index(drop=True)
    for column in copy.columns:
        if _is_text(copy[column]):
            copy[column] = copy[column].astype(str).astype(object)
    return copy


def params(adata: AnnData, key: str, *, kind: str | None = None) -> dict[str, Any]:
    """Return the parameters of a result as plain values."""
    return thaw(entry(adata, key, kind=kind)["params"])


def array(adata: AnnData, key: str, name: str, *, kind: str | None = None) -> np.ndarray:
    """Return one array of a result."""
    result = entry(adata, key, kind=kind)
    arrays = [k for k, value in result.items() if isinstance(value, np.ndarray)]
    known(name, arrays, what=f"array of the result {key!r}", fix="See get.result(adata, key) for the table.")
    return result[name]


def keys_of(key: str, labels: Sequence[str]) -> list[str]:
    """Return the column of each representation in `obs`: the key for the first, its name appended for the others."""
    return [key if i == 0 else f"{key}_{label}" for i, label in enumerate(labels)]


def in_words(scores: pd.DataFrame, metric: str, *, digits: str = ".3f") -> str:
    """Return the mean of a metric for each representation, as a line of a log says it."""
    means = scores.groupby("representation", sort=False)[metric].mean()
    return ", ".join(f"{name} {value:{digits}}" for name, value in means.items())


def half_width(sd: Any, n: Any) -> Any:
    """Return half of the 95 % interval of a mean (Student's t), from standard deviations (n − 1) and counts."""
    from scipy.stats import t

    return t.ppf(0.975, np.maximum(n - 1, 1)) * sd / np.sqrt(np.maximum(n, 1))


def summary(scores: pd.DataFrame, *, by: str | list[str], metrics: list[str]) -> pd.DataFrame:
    """Return mean, standard deviation (n − 1), number and 95 % interval of the mean, a row per group and metric.

    The interval is Student's, mean ± t · sd / √n. It takes the values as independent; folds and draws share training
    units, so it is rather too narrow.
    """
    if isinstance(by, str):
        by = [by]
    long = scores.melt(id_vars=by, value_vars=metrics, var_name="metric")
    groups = long.groupby([*by, "metric"], sort=False, observed=True)["value"]
    table = groups.agg(mean="mean", sd="std", n="count").reset_index()
    half = half_width(table["sd"], table["n"])
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)
