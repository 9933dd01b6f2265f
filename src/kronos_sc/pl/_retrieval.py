"""What a search found, as pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._core import results
from kronos_sc._core.checks import known, listed, positive_integer
from kronos_sc._core.positions import positions
from kronos_sc._core.resolve import as_table, require_spatialdata
from kronos_sc.pl import _montage
from kronos_sc.pl._axes import axes_or_new, hide_frame
from kronos_sc.pl._choice import as_list
from kronos_sc.pl._color import PERCENTILES, channel_legend
from kronos_sc.pl._palette import default_colors
from kronos_sc.pl._scale_bar import scale_bar
from kronos_sc.pl._shown import PatchMontage, from_spatialdata
from kronos_sc.pl._values import values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

    from kronos_sc.pl._color import Channels, Limits

_INCHES = 1.0  # edge of a patch on the page


def retrieval(
    sdata: SpatialData,
    key: str = "retrieval",
    *,
    queries: Sequence[str] | None = None,
    n: int = 4,
    target: str | None = None,
    title: str | None = None,
    channels: Channels = None,
    limits: Limits = PERCENTILES,
    reference: SpatialData | None = None,
    patch_size: int | None = None,
    table_key: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show queries and what :func:`kronos_sc.tl.retrieve` found for them, one row per query, nearest first.

    Parameters
    ----------
    sdata
        Holds image, labels or shapes, and the table with the result.
    key
        The result in `uns`.
    queries
        Names of queries to show, in order; `n` of them, evenly through the result, if left out.
    n
        How many queries without `queries`.
    target
        Column of `obs`: answers with the query's value are framed in blue, others in orange.
    title
        Column of `obs` to write above each patch after the rank; that of `target`, or else the distance, if left out.
    channels
        Names of up to six channels, or a mapping from name to colour; the first four if left out.
    limits
        What becomes black and full colour: two percentiles over all patches shown, or raw values by channel.
    reference
        Holds the answers, if the search was in another table.
    patch_size
        Edge of the window in pixels; 64 for cells and the boxes' own size for boxes if left out.
    table_key
        Which table, in both; the only one if left out.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes; all patches lie on one canvas, with a scale bar below if the pixel size is known.

    Raises
    ------
    KeyError
        There is no such result, query, channel or column.
    ValueError
        The result has no table of hits, because it has more than a million of them.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8", "CYTOKERATIN"])
    >>> ks.tl.retrieve(sdata["table"], use_rep="X", k=3)
    >>> ax = ks.pl.retrieval(sdata, n=2, target="cell_type", patch_size=32)
    >>> len(ax.texts)  # two queries and three answers to each
    8
    """
    require_spatialdata(sdata)
    table = as_table(sdata, table_key)
    hits = _hits(table, key, queries, positive_integer(n, name="n"))
    answers = sdata if reference is None else reference
    require_spatialdata(answers)
    answer_table = as_table(answers, table_key)
    montage, order = _shown(
        (sdata, table), (answers, answer_table), hits, channels, patch_size=patch_size, table_key=table_key
    )
    rows = {str(name): 1 + len(group) for name, group in hits.groupby("query", sort=False)}
    grid = _montage.Grid(montage.size, _montage.cells(len(order), rows), titled=True)
    height, width = grid.shape
    margin = 0.3 + 0.085 * max(map(len, rows))
    ax = axes_or_new(ax, size=(width * _INCHES / grid.size + margin, height * _INCHES / grid.size + 0.9))
    hide_frame(ax)

    # a patch that answers several queries was read once and is drawn in each of its places
    pixels = montage.rgb(limits)
    masks = montage.masks
    if masks is not None:
        masks = masks[order]
    _montage.draw(ax, grid, [pixels[i] for i in order], montage.inside[order], masks)
    _montage.write_titles(ax, grid, _titles(table, answer_table, hits, title or target))
    _montage.name_rows(ax, grid, list(rows))
    if montage.mpp is not None:
        scale_bar(ax, mpp=montage.mpp, span=grid.size * 2, where="below")
    if target is not None:
        _frame(ax, grid, _right(table, answer_table, hits, target), target)
    channel_legend(ax, montage.colors)
    return ax


def _hits(table: AnnData, key: str, queries: Sequence[str] | None, n: int) -> pd.DataFrame:
    """Return the hits to show, query by query."""
    if "hits" not in results.entry(table, key, kind="retrieve"):
        msg = (
            f"uns[{key!r}] has no table of hits, because there were too many. Search again for fewer units: "
            "tl.retrieve(adata, names, key_added=...)."
        )
        raise ValueError(msg)
    hits = results.frame(table, key, "hits", kind="retrieve")
    query_names = pd.unique(hits["query"])
    if not len(query_names):
        msg = f"uns[{key!r}] has no answers to show. Search again, without within= or for other units."
        raise ValueError(msg)
    if queries is None:  # evenly through the result, which may be sorted by image
        evenly = np.linspace(0, len(query_names) - 1, min(n, len(query_names)))
        chosen = query_names[np.unique(evenly.round().astype(int))]
    else:
        what = f"query in uns[{key!r}]"
        fix = "Search for it with tl.retrieve(adata, query=...)."
        chosen = [known(str(name), list(query_names), what=what, fix=fix) for name in as_list(queries)]
    order = positions(hits["query"], list(dict.fromkeys(chosen)))
    shown = hits.assign(order=order)[order >= 0]
    return shown.sort_values(["order", "rank"], kind="stable").reset_index(drop=True)


def _shown(
    asking: tuple[SpatialData, AnnData],
    answering: tuple[SpatialData, AnnData],
    hits: pd.DataFrame,
    channels: Channels,
    *,
    patch_size: int | None,
    table_key: str | None,
) -> tuple[PatchMontage, np.ndarray]:
    """Return all patches, each once, and which of them stands in each place."""
    import xarray as xr

    kwargs = {"patch_size": patch_size, "table_key": table_key}
    queries = list(pd.unique(hits["query"]))
    groups = hits.groupby("query", sort=False)["hit"]

    # one table: a unit may be a query and an answer, and is read once
    if asking[0] is answering[0]:
        names = list(dict.fromkeys([*queries, *hits["hit"]]))
        _require_units(answering[1], names)
        places = [name for query, hit_names in groups for name in (query, *hit_names)]
        return from_spatialdata(*asking, names, channels, **kwargs), pd.Index(names).get_indexer(places)

    # two tables: names of the one may occur in the other, so the answers are counted after the queries
    answers = list(pd.unique(hits["hit"]))
    _require_units(asking[1], queries)
    _require_units(answering[1], answers)
    first = from_spatialdata(*asking, queries, channels, **kwargs)
    second = from_spatialdata(*answering, answers, first.colors, **kwargs)
    if first.size != second.size or first.mpp != second.mpp:
        msg = (
            f"Queries are windows of {first.size} pixels at {first.mpp} µm, answers {second.size} at {second.mpp}; one "
            "scale is needed to show them side by side. Give both a patch_size=, or resample one with tl.embed(sdata, "
            "mpp=...) in mind."
        )
        raise ValueError(msg)
    both = replace(
        first,
        array=xr.concat([first.array, second.array], dim="unit"),
        inside=np.concatenate([first.inside, second.inside]),
    )
    index = pd.Index(answers)
    rows = [[queries.index(query), *(index.get_indexer(list(hit_names)) + len(queries))] for query, hit_names in groups]
    return both, np.concatenate(rows)


def _require_units(table: AnnData, names: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in table.obs_names]:
        msg = (
            f"The table has no units {listed(unknown)}, which the search found. Pass the SpatialData that was searched "
            "as reference=, or search again."
        )
        raise KeyError(msg)


def _picked(table: AnnData, names: pd.Series, name: str) -> pd.Series:
    """Return the values of units by name, in order."""
    return values(table, name).iloc[table.obs_names.get_indexer(list(names))].reset_index(drop=True)


def _titles(table: AnnData, answer_table: AnnData, hits: pd.DataFrame, title: str | None) -> list[str]:
    """Return one line per patch: the query's value, then rank and value (or distance) of the answers."""
    if title is None:
        query_values = pd.Series(["query"] * len(hits))
        answer_values = hits["distance"]
    else:
        query_values = _picked(table, hits["query"], title)
        answer_values = _picked(answer_table, hits["hit"], title)
    lines = []
    for i, (rank, is_first) in enumerate(zip(hits["rank"], _first_answers(hits), strict=True)):
        if is_first:
            lines.append(_text(query_values[i]))
        lines.append(f"{rank}  {_text(answer_values[i])}")
    return lines


def _first_answers(hits: pd.DataFrame) -> np.ndarray:
    """Return which answers are the first of their query (bool): the query's own patch stands before them."""
    return (hits["query"] != hits["query"].shift()).to_numpy()


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def _right(table: AnnData, answer_table: AnnData, hits: pd.DataFrame, target: str) -> list[bool | None]:
    """Return whether each patch has the query's value; None for queries and where a value is missing."""
    query_values = _picked(table, hits["query"], target)
    answer_values = _picked(answer_table, hits["hit"], target)
    verdicts: list[bool | None] = []
    for is_first, a, b in zip(_first_answers(hits), query_values, answer_values, strict=True):
        if is_first:
            verdicts.append(None)  # the query itself
        verdicts.append(None if pd.isna(a) or pd.isna(b) else str(a) == str(b))
    return verdicts


def _frame(ax: Axes, grid: _montage.Grid, right: Sequence[bool | None], target: str) -> None:
    """Frame answers by whether they are right, and say so below."""
    from matplotlib.patches import Rectangle

    blue, orange = default_colors(2)
    line = {"fill": False, "linewidth": 2.2}
    gap = 0.025 * grid.size
    for verdict, (top, left) in zip(right, grid.corners, strict=True):
        if verdict is not None:
            corner = (left - gap, top - gap)
            edge = grid.size + 2 * gap
            color = blue if verdict else orange
            ax.add_patch(Rectangle(corner, edge, edge, edgecolor=color, clip_on=False, **line))
    handles = [Rectangle((0, 0), 1, 1, edgecolor=color, **line) for color in (blue, orange)]
    labels = [f"same {target}", f"other {target}"]
    ax.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0, -0.02),
        ncols=2,
        fontsize="small",
        frameon=False,
        borderaxespad=0,
    )
