"""A list of channels: which to use, and what some of them are ("AR=unseen")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kronos_sc._core.checks import listed
from kronos_sc.markers._row import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import pandas as pd


def selected(items: Iterable[str] | str, names: Collection[str]) -> dict[str, str]:
    """Return channel → what the user says it is ("" for those listed without), in the order listed.

    Parameters
    ----------
    items
        Names of channels, or "channel=marker"; a name that holds "=" itself is the channel's, as long as there is such
        a channel.
    names
        Of the channels that exist.

    Raises
    ------
    KeyError
        A channel does not exist.
    ValueError
        A channel is said to be two markers.
    """
    if unknown := unlisted(items, names):
        msg = (
            f"The image has no channel {listed(unknown)}; it has: {listed(names, most=60)}. Name channels as the image "
            "spells them."
        )
        raise KeyError(msg)
    chosen: dict[str, str] = {}
    for item in _each(items):
        channel, marker = _parted(item, names)
        if chosen.get(channel, marker) != marker:
            msg = (
                f"channels names {channel!r} as {chosen[channel] or channel!r} and as {marker or channel!r}. Name each "
                "channel once."
            )
            raise ValueError(msg)
        chosen[channel] = marker
    return chosen


def unlisted(items: Iterable[str] | str, names: Collection[str]) -> list[str]:
    """Return the items that name no channel."""
    return [item for item in _each(items) if not _parted(item, names)[0]]


def _each(items: Iterable[str] | str) -> list[str]:
    return [items] if isinstance(items, str) else [str(item) for item in items]


def require_used(panel: pd.DataFrame, chosen: dict[str, str]) -> None:
    """Raise a ValueError if a channel that the caller listed has no marker.

    Names of several are left to :func:`check`.
    """
    rows = panel.set_index("channel", drop=False).loc[list(chosen)]
    unusable = rows[(rows["id"] < 0) & (rows["how"] != "ambiguous")]
    if not len(unusable):
        return
    described = "; ".join(_described(row) for row in unusable.itertuples())
    fix = [item for row in rows.itertuples() if (item := _usable(row, chosen[row.channel]))]
    msg = (
        f"{len(unusable)} of {len(rows)} channels listed in channels= have no marker to be read as: {described}. "
        f"Say what they are, or leave them out of the list: channels={fix!r}. '=unseen' stands for a "
        "marker that the model has not seen; pp.match_markers shows them all."
    )
    raise ValueError(msg)


def _described(row: Any) -> str:
    near = f", near {row.near}" if row.near else ""
    return f"{row.channel!r} ({row.note}{near})"


def _usable(row: Any, marker: str) -> str:
    """Return how to list a channel; "" for one that is no marker, or stands for one that another channel has."""
    if row.id >= 0 or row.how == "ambiguous":
        return f"{row.channel}={marker}" if marker else row.channel
    if row.note == UNKNOWN and row.near:
        return f"{row.channel}={row.near.split(', ')[0]}"
    if row.note.startswith((UNKNOWN, "known protein", "name of several")):
        return f"{row.channel}=unseen"
    return ""


def _parted(item: str, names: Collection[str]) -> tuple[str, str]:
    """Return the channel of an item, the longest there is, and what is said of it.

    "" and "" if there is no such channel.
    """
    if item in names:
        return item, ""
    for position in reversed([i for i, letter in enumerate(item) if letter == "="]):
        marker = item[position + 1 :].strip()
        for channel in (item[:position], item[:position].strip()):
            if channel in names and marker:
                return channel, marker
    return "", ""
