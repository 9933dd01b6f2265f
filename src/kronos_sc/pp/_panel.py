"""Channels of an image → markers of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc import markers
from kronos_sc._core.checks import listed, repeated
from kronos_sc._core.resolve import require_spatialdata
from kronos_sc.patches import raster

if TYPE_CHECKING:
    from spatialdata import SpatialData

PANEL_COLUMNS = ("channel", "marker", "id", "mean", "std", "how")


def match_markers(
    sdata: SpatialData,
    *,
    vocabulary: Any = None,
    image_key: str | None = None,
    channels: Mapping[str, str | None] | Sequence[str] | pd.DataFrame | None = None,
    stats: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Show which marker of a model each channel of an image is.

    Look at it before embedding; correct it with `channels`, or edit the frame and hand it to `tl.embed(..., channels=frame)`.

    Parameters
    ----------
    sdata
        Holds the image.
    vocabulary
        A loaded model (`models.load(...)`), a :class:`~kronos_sc.markers.Vocabulary`, or None for the 175 markers of the paper
        (Table S2), without statistics.
    image_key
        Which image; the only one if left out.
    channels
        A mapping from channel to marker name, `"unseen"` (the model has never seen it: it gets a free id) or None (leave it out);
        or a list of the channels to keep; or a panel returned by this function.
    stats
        Mean and std per channel from :func:`marker_stats`; they replace the model's own for the channels listed.

    Returns
    -------
    One row per channel: `channel`, `marker`, `id` (int64, −1 for none), `mean` and `std` (of pixels scaled to [0, 1]), `role`, `how`
    ("exact", "alias", "given", "unseen", "ambiguous" or "dropped"), `near` (similar names) and `note`.

    Raises
    ------
    KeyError
        A channel or marker named in `channels` does not exist.
    """
    require_spatialdata(sdata)
    names = raster(sdata, image_key).channels
    known = markers.paper_vocabulary() if vocabulary is None else getattr(vocabulary, "vocabulary", vocabulary)
    if not isinstance(known, markers.Vocabulary):
        msg = (
            f"vocabulary must be a loaded model or a Vocabulary, got {vocabulary!r}. Load a model by name with models.load({vocabulary!r})."
        )
        raise TypeError(msg)
    panel = resolve_panel(names, known, channels)
    return panel if stats is None else with_statistics(panel, stats, replace=True)


def resolve_panel(names: Sequence[str], vocabulary: markers.Vocabulary, channels: Any) -> pd.DataFrame:
    """Return the panel of channels under a user's wishes: a mapping, a list of channels to keep, or a finished panel."""
    if isinstance(channels, pd.DataFrame):
        return _finished(channels, names, vocabulary)
    if channels is None or isinstance(channels, Mapping):
        return markers.match(names, vocabulary, given=dict(channels or {}))
    if isinstance(channels, str):
        channels = [channels]
    unknown = [name for name in channels if name not in names]
    if unknown:
        msg = f"The image has no channel {listed(unknown)}; it has: {listed(names, most=60)}. Name channels as the image spells them."
        raise KeyError(msg)
    return markers.match(names, vocabulary, given={name: None for name in names if name not in set(channels)})


def _finished(panel: pd.DataFrame, names: Sequence[str], vocabulary: markers.Vocabulary) -> pd.DataFrame:
    """Return a panel that the user brings, checked against the image and the model."""
    missing = [column for column in PANEL_COLUMNS if column not in panel.columns]
    if missing:
        msg = f"A panel needs the columns {listed(PANEL_COLUMNS)}; missing: {listed(missing)}. Start from pp.match_markers(sdata)."
        raise ValueError(msg)
    used = panel[panel["id"] >= 0]
    strange = [name for name in used["channel"] if name not in names]
    if strange:
        msg = f"The panel names channels that the image does not have: {listed(strange)}. The image has: {listed(names, most=60)}."
        raise KeyError(msg)
    if twice := repeated(panel["channel"].astype(str)):
        msg = f"The panel has several rows for {listed(twice)}; a channel is one marker. Keep one row of each."
        raise ValueError(msg)
    if foreign := [row.channel for row in used.itertuples() if not _fits(row, vocabulary)]:
        msg = (
            f"The panel was made for another vocabulary than {vocabulary.name!r}: the ids of {listed(foreign)} are not the model's. "
            "Make it again with pp.match_markers(sdata, vocabulary=model)."
        )
        raise ValueError(msg)
    return panel.reset_index(drop=True)


def _fits(row: Any, vocabulary: markers.Vocabulary) -> bool:
    """Whether a row of a panel has the id that the model gives its marker, or a free one for a marker it has not seen."""
    if row.how == "unseen":
        return any(row.id in vocabulary.free_ids(role) for role in ("nuclear", "other"))
    marker = vocabulary.spelt(str(row.marker))
    return marker is not None and marker.id == row.id


def with_statistics(panel: pd.DataFrame, stats: pd.DataFrame, *, replace: bool) -> pd.DataFrame:
    """Return the panel with mean and std per channel from `stats`, everywhere or (`replace=False`) only where the model has none."""
    panel = panel.copy()
    here = panel["channel"].isin(stats.index)
    if not replace:
        here &= ~np.isfinite(panel["std"].to_numpy(float))
    for column in ("mean", "std"):
        panel.loc[here, column] = stats[column].reindex(panel.loc[here, "channel"]).to_numpy()
    return panel
