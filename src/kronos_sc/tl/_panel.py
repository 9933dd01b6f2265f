"""One panel for all images of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc import markers
from kronos_sc._core.checks import listed
from kronos_sc.pp._marker_stats import raster_stats
from kronos_sc.pp._panel import resolve_panel, with_statistics

if TYPE_CHECKING:
    import pandas as pd

    from kronos_sc.models import Model
    from kronos_sc.patches import Raster


def panel_for(
    images: list[Raster], model: Model, channels: Any, *, max_value: float | None, nan: str, require_nuclear: bool
) -> pd.DataFrame:
    """Return the panel that every image of the call is read with, complete with statistics, or raise an error that says what to change."""
    images = list({image.name: image for image in images}.values())
    panel = resolve_panel(images[0].channels, model.vocabulary, channels)
    used = panel[panel["id"] >= 0]
    for image in images[1:]:
        if missing := [name for name in used["channel"] if name not in image.channels]:
            msg = (
                f"Image {image.name!r} lacks channels of {images[0].name!r}: {listed(missing)}. All images of one call are read with one panel: "
                "list the common channels with channels=[...], or embed the images one by one with image_key=."
            )
            raise ValueError(msg)
    unseen = used[(used["how"] == "unseen") & ~np.isfinite(used["std"].to_numpy(float))]
    if len(unseen) and model.needs_statistics:
        panel = with_statistics(panel, raster_stats(images, list(unseen["channel"]), max_value=max_value, nan=nan), replace=False)
    elif not model.needs_statistics:
        panel = panel.assign(mean=panel["mean"].where(panel["id"] < 0, 0.0), std=panel["std"].where(panel["id"] < 0, 1.0))
    markers.check(panel, require_nuclear=require_nuclear)
    return panel
