"""Whether a matched panel can be embedded, before any work starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.checks import listed
from kronos_sc.markers._row import BY_YOU

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("channel", "marker", "id", "mean", "std", "role", "how", "near")


def check(panel: pd.DataFrame, *, require_nuclear: bool = True, require_statistics: bool = True) -> None:
    """Raise an error that names the fix, unless a panel of :func:`match` can be embedded.

    Parameters
    ----------
    panel
        What :func:`match` returned, with the statistics of unseen markers filled in.
    require_nuclear
        Whether a nuclear stain must be among the matched channels; the models were trained with one in every image.
    require_statistics
        Whether every matched channel must have a mean and a standard deviation.

    Raises
    ------
    ValueError
        A channel name may mean several markers; no channel has a marker; two channels have one id; no nuclear stain is
        matched; or a matched channel has no finite mean and standard deviation.
    """
    _columns(panel)
    _ambiguous(panel, panel[panel["how"] == "ambiguous"])
    matched = panel[panel["id"] >= 0]
    if not len(matched):
        msg = (
            f"None of the {len(panel)} channels matches a marker of the model: {listed(panel['channel'])}. "
            "If these are names of files or dyes, say what was stained with channels={'channel': 'CD3'}."
        )
        raise ValueError(msg)
    _one_channel_each(panel, matched)
    if require_nuclear and not (matched["role"] == "nuclear").any():
        msg = (
            f"No matched channel is a nuclear stain; matched are {listed(matched['marker'])}. "
            "Name yours with channels={'channel': 'DAPI'}, or go without one with require_nuclear=False."
        )
        raise ValueError(msg)
    if require_statistics:
        _statistics(matched)


def _columns(panel: pd.DataFrame) -> None:
    if missing := [column for column in NEEDED if column not in panel.columns]:
        msg = (
            f"The panel lacks the columns {listed(missing)}; it has {listed(panel.columns)}. Make it with "
            "markers.match(…)."
        )
        raise ValueError(msg)


def with_what_was_said(panel: pd.DataFrame, more: dict[str, str | None]) -> dict[str, str | None]:
    """Return what to pass as `channels=`: what the call says already, and what is missing.

    A second mapping would otherwise undo what the first one said.
    """
    said: dict[str, str | None] = {}
    for row in panel.itertuples():
        if row.how == "given":
            said[row.channel] = row.marker
        elif row.how == "unseen":
            said[row.channel] = row.how
        elif getattr(row, "note", "") == BY_YOU:
            said[row.channel] = None
    return said | more


def _ambiguous(panel: pd.DataFrame, rows: pd.DataFrame) -> None:
    if not len(rows):
        return
    described = "; ".join(f"{row.channel!r} may be {row.near}" for row in rows.itertuples())
    fix = with_what_was_said(panel, {row.channel: row.near.split(", ")[0] for row in rows.itertuples()})
    drop = with_what_was_said(panel, dict.fromkeys(rows["channel"]))
    msg = (
        f"The name of {len(rows)} channel(s) means several markers: {described}. "
        f"Choose with channels={fix!r} or drop with channels={drop!r}."
    )
    raise ValueError(msg)


def _one_channel_each(panel: pd.DataFrame, matched: pd.DataFrame) -> None:
    again = matched["id"].duplicated()
    if not again.any():
        return
    sharing = matched[matched["id"].isin(matched.loc[again, "id"])]
    groups = [rows for _, rows in sharing.groupby("id", sort=False)]
    described = "; ".join(f"{rows['marker'].iloc[0]} is {listed(rows['channel'])}" for rows in groups)
    drop = with_what_was_said(panel, dict.fromkeys(matched.loc[again, "channel"]))
    msg = (
        f"Several channels match one marker, which can be read once: {described}. "
        f"Keep the first of each with channels={drop!r}, or drop others, or map them to the markers that they are."
    )
    raise ValueError(msg)


def _statistics(matched: pd.DataFrame) -> None:
    finite = np.isfinite(matched["mean"]) & np.isfinite(matched["std"])
    if not finite.all():
        lacking = matched.loc[~finite, "channel"]
        msg = (
            f"{len(lacking)} of {len(matched)} matched channels have no mean and standard deviation: "
            f"{listed(lacking)}. Measure them: channels=pp.match_markers(sdata, vocabulary=model, "
            "stats=pp.marker_stats(sdata)); or drop the channels."
        )
        raise ValueError(msg)
    if not (matched["std"] > 0).all():
        constant = matched.loc[matched["std"] <= 0, "channel"]
        msg = (
            f"The standard deviation of {listed(constant)} is not positive; pixels are divided by it. "
            "Measure it with pp.marker_stats on an image in which the channel is not constant, or drop the channel."
        )
        raise ValueError(msg)
