"""The panel report: which channel is which marker, and how that was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc import get
from kronos_sc._core.checks import listed
from kronos_sc.pl._axes import axes_or_new, hide_frame

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

# By certainty: what needs a look is warm, what needs none is cool.
HOW_COLORS = {
    "exact": "#1b8a6b",
    "alias": "#2f74c0",
    "given": "#7a4fbf",
    "unseen": "#c98a00",
    "ambiguous": "#d1495b",
    "dropped": "#8a8f98",
}
_COLUMNS = {"channel": 0.0, "marker": 0.25, "id": 0.44, "mean": 0.52, "std": 0.6, "remark": 0.625}
_ROW = 0.21  # inches
_WIDTH = 9.5
_LINES_OF_HEAD = 2.2


def markers(
    panel: pd.DataFrame | AnnData | SpatialData,
    *,
    key: str = "kronos",
    table_key: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show the panel: which marker of the model each channel is, how it was matched, and what was left out.

    Read it before trusting an embedding. Channels that need a look are in warm colours: ambiguous names, markers that
    the model has not seen. The figure grows with the panel.

    Parameters
    ----------
    panel
        A frame of :func:`kronos_sc.pp.match_markers`, or a table (or the SpatialData that holds it) with an embedding.
    key
        `key_added` of the embedding.
    table_key
        Which table of a SpatialData; the only one if left out.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes: one row per channel with channel, marker, id, mean and std (of pixels scaled to [0, 1]) and a remark.

    Raises
    ------
    KeyError
        The table has no record of an embedding.
    ValueError
        The frame is no panel, or it is empty.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(64, 64), channels=["DAPI", "CD8"])
    >>> ks.pl.markers(ks.pp.match_markers(sdata)).get_title(loc="left")
    '2 of 2 channels are markers'
    """
    rows, model = _rows(panel, key, table_key)
    lines = len(rows) + _LINES_OF_HEAD
    ax = axes_or_new(ax, size=(_WIDTH, lines * _ROW + 0.4))
    hide_frame(ax)
    ax.set(xlim=(0, 1), ylim=(len(rows), -_LINES_OF_HEAD))
    title = f"{int((rows['id'] >= 0).sum())} of {len(rows)} channels are markers"
    if model:
        title += f" of {model}"
    ax.set_title(title, loc="left", fontsize="medium")
    # the head and the legend lie above row 0, in the space that the limits leave
    _legend(ax, rows)
    _head(ax)
    for number, row in enumerate(rows.to_dict("records")):
        _line(ax, number, row)
    return ax


def _rows(panel: Any, key: str, table_key: str | None) -> tuple[pd.DataFrame, str]:
    """Return the panel with every column that is shown, and the model's name if it is recorded."""
    model = ""
    if not isinstance(panel, pd.DataFrame):
        record = get.record(panel, key=key, table_key=table_key)
        model = str(record["model"]["name"])
        panel = record["panel"]
        # the model never saw the channels left out, so its panel lacks them; the reader looks for them
        left_out = pd.DataFrame(
            {"channel": [str(c) for c in record["left_out"]], "marker": "", "id": -1, "how": "dropped"}
        )
        if len(left_out):
            panel = pd.concat([panel, left_out], ignore_index=True)
    needed = ("channel", "marker", "id", "mean", "std", "how")
    if missing := [column for column in needed if column not in panel.columns]:
        msg = (
            f"A panel needs the columns {listed(needed)}; missing: {listed(missing)}. Make one with "
            "pp.match_markers(sdata)."
        )
        raise ValueError(msg)
    if not len(panel):
        msg = "The panel has no rows, so there is nothing to show. Make one with pp.match_markers(sdata)."
        raise ValueError(msg)
    panel = panel.reset_index(drop=True)
    for column in ("near", "note"):
        if column not in panel:
            panel[column] = ""
        panel[column] = panel[column].fillna("").astype(str)
    return _with_doubles(panel), model


def _with_doubles(panel: pd.DataFrame) -> pd.DataFrame:
    """Return the panel with a note on channels that share a marker: a model takes each marker once."""
    twice = (panel["id"] >= 0) & panel.duplicated("id", keep=False)
    for i in panel.index[twice]:
        others = panel.index[(panel["id"] == panel.loc[i, "id"]) & (panel.index != i)]
        panel.loc[i, "note"] = f"same marker as {listed(panel.loc[others, 'channel'], most=2)}: drop one"
    return panel


def _legend(ax: Axes, rows: pd.DataFrame) -> None:
    """Count each way of matching, in its colour."""
    from matplotlib.lines import Line2D

    counts = rows["how"].value_counts()
    present = [kind for kind in HOW_COLORS if counts.get(kind, 0)]
    handles = [Line2D([], [], marker="o", linestyle="", color=HOW_COLORS[kind]) for kind in present]
    ax.legend(
        handles,
        [f"{counts[kind]} {kind}" for kind in present],
        loc="upper left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=len(present),
        frameon=False,
        fontsize="small",
        handletextpad=0.1,
        columnspacing=1.2,
        borderaxespad=0,
    )


def _head(ax: Axes) -> None:
    for name, x in _COLUMNS.items():
        ax.text(x, -0.55, name, fontsize="small", fontweight="bold", va="center_baseline", ha=_align(name))
    ax.axhline(0, color="0.55", linewidth=0.8)


def _align(column: str) -> str:
    return "right" if column in ("id", "mean", "std") else "left"


def _line(ax: Axes, number: int, row: dict[str, Any]) -> None:
    """Write one channel."""
    color = HOW_COLORS.get(str(row["how"]), HOW_COLORS["dropped"])
    matched = row["id"] >= 0
    if number % 2:
        ax.axhspan(number, number + 1, color="0.5", alpha=0.09, linewidth=0)
    ax.plot(_COLUMNS["marker"] - 0.015, number + 0.5, "o", color=color, markersize=4.5, clip_on=False)
    cells = dict.fromkeys(_COLUMNS, "")
    cells |= {"channel": _cut(str(row["channel"]), 28), "marker": str(row["how"]), "remark": _remark(row)}
    if matched:
        cells |= {name: str(row[name]) for name in ("marker", "id")}
        cells |= {name: _number(row[name]) for name in ("mean", "std")}
    for name, text in cells.items():
        style = {}
        if name == "marker":
            style["color"] = color
            if not matched:
                style["fontstyle"] = "italic"
        ax.text(_COLUMNS[name], number + 0.5, text, fontsize="small", va="center_baseline", ha=_align(name), **style)


def _remark(row: dict[str, Any]) -> str:
    """Return what to know or do about a channel."""
    parts = []
    if row["note"]:
        parts.append(str(row["note"]))
    if row["near"]:
        parts.append(f"near: {row['near']}")
    return _cut("; ".join(parts), 46)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _number(value: Any) -> str:
    return "–" if value is None or not np.isfinite(float(value)) else f"{float(value):.4f}"
