"""Channels that were named, and match nothing: what to say about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kronos_sc._core.checks import listed
from kronos_sc.markers._check import with_what_was_said
from kronos_sc.markers._one_each import ANOTHER_NAME, ANOTHER_STAIN, is_second, noted
from kronos_sc.markers._row import BY_YOU, NOT_A_MARKER, UNKNOWN

if TYPE_CHECKING:
    import pandas as pd


def lost(panel: pd.DataFrame) -> str | None:
    """Return a warning where named antibodies are lost, or None.

    They are: if a name that nobody knows is near a marker's, or if fewer than half of the named channels match. Blanks,
    elements, totals and dyes are no names, and a second channel of a marker is not lost.
    """
    named = panel[~panel["note"].isin([NOT_A_MARKER, BY_YOU])]
    missing = named[(named["id"] < 0) & ~is_second(named)]
    similar = missing[(missing["note"] == UNKNOWN) & (missing["near"] != "")]
    few = 2 * len(missing) > len(named)
    shown = missing if few else similar
    if not len(shown):
        return None
    described = ", ".join(_described(row) for row in shown.itertuples())
    fix = with_what_was_said(panel, {row.channel: _best(row) for row in shown.itertuples()})
    if few:
        n_matched = len(named) - len(missing)
        summary = f"Of {len(named)} named channels, {n_matched} match a marker; these are left out: {described}."
    else:
        summary = (
            f"{len(shown)} of {len(named)} named channels are left out, although their names are near a marker's: "
            f"{described}."
        )
    return (
        f"{summary} Say what they are with channels={fix!r} (correct it first; 'unseen' is a marker that the model has "
        "not seen, None leaves a channel out), or see pp.match_markers(sdata) for the whole panel."
    )


def stains_left_out(panel: pd.DataFrame) -> str | None:
    """Return a line about the nuclear stains of further cycles, or None where there are none."""
    rows = panel[noted(panel, ANOTHER_STAIN)]
    if not len(rows):
        return None
    first = rows.iloc[0]
    other = with_what_was_said(panel, {first["channel"]: first["near"]})
    return (
        f"{first['note'].partition(': ')[2]}, and the nuclear stains of other cycles are left out: "
        f"{listed(rows['channel'], most=60)} (another one: channels={other!r})"
    )


def names_left_out(panel: pd.DataFrame) -> str | None:
    """Return a warning about channels that are a marker of which another channel has the very name.

    None where there are none.
    """
    rows = panel[noted(panel, ANOTHER_NAME)]
    if not len(rows):
        return None
    described = "; ".join(f"{row.channel!r} is {row.note}" for row in rows.itertuples())
    instead = with_what_was_said(panel, dict(zip(rows["channel"], rows["near"], strict=True)))
    drop = with_what_was_said(panel, dict.fromkeys(rows["channel"]))
    return (
        f"{len(rows)} channel(s) are left out, because a marker is read once: {described}. Read them instead with "
        f"channels={instead!r}, or say that they are to be left out with channels={drop!r}."
    )


def _best(row: Any) -> str:
    """Return what to propose: the nearest marker for a name that nobody knows.

    Another protein is never taken for its kin.
    """
    if _is_near_a_marker(row):
        return row.near.split(", ")[0]
    return "unseen"


def _described(row: Any) -> str:
    why = f"near {row.near}" if _is_near_a_marker(row) else row.note
    return f"{row.channel!r} ({why})"


def _is_near_a_marker(row: Any) -> bool:
    return row.near != "" and row.note == UNKNOWN
