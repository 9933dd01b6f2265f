"""Channels of an image → markers of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc import markers
from kronos_sc._core.resolve import require_spatialdata
from kronos_sc.markers._distinct import numbered
from kronos_sc.markers._panel import Panel
from kronos_sc.markers._panel_file import read_channel_names
from kronos_sc.patches import raster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spatialdata import SpatialData


def match_markers(
    sdata: SpatialData | Sequence[str] | str | Path,
    *,
    vocabulary: Any = None,
    image_key: str | None = None,
    channels: Mapping[str, str | None] | Sequence[str] | pd.DataFrame | None = None,
    stats: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Show which marker of a model each channel of an image is.

    Look at it before embedding; correct it with `channels`, or edit the frame and hand it to `tl.embed(...,
    channels=frame)`.

    Parameters
    ----------
    sdata
        Holds the image; or names of channels, or the path of a panel file that holds them (CSV, TSV, text), to know
        before an image is converted.
    vocabulary
        A loaded model (`models.load(...)`), a :class:`~kronos_sc.markers.Vocabulary`, or None for the 175 markers of
        the paper (Table S2), without statistics.
    image_key
        Which image; the only one if left out.
    channels
        A mapping from channel to marker name, `"unseen"` (the model has never seen it: it gets a free id) or None
        (leave it out); or a list of the channels to keep, in which `"AR=unseen"` and `"Ch3=CD3"` say what a channel is;
        or a panel returned by this function.
    stats
        Mean and std per channel from :func:`marker_stats`; they replace the model's own for the channels listed.

    Returns
    -------
    One row per channel: `channel`, `marker`, `how` ("exact", "alias", "given", "unseen", "ambiguous" or "dropped"),
    `note` (why it has no marker, or for which channel it is left out), `near` (similar names), `id` (int64, −1 for
    none), `role`, `mean` and `std` (of pixels scaled to [0, 1]).

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
    known_markers = getattr(vocabulary, "vocabulary", vocabulary)  # a loaded model has one
    if vocabulary is None:
        known_markers = markers.paper_vocabulary()
    if not isinstance(known_markers, markers.Vocabulary):
        msg = (
            f"vocabulary must be a loaded model or a Vocabulary, got {vocabulary!r}. Load a model by name with "
            f"models.load({vocabulary!r})."
        )
        raise TypeError(msg)
    panel = Panel.of(names, known_markers, channels)
    if stats is not None:
        panel = panel.with_statistics(stats, replace=True)
    return panel.frame


def _names(source: Any, image_key: str | None) -> Sequence[str]:
    """Return the channel names of an image, of a list or of a file."""
    if isinstance(source, (str, Path)):
        return read_channel_names(source, argument="sdata")
    if isinstance(source, (list, tuple, np.ndarray, pd.Index, pd.Series)) and all(
        isinstance(name, str) for name in source
    ):
        return numbered(list(source), "sdata")
    require_spatialdata(source)
    return raster(source, image_key).channels
