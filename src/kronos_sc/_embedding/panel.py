"""One panel for all images of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc import markers
from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc._core.warn import warn
from kronos_sc.markers._lost import lost, names_left_out, stains_left_out
from kronos_sc.pp._marker_stats import raster_stats
from kronos_sc.pp._panel import resolve_panel, with_statistics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kronos_sc.models import Model
    from kronos_sc.patches import Exclusion, Raster


def panel_for(images: list[Raster], model: Model, channels: Any, *, require_nuclear: bool) -> pd.DataFrame:
    """Return the panel that every image of the call is read with, or raise an error that says what to change; no pixel is read."""
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
        if surplus := [name for name in image.channels if name not in images[0].channels]:
            info(f"image {image.name!r} has channels that {images[0].name!r} has not; they are left out: {listed(surplus, most=60)}")
    markers.check(panel, require_nuclear=require_nuclear, require_statistics=False)
    if not isinstance(channels, pd.DataFrame):  # such a panel was looked at
        _tell(panel)
    return panel


def _tell(panel: pd.DataFrame) -> None:
    """Say which channels are left out although their names mean something; the others are named by the verb itself."""
    if told := stains_left_out(panel):
        info(told)
    for message in (names_left_out(panel), lost(panel)):
        if message:
            warn(message)


def complete(
    panel: pd.DataFrame,
    images: list[Raster],
    model: Model,
    *,
    max_value: float | None,
    nan: str,
    out: Mapping[str, Exclusion] | None = None,
) -> pd.DataFrame:
    """Return the panel with statistics for every marker: the model's own, or those of the images.

    Those of the images stand in for markers that the model has not seen, and for all where a model brings none; pixels that are `out`
    (by image) do not count.
    """
    used = panel[panel["id"] >= 0]
    if not model.needs_statistics:
        here = panel["id"] >= 0
        return panel.assign(mean=panel["mean"].where(~here, 0.0), std=panel["std"].where(~here, 1.0))
    from_images = (used["how"] == "unseen") | model.image_statistics
    lacking = used.loc[from_images & ~np.isfinite(used["std"].to_numpy(float)), "channel"]
    if len(lacking):
        images = list({image.name: image for image in images}.values())
        left = [(out or {}).get(image.name) for image in images]
        panel = with_statistics(panel, raster_stats(images, list(lacking), max_value=max_value, nan=nan, out=left), replace=False)
    markers.check(panel, require_nuclear=False)
    return panel
