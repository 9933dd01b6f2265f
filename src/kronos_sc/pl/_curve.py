"""A score against what was varied: shots, thresholds, neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kronos_sc._core import results
from kronos_sc._core.checks import known, listed, one_of
from kronos_sc._core.target import require_anndata
from kronos_sc.pl._axes import axes_or_new
from kronos_sc.pl._compared import MARKS, STATISTICS, legend, plain, representation_colors, several, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_LOGARITHMIC_FROM = 5.0  # times from the smallest to the largest


def curve(
    adata: AnnData,
    key: str,
    *,
    x: str | None = None,
    metric: str = "balanced_accuracy",
    table: str | None = None,
    representation: str | Sequence[str] | None = None,
    band: Literal["sd", "interval"] = "sd",
    log: bool | None = None,
    palette: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show how a score depends on what was varied, one line per representation.

    Parameters
    ----------
    adata
        Table with a result that varied something: of :func:`kronos_sc.tl.few_shot` , say.
    key
        Name of the result in `uns`.
    x
        Column that was varied: `"shots"`, `"threshold"`, …; the one that the summary has if left out.
    metric
        Score to show.
    table
        Table of the result to read: a summary (a row per value, with `metric` and `mean`) or scores (a row per fold).
        The first that fits if left out.
    representation
        Which representations, in which order; all of the result if left out.
    band
        What the band shows: `"sd"`, the standard deviation over folds or draws, or `"interval"`, the 95 % interval of
        the mean.
    log
        Whether `x` is logarithmic; for counts that span a factor of five or more if left out.
    palette
        Colours by representation; the package's own if left out, baselines grey.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes: a line and a band per representation.

    Raises
    ------
    KeyError
        There is no such result, score or representation, no table of the result varies `x`, or its summary has no such
        column or several.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(200, 200))["table"]
    >>> cells.obs["nest"] = cells.obs["region"] == "nest"
    >>> ks.pp.spatial_folds(cells, n_folds=2)
    >>> ks.tl.few_shot(cells, "nest", use_rep="X", shots=(1, 2, 5), C=1)
    >>> ks.pl.curve(cells, "nest_few_shot").get_xlabel()
    'labelled units per class'
    """
    one_of(band, ("sd", "interval"), name="band")
    require_anndata(adata)
    if x is None:
        x = _varied(adata, key, table or "summary")
    rows = several(_summarised(adata, key, x, metric, table), representation)
    names = list(rows["representation"].unique())
    ax = axes_or_new(ax, size=(4.8, 3.2))
    colors = representation_colors(names, palette)
    for number, name in enumerate(names):
        curve_rows = rows[rows["representation"] == name].sort_values(x)
        if band == "sd":
            low = curve_rows["mean"] - curve_rows["sd"]
            high = curve_rows["mean"] + curve_rows["sd"]
        else:
            low = curve_rows["low"]
            high = curve_rows["high"]
        x_values = curve_rows[x].to_numpy(float)
        ax.plot(
            x_values,
            curve_rows["mean"],
            marker=MARKS[number % len(MARKS)],
            markersize=4,
            linewidth=1.4,
            color=colors[name],
            label=name,
        )
        ax.fill_between(
            x_values, low.to_numpy(float), high.to_numpy(float), color=colors[name], alpha=0.18, linewidth=0
        )

    # counts grow by factors (5, 10, 20, …) and would crowd on the left of a linear axis
    values = np.unique(rows[x].to_numpy(float))
    if log or (log is None and values[0] >= 1 and values[-1] >= _LOGARITHMIC_FROM * values[0]):
        ax.set_xscale("log")
    if len(values) <= 10:
        ax.set_xticks(values, [f"{value:g}" for value in values])
        ax.minorticks_off()
    ax.set(xlabel=words(x), ylabel=words(metric))
    ax.yaxis.grid(visible=True, color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    plain(ax)
    legend(ax)
    return ax


def _varied(adata: AnnData, key: str, name: str) -> str:
    """Return the one column of a summary that says what was varied."""
    frame = results.frame(adata, key, name)
    fixed = ("representation", "metric", *STATISTICS)
    varied = []
    if "metric" in frame:  # else it has a row per fold, and its columns do not say which of them was varied
        varied = [column for column in frame.columns if column not in fixed]
    if len(varied) > 1:
        msg = (
            f"The table {name!r} of {key!r} has several columns for what was varied: {listed(varied)}. Name one with "
            "x=."
        )
        raise KeyError(msg)
    if not varied:
        msg = (
            f"The table {name!r} of {key!r} does not say what was varied; it has the columns {listed(frame.columns)}. "
            f"Draw it with pl.scores(adata, {key!r}), or name a column with x= (and with table= one of "
            f"{listed(_tables(adata, key))})."
        )
        raise KeyError(msg)
    return varied[0]


def _summarised(adata: AnnData, key: str, x: str, metric: str, name: str | None) -> pd.DataFrame:
    """Return mean, sd, low and high of one score per representation and value of `x`."""
    frame = _fitting(adata, key, x, metric, name)
    if "metric" not in frame:
        return results.summary(frame, by=["representation", x], metrics=[metric])
    known(metric, list(frame["metric"].unique()), what="score in this result", fix="Name one of these with metric=.")
    return frame[frame["metric"] == metric]


def _fitting(adata: AnnData, key: str, x: str, metric: str, name: str | None) -> pd.DataFrame:
    """Return the table to draw: the one named, or a summary that varies `x`, or scores that do."""
    # a summary is preferred: it holds the interval of the mean, which rows of folds do not
    frames = {}
    names = [name] if name else _tables(adata, key)
    for table_name in names:
        frame = results.frame(adata, key, table_name)
        if {"representation", x} <= set(frame.columns) and (
            {"metric", "mean"} <= set(frame.columns) or metric in frame
        ):
            frames[table_name] = frame
    if not frames:
        searched = f"No table of {key!r} ({listed(_tables(adata, key))}) has the columns"
        if name:
            searched = f"The table {name!r} of {key!r} has no the columns"
        msg = (
            f"{searched} 'representation' and {x!r} with the score {metric!r}. "
            f"Look at get.result(adata, {key!r}, table=table), and name the column with x= and the score with metric=."
        )
        raise KeyError(msg)
    return min(frames.values(), key=lambda frame: "metric" not in frame)


def _tables(adata: AnnData, key: str) -> list[str]:
    """Return the names of the tables of a result."""
    return [str(name) for name, value in results.entry(adata, key).items() if hasattr(value, "columns")]
