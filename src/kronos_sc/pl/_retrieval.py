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
    found = as_table(answers, table_key)
    shown, order = _shown((sdata, table), (answers, found), hits, channels, patch_size=patch_size, table_key=table_key)
    rows = {str(name): 1 + len(group) for name, group in hits.groupby("query", sort=False)}
    grid = _montage.Grid(shown.size, _montage.cells(len(order), rows), titled=True)
    height, width = grid.shape
    margin = 0.3 + 0.085 * max(map(len, rows))
    ax = axes_or_new(ax, size=(width * _INCHES / grid.size + margin, height * _INCHES / grid.size + 0.9))
    hide_frame(ax)
    pixels = shown.rgb(limits)
    masks = shown.masks
    _montage.draw(ax, grid, [pixels[i] for i in order], shown.inside[order], None if masks is None else masks[order])
    _montage.write_titles(ax, grid, _titles(table, found, hits, title or target))
    _montage.name_rows(ax, grid, list(rows))
    if shown.mpp is not None:
        scale_bar(ax, mpp=shown.mpp, span=grid.size * 2, where="below")
    if target is not None:
        _frame(ax, grid, _right(table, found, hits, target), target)
    channel_legend(ax, shown.colors)
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
    there = pd.unique(hits["query"])
    if not len(there):
        msg = f"uns[{key!r}] has no answers to show. Search again, without within= or for other units."
        raise ValueError(msg)
    chosen = there[np.unique(np.linspace(0, len(there) - 1, min(n, len(there))).round().astype(int))]
    if queries is not None:
        chosen = [queries] if isinstance(queries, str) else [str(name) for name in queries]
        for name in chosen:
            known(
                name,
                list(there),
                what=f"query in uns[{key!r}]",
                fix="Search for it with tl.retrieve(adata, query=...).",
            )
    order = positions(hits["query"], list(dict.fromkeys(chosen)))
    picked = hits.assign(order=order)[order >= 0]
    return picked.sort_values(["order", "rank"], kind="stable").reset_index(drop=True)


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

    how = {"patch_size": patch_size, "table_key": table_key}
    queries = list(pd.unique(hits["query"]))
    groups = hits.groupby("query", sort=False)["hit"]
    if asking[0] is answering[0]:
        names = list(dict.fromkeys([*queries, *hits["hit"]]))
        _require_units(answering[1], names)
        places = [name for query, found in groups for name in (query, *found)]
        return from_spatialdata(*asking, names, channels, **how), pd.Index(names).get_indexer(places)
    answers = list(pd.unique(hits["hit"]))
    _require_units(asking[1], queries)
    _require_units(answering[1], answers)
    first = from_spatialdata(*asking, queries, channels, **how)
    second = from_spatialdata(*answering, answers, first.colors, **how)
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
    return both, np.concatenate(
        [[queries.index(query), *(index.get_indexer(list(found)) + len(queries))] for query, found in groups]
    )


def _require_units(table: AnnData, names: Sequence[str]) -> None:
    if lost := [name for name in names if name not in table.obs_names]:
        msg = (
            f"The table has no units {listed(lost)}, which the search found. Pass the SpatialData that was searched as "
            "reference=, or search again."
        )
        raise KeyError(msg)


def _picked(table: AnnData, names: pd.Series, name: str) -> pd.Series:
    """Return the values of units by name, in order."""
    return values(table, name).iloc[table.obs_names.get_indexer(list(names))].reset_index(drop=True)


def _titles(table: AnnData, found: AnnData, hits: pd.DataFrame, title: str | None) -> list[str]:
    """Return one line per patch: the query's value, then rank and value (or distance) of the answers."""
    if title is None:
        own = pd.Series(["query"] * len(hits))
        theirs = hits["distance"]
    else:
        own = _picked(table, hits["query"], title)
        theirs = _picked(found, hits["hit"], title)
    lines = []
    for i, rank in enumerate(hits["rank"]):
        lines += [_text(own[i])] if i == 0 or hits["query"][i] != hits["query"][i - 1] else []
        lines.append(f"{rank}  {_text(theirs[i])}")
    return lines


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def _right(table: AnnData, found: AnnData, hits: pd.DataFrame, target: str) -> list[bool | None]:
    """Return whether each patch has the query's value; None for queries and where a value is missing."""
    own = _picked(table, hits["query"], target)
    theirs = _picked(found, hits["hit"], target)
    out: list[bool | None] = []
    for i, (a, b) in enumerate(zip(own, theirs, strict=True)):
        out += [None] if i == 0 or hits["query"][i] != hits["query"][i - 1] else []
        out.append(None if pd.isna(a) or pd.isna(b) else str(a) == str(b))
    return out


def _frame(ax: Axes, grid: _montage.Grid, right: Sequence[bool | None], target: str) -> None:
    """Frame answers by whether they are right, and say so below."""
    from matplotlib.patches import Rectangle

    blue, orange = default_colors(2)
    gap = 0.025 * grid.size
    for verdict, (top, left) in zip(right, grid.corners, strict=True):
        if verdict is not None:
            corner = (left - gap, top - gap)
            edge = grid.size + 2 * gap
            ax.add_patch(
                Rectangle(
                    corner, edge, edge, fill=False, edgecolor=blue if verdict else orange, linewidth=2.2, clip_on=False
                )
            )
    handles = [Rectangle((0, 0), 1, 1, fill=False, edgecolor=color, linewidth=2.2) for color in (blue, orange)]
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
