"""The panel of a call: which marker each channel is, and which channels are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core.checks import listed, repeated
from kronos_sc.markers._check import check
from kronos_sc.markers._match import match
from kronos_sc.markers._selection import require_used, selected

if TYPE_CHECKING:
    from kronos_sc.markers._vocabulary import Vocabulary

PANEL_COLUMNS = ("channel", "marker", "id", "mean", "std", "how")


@dataclass(frozen=True)
class Panel:
    """The channels of an image, and the marker that each of them is.

    Parameters
    ----------
    frame
        One row per channel, as :func:`kronos_sc.markers.match` returns them; the id of a channel that is not read is
        -1.
    """

    frame: pd.DataFrame

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        vocabulary: Vocabulary,
        channels: Mapping[str, str | None] | Sequence[str] | pd.DataFrame | None = None,
    ) -> Panel:
        """Match channels under a user's wishes.

        Parameters
        ----------
        names
            Of the channels of an image.
        vocabulary
            What the model knows.
        channels
            A mapping from channel to marker, a list of the channels to keep, or a finished panel.

        Raises
        ------
        KeyError
            A channel or marker named in `channels` does not exist.
        ValueError
            A channel listed in `channels` has no marker; a finished panel lacks columns, or belongs to another
            vocabulary.
        """
        if isinstance(channels, pd.DataFrame):
            return cls(_finished(channels, names, vocabulary))
        if channels is None or isinstance(channels, Mapping):
            return cls(match(names, vocabulary, given=dict(channels or {})))

        chosen = selected(channels, names)
        given: dict[str, str | None] = {name: None for name in names if name not in chosen}
        given |= {name: marker for name, marker in chosen.items() if marker}
        frame = match(names, vocabulary, given=given)
        require_used(frame, chosen)
        return cls(frame)

    @property
    def is_used(self) -> pd.Series:
        """Whether each channel is read (bool)."""
        return self.frame["id"] >= 0

    @property
    def used(self) -> pd.DataFrame:
        """Rows of the channels that are read, in panel order."""
        return self.frame[self.is_used]

    @property
    def dropped(self) -> pd.DataFrame:
        """Rows of the channels that are not read."""
        return self.frame[~self.is_used]

    @property
    def channels(self) -> list[str]:
        """Names of the channels that are read."""
        return list(self.used["channel"])

    @property
    def markers(self) -> list[str]:
        """Names of the markers that are read."""
        return list(self.used["marker"])

    def check(self, *, require_nuclear: bool = True, require_statistics: bool = True) -> None:
        """Raise an error that names the fix unless the panel can be embedded; see :func:`kronos_sc.markers.check`."""
        check(self.frame, require_nuclear=require_nuclear, require_statistics=require_statistics)

    def with_statistics(self, stats: pd.DataFrame, *, replace: bool) -> Panel:
        """Return the panel with mean and std per channel from `stats`.

        Everywhere, or (`replace=False`) only where the model has none.
        """
        frame = self.frame.copy()
        measured = frame["channel"].isin(stats.index)
        if not replace:
            measured &= ~np.isfinite(frame["std"].to_numpy(float))
        for column in ("mean", "std"):
            frame.loc[measured, column] = stats[column].reindex(frame.loc[measured, "channel"]).to_numpy()
        return Panel(frame)

    def without_scaling(self) -> Panel:
        """Return the panel with statistics that leave pixels as they are, for models that need none."""
        mean = self.frame["mean"].where(~self.is_used, 0.0)
        std = self.frame["std"].where(~self.is_used, 1.0)
        return Panel(self.frame.assign(mean=mean, std=std))


def _finished(frame: pd.DataFrame, names: Sequence[str], vocabulary: Vocabulary) -> pd.DataFrame:
    """Return a panel that the user brings, checked against the image and the model."""
    missing = [column for column in PANEL_COLUMNS if column not in frame.columns]
    if missing:
        msg = (
            f"A panel needs the columns {listed(PANEL_COLUMNS)}; missing: {listed(missing)}. Start from "
            "pp.match_markers(sdata)."
        )
        raise ValueError(msg)
    used = Panel(frame).used
    unknown = [name for name in used["channel"] if name not in names]
    if unknown:
        msg = (
            f"The panel names channels that the image does not have: {listed(unknown)}. The image has: "
            f"{listed(names, most=60)}."
        )
        raise KeyError(msg)
    if twice := repeated(frame["channel"].astype(str)):
        msg = f"The panel has several rows for {listed(twice)}; a channel is one marker. Keep one row of each."
        raise ValueError(msg)
    if foreign := [row.channel for row in used.itertuples() if not _fits(row, vocabulary)]:
        msg = (
            f"The panel was made for another vocabulary than {vocabulary.name!r}: the ids of {listed(foreign)} are not "
            "the model's. "
            "Make it again with pp.match_markers(sdata, vocabulary=model)."
        )
        raise ValueError(msg)
    return frame.reset_index(drop=True)


def _fits(row: Any, vocabulary: Vocabulary) -> bool:
    """Whether a row of a panel has the id that the model gives its marker, or a free one for an unseen marker."""
    if row.how == "unseen":
        return any(row.id in vocabulary.free_ids(role) for role in ("nuclear", "other"))
    marker = vocabulary.spelt(str(row.marker))
    return marker is not None and marker.id == row.id
