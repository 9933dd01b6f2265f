"""Of several channels that are one marker, the one to read: a model reads each marker once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc.markers._concepts import STAIN, lookup
from kronos_sc.markers._row import NO_ID

if TYPE_CHECKING:
    from collections.abc import Hashable

    import pandas as pd

# Notes of the channels that are left out, "{}" being the one that is read.
ANOTHER_STAIN = "nuclear stain of another cycle: {} is read"
ANOTHER_NAME = "the same marker as {}, which has its very name"
NOT_GIVEN = "the same marker as {}, which you named"


def one_each(panel: pd.DataFrame) -> pd.DataFrame:
    """Return a panel with a marker for one channel of each, where it is clear which.

    The marker of the others is `near`.

    What the user said comes first. Of nuclear stains (one in every cycle) the first is taken; of other channels the one
    that is called like the marker. Equals all stay, for :func:`check` to name them.
    """
    panel = panel.copy()
    for _, same in panel[panel["id"] >= 0].groupby("id", sort=False):
        chosen, note = _chosen(same)
        if chosen is None:
            continue
        others = same.index.drop(chosen)
        panel.loc[others, "near"] = same["marker"]
        panel.loc[others, "note"] = note.format(repr(same.loc[chosen, "channel"]))
        panel.loc[others, ["marker", "how", "role"]] = ["", "dropped", ""]
        panel.loc[others, "id"] = NO_ID
        panel.loc[others, ["mean", "std"]] = float("nan")
    return panel


def noted(panel: pd.DataFrame, note: str) -> pd.Series:
    """Return which rows of a panel have one of the notes above, whichever channel it names."""
    before, after = note.split("{}")
    notes = panel["note"].astype(str)
    return notes.str.startswith(before) & notes.str.endswith(after)


def is_second(panel: pd.DataFrame) -> pd.Series:
    """Return which rows of a panel are a further channel of a marker that another channel stands for."""
    return noted(panel, ANOTHER_STAIN) | noted(panel, ANOTHER_NAME) | noted(panel, NOT_GIVEN)


def _chosen(same: pd.DataFrame) -> tuple[Hashable | None, str]:
    """Return the row to read of those of one marker, and the note of the others.

    None where they are equals, or there is one.
    """
    by_user = same.index[same["how"].isin(["given", "unseen"])]
    exact = same.index[same["how"] == "exact"]
    if len(same) == 1 or len(by_user) > 1:
        return None, ""
    if len(by_user):
        return by_user[0], NOT_GIVEN
    if _is_counterstain(same["marker"].iloc[0], same["role"].iloc[0]):
        return same.index[0], ANOTHER_STAIN
    if len(exact) == 1:
        return exact[0], ANOTHER_NAME
    return None, ""


def _is_counterstain(marker: str, role: str) -> bool:
    """Whether a marker is the dye of nuclei, and not a protein of theirs such as Histone H3."""
    concept = lookup(marker)
    return role == "nuclear" and not (concept and concept.is_marker and concept.name != STAIN)
