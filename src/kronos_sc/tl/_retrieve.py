"""Search: which units look most like a given one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.alignment import align
from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._analysis.search import SearchSet, nearest
from kronos_sc._core.checks import listed, one_of, positive_integer
from kronos_sc._core.log import info
from kronos_sc._core.representation import representation
from kronos_sc._core.target import ClassColumn, classes_of, column, require_anndata
from kronos_sc._core.warn import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_WITHIN = ("same", "other")
_MOST_HITS = 1_000_000  # rows of the table of hits


def retrieve(
    adata: AnnData,
    query: str | Sequence[str] | None = None,
    *,
    use_rep: str = "X_kronos",
    reference: AnnData | None = None,
    k: int = 5,
    metric: str = "euclidean",
    groupby: str | None = None,
    within: str | None = None,
    key_added: str = "retrieval",
    copy: bool = False,
) -> AnnData | None:
    """Find the units most similar to each query in an embedding: reverse image search :cite:p:`Shaban2025`.

    Within one image, across images or donors, or in another cohort. The search is exact: the answers are those of
    comparing every query with every unit in float64, at a fraction of the time, and embeddings on disk are streamed.

    Parameters
    ----------
    adata
        Table that holds the queries.
    query
        Units to search for: one of `obs_names` or several, a column of `obs` that is true for them (as
        :func:`motif_query` writes), or None for every unit.
    use_rep
        Entry of `obsm`, or `"X"`.
    reference
        Table to search in, another cohort say; `adata` itself if left out. Where panels differ, the markers in common
        are compared.
    k
        Answers per query.
    metric
        `"euclidean"` as in the paper, or `"cosine"` (1 − cosine of the angle), which ignores how strong the features
        are as a whole.
    groupby
        Column of `obs` (in both tables), such as the image or the donor, that `within` refers to.
    within
        `"same"`: answers come from the query's own group only; `"other"`: never from it.
    key_added
        Name of the result.
    copy
        Return a new AnnData instead of adding to this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `uns['retrieval' | key_added]`
        `hits`: one row per query and answer, nearest first, with `query`, `rank` (from 1), `hit`, `distance`, and with
        `groupby` the `group` of the query and the `hit_group`. `ranks`: by `rank`, how many queries have such an answer
        (`n_units`), and `mean`, `min` and `max` of its distance. Arrays `query` (row of each query, int64), `index`
        (row of each answer in the searched table, int64, queries × k) and `distance` (float32, queries × k). A unit is
        not its own answer (in a `reference` that is a copy of the table it is). Of equal distances the earlier row
        comes first. Where a group has fewer than `k` others, `index` is -1, `distance` infinite, and `hits` has no row.
        Above a million answers there is no table `hits`, only the arrays. `params`.

    Raises
    ------
    KeyError
        A unit, column or representation does not exist.
    ValueError
        `k` is more than there are units to search, two tables have nothing in common to compare, or a query has NaN.

    Warns
    -----
    UserWarning
        Some queries get fewer than `k` answers.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128))["table"]
    >>> ks.tl.retrieve(cells, cells.obs_names[0], use_rep="X", k=3)
    >>> ks.get.result(cells, "retrieval")["rank"].tolist()
    [1, 2, 3]
    """
    from kronos_sc._methods.neighbours import METRICS

    run = AnalysisRun(adata, "retrieve", key_added, copy=copy)
    own = reference is None or reference is adata
    searched = adata if own else reference
    require_anndata(searched)
    k = positive_integer(k, name="k")
    one_of(metric, METRICS, name="metric")
    queries, references = _search_sets(adata, searched, query, use_rep)
    groups = _groups(adata, searched, groupby, within)
    queries = _with_group(queries, groups, groupby)
    if len(references.rows) - own < k:
        msg = f"k={k} answers were asked for, and there are {len(references.rows) - own:,} units to search. Lower k."
        raise ValueError(msg)

    run.announce(
        f"searching {len(queries.rows):,} queries among {len(references.rows):,} units in {use_rep!r} "
        f"({queries.rep.width} features)"
    )
    distance, index = _answers(references, queries, k, groups=groups, within=within, metric=metric, own=own)
    if short := int((index[:, -1] < 0).sum()):
        warn(
            f"{short:,} of {len(index):,} queries have fewer than {k} answers: their group has too few units. Lower k, "
            "or see groupby=."
        )

    tables = _tables(adata, searched, queries.rows, distance, index, groups)
    params = {
        "query": _described(query),
        "use_rep": use_rep,
        "reference": "" if own else "another table",
        "k": k,
        "metric": metric,
        "groupby": groupby,
        "within": within,
    }
    run.store(params=params, tables=tables, query=queries.rows, index=index, distance=distance)
    counts = f"{int((index >= 0).sum()):,} answers to {len(index):,} queries"
    return run.finish(f"added uns[{key_added!r}]: {counts} ({run.elapsed})")


@dataclass(frozen=True)
class _Groups:
    """Groups of two tables under common numbers: that of each unit (int64, -1 for none), and their names."""

    query: np.ndarray
    reference: np.ndarray
    names: np.ndarray


def _search_sets(
    adata: AnnData, searched: AnnData, query: str | Sequence[str] | None, use_rep: str
) -> tuple[SearchSet, SearchSet]:
    """Return queries and references: rows that hold numbers, in the columns that both tables have."""
    asked, named = _rows(adata, query)
    left = representation(adata, use_rep)
    right = representation(searched, use_rep)
    usable = left.finite[asked]
    if named and not usable.all():
        lost = adata.obs_names[asked[~usable]]
        msg = (
            f"{len(lost)} queries have NaN in {use_rep!r} ({listed(lost, most=5)}), so nothing can be compared with "
            "them. Embed them, or choose others."
        )
        raise ValueError(msg)
    rows = np.flatnonzero(right.finite)
    if not usable.all() or len(rows) < right.n_units:
        info(
            f"NaN in {use_rep!r}: {int((~usable).sum()):,} queries and {right.n_units - len(rows):,} units to be "
            "searched are left out"
        )
    if searched is adata:
        return SearchSet(left, asked[usable]), SearchSet(right, rows)
    common = align(adata, searched, use_rep)
    return SearchSet(left, asked[usable], common.take_left), SearchSet(right, rows, common.take_right)


def _rows(adata: AnnData, query: str | Sequence[str] | None) -> tuple[np.ndarray, bool]:
    """Return the rows of the queries, and whether they were named one by one."""
    if query is None:
        return np.arange(adata.n_obs), False
    if isinstance(query, str) and query in adata.obs:
        values = adata.obs[query]
        if not pd.api.types.is_bool_dtype(values):
            msg = (
                f"obs[{query!r}] holds {values.dtype}, not true and false. Pass names of units: "
                f"query=adata.obs_names[adata.obs[{query!r}] == ...]."
            )
            raise ValueError(msg)
        rows = np.flatnonzero(values.to_numpy(bool, na_value=False))
        if not len(rows):
            msg = (
                f"obs[{query!r}] is true for no unit, so there is nothing to search for. Choose another column, or "
                "names of units."
            )
            raise ValueError(msg)
        return rows, False
    names = list(dict.fromkeys([query] if isinstance(query, str) else [str(name) for name in query]))
    if not adata.obs_names.is_unique:
        msg = "obs_names are not unique, so queries cannot be named. Call adata.obs_names_make_unique() first."
        raise ValueError(msg)
    rows = adata.obs_names.get_indexer(names)
    if (rows < 0).any() or not names:
        lost = [name for name, row in zip(names, rows, strict=True) if row < 0]
        msg = (
            f"There are no units {listed(lost)}; names look like {listed(adata.obs_names[:3])}. Pass obs_names, a "
            "column of true and false (obs has: "
            f"{listed(c for c in adata.obs if pd.api.types.is_bool_dtype(adata.obs[c]))}), or None for every unit."
        )
        raise KeyError(msg)
    return rows.astype(np.int64), True


def _groups(adata: AnnData, searched: AnnData, groupby: str | None, within: str | None) -> _Groups | None:
    """Return the groups of both tables, if any are wanted."""
    if within is not None:
        one_of(within, _WITHIN, name="within")
    if groupby is None or within is None:
        if groupby is not within:
            if within is None:
                msg = "groupby was given alone; add within='same' or within='other', or leave both out."
            else:
                msg = "within was given alone; add groupby='the column', or leave both out."
            raise ValueError(msg)
        return None
    sides: list[ClassColumn] = [
        classes_of(column(table, groupby, argument="groupby"), name=groupby) for table in (adata, searched)
    ]
    # one numbering for both tables: equal names are one group, and -1 stands for none
    names = np.array(list(dict.fromkeys([*sides[0].classes, *sides[1].classes])), dtype=object)
    number = {name: i for i, name in enumerate(names)}
    codes = [np.array([*(number[name] for name in side.classes), -1], np.int64)[side.codes] for side in sides]
    return _Groups(*codes, names)


def _with_group(queries: SearchSet, groups: _Groups | None, groupby: str | None) -> SearchSet:
    """Return the queries that have a group, if groups matter."""
    if groups is None:
        return queries
    known = groups.query[queries.rows] >= 0
    if not known.any():
        msg = f"No query has a value in obs[{groupby!r}]. Fill the column, or name another with groupby=."
        raise ValueError(msg)
    if not known.all():
        info(f"{int((~known).sum()):,} queries have no {groupby!r} and are left out")
    return SearchSet(queries.rep, queries.rows[known], queries.transform)


def _answers(
    references: SearchSet,
    queries: SearchSet,
    k: int,
    *,
    groups: _Groups | None,
    within: str | None,
    metric: str,
    own: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return distance and row of the answers (queries × k), group by group where groups matter.

    Infinite and -1 where there is none.
    """
    if groups is None:
        return nearest(references, queries, k, metric=metric, skip_own=own)
    distance = np.full((len(queries.rows), k), np.inf, np.float32)
    index = np.full((len(queries.rows), k), -1, np.int64)
    group = groups.reference[references.rows]
    for code in np.unique(groups.query[queries.rows]):
        asking = np.flatnonzero(groups.query[queries.rows] == code)
        allowed = group == code if within == "same" else (group != code) & (group >= 0)
        # a unit is among those searched, and not its own answer, only within its own group
        skip = own and within == "same"
        count = min(k, int(allowed.sum()) - skip)
        if count < 1:
            continue
        group_references = SearchSet(references.rep, references.rows[allowed], references.transform)
        group_queries = SearchSet(queries.rep, queries.rows[asking], queries.transform)
        nearest_distance, nearest_index = nearest(group_references, group_queries, count, metric=metric, skip_own=skip)
        distance[asking, :count] = nearest_distance
        index[asking, :count] = nearest_index
    return distance, index


def _tables(
    adata: AnnData, searched: AnnData, rows: np.ndarray, distance: np.ndarray, index: np.ndarray, groups: _Groups | None
) -> dict[str, pd.DataFrame]:
    """Return the table of hits, unless it were too long, and that of ranks."""
    is_answer = index >= 0
    ranks = pd.DataFrame([_rank(i + 1, distance[is_answer[:, i], i]) for i in range(index.shape[1])])
    if index.size > _MOST_HITS:
        info(
            f"{index.size:,} answers are too many for a table of names; they are in the arrays 'query', 'index' and "
            "'distance'"
        )
        return {"ranks": ranks}
    which, rank = np.nonzero(is_answer)
    query = rows[which]
    hit = index[is_answer]
    hits = pd.DataFrame(
        {"query": adata.obs_names.to_numpy()[query], "rank": rank + 1, "hit": searched.obs_names.to_numpy()[hit]}
    )
    hits["distance"] = distance[is_answer]
    if groups is not None:
        hits["group"] = groups.names[groups.query[query]]
        hits["hit_group"] = groups.names[groups.reference[hit]]
    return {"hits": hits, "ranks": ranks}


def _rank(rank: int, distance: np.ndarray) -> dict[str, float]:
    """Return what there is to say about the answers of one rank."""
    row: dict[str, float] = {"rank": rank, "n_units": len(distance), "mean": np.nan, "min": np.nan, "max": np.nan}
    if len(distance):
        row |= {"mean": float(distance.mean()), "min": float(distance.min()), "max": float(distance.max())}
    return row


def _described(query: str | Sequence[str] | None) -> str:
    """Return what the record says of the queries."""
    if query is None:
        return "all"
    return query if isinstance(query, str) else f"{len(query)} units"
