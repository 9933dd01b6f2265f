"""Channels of an image → markers of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc import markers
from kronos_sc._core.checks import listed, repeated
from kronos_sc._core.resolve import require_spatialdata
from kronos_sc.markers._distinct import numbered
from kronos_sc.markers._panel_file import read_channel_names
from kronos_sc.markers._selection import require_used, selected
from kronos_sc.patches import raster

if TYPE_CHECKING:
    from spatialdata import SpatialData

PANEL_COLUMNS = ("channel", "marker", "id", "mean", "std", "how")


def match_markers(
    sdata: SpatialData | Sequence[str] | str | Path,
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
        Holds the image; or names of channels, or the path of a panel file that holds them (CSV, TSV, text), to know before an image is
        converted.
    vocabulary
        A loaded model (`models.load(...)`), a :class:`~kronos_sc.markers.Vocabulary`, or None for the 175 markers of the paper
        (Table S2), without statistics.
    image_key
        Which image; the only one if left out.
    channels
        A mapping from channel to marker name, `"unseen"` (the model has never seen it: it gets a free id) or None (leave it out);
        or a list of the channels to keep, in which `"AR=unseen"` and `"Ch3=CD3"` say what a channel is; or a panel returned by
        this function.
    stats
        Mean and std per channel from :func:`marker_stats`; they replace the model's own for the channels listed.

    Returns
    -------
    One row per channel: `channel`, `marker`, `how` ("exact", "alias", "given", "unseen", "ambiguous" or "dropped"), `note` (why it has no
    marker, or for which channel it is left out), `near` (similar names), `id` (int64, −1 for none), `role`, `mean` and `std` (of pixels
    scaled to [0, 1]).

    Raises
    ------
    KeyError
        A channel or marker named in `channels` does not exist.
    ValueError
        A channel listed in `channels` has no marker; a panel file cannot be read.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> ks.pp.match_markers(["DNA_1", "rb CD3e Cy5", "DNA_2", "Blank"])[["channel", "marker", "how"]]
           channel marker      how
    0        DNA_1   DAPI    alias
    1  rb CD3e Cy5    CD3    alias
    2        DNA_2         dropped
    3        Blank         dropped
    """
    names = _names(sdata, image_key)
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
    chosen = selected(channels, names)
    given: dict[str, str | None] = {name: None for name in names if name not in chosen}
    panel = markers.match(names, vocabulary, given=given | {name: marker for name, marker in chosen.items() if marker})
    require_used(panel, chosen)
    return panel


def _names(source: Any, image_key: str | None) -> Sequence[str]:
    """Return the channel names of an image, of a list or of a file."""
    if isinstance(source, (str, Path)):
        return read_channel_names(source, argument="sdata")
    if isinstance(source, (list, tuple, np.ndarray, pd.Index, pd.Series)) and all(isinstance(name, str) for name in source):
        return numbered(list(source), "sdata")
    require_spatialdata(source)
    return raster(source, image_key).channels


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
