"""One panel for all images of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc._core.warn import warn
from kronos_sc.markers._lost import lost, names_left_out, stains_left_out
from kronos_sc.markers._panel import Panel
from kronos_sc.pp._marker_stats import raster_stats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kronos_sc.models import Model
    from kronos_sc.patches import Exclusion, Raster


def panel_for(images: list[Raster], model: Model, channels: Any, *, require_nuclear: bool) -> Panel:
    """Return the panel that every image of the call is read with, or raise an error that says what to change.

    No pixel is read.
    """
    images = list({image.name: image for image in images}.values())
    panel = Panel.of(images[0].channels, model.vocabulary, channels)
    for image in images[1:]:
        if missing := [name for name in panel.channels if name not in image.channels]:
            msg = (
                f"Image {image.name!r} lacks channels of {images[0].name!r}: {listed(missing)}. All images of one call "
                "are read with one panel: list the common channels with channels=[...], or embed the images one by one "
                "with image_key=."
            )
            raise ValueError(msg)
        if surplus := [name for name in image.channels if name not in images[0].channels]:
            info(
                f"image {image.name!r} has channels that {images[0].name!r} has not; they are left out: "
                f"{listed(surplus, most=60)}"
            )
    panel.check(require_nuclear=require_nuclear, require_statistics=False)
    if not isinstance(channels, pd.DataFrame):  # such a panel was looked at
        _report_left_out(panel)
    return panel


def _report_left_out(panel: Panel) -> None:
    """Say which channels are left out although their names mean something; the others are named by the verb itself."""
    if message := stains_left_out(panel.frame):
        info(message)
    for message in (names_left_out(panel.frame), lost(panel.frame)):
        if message:
            warn(message)


def complete(
    panel: Panel,
    images: list[Raster],
    model: Model,
    *,
    max_value: float | None,
    nan: str,
    excluded: Mapping[str, Exclusion] | None = None,
) -> Panel:
    """Return the panel with statistics for every marker: the model's own, or those of the images.

    Those of the images stand in for markers that the model has not seen, and for all where a model brings none; pixels
    that are `excluded` (by image) do not count.
    """
    if not model.needs_statistics:
        return panel.without_scaling()
    used = panel.used
    # only markers without statistics of their own cost a pass over the pixels
    from_images = (used["how"] == "unseen") | model.image_statistics
    lacking = used.loc[from_images & ~np.isfinite(used["std"].to_numpy(float)), "channel"]
    if len(lacking):
        images = list({image.name: image for image in images}.values())
        left_out = [(excluded or {}).get(image.name) for image in images]
        stats = raster_stats(images, list(lacking), max_value=max_value, nan=nan, excluded=left_out)
        panel = panel.with_statistics(stats, replace=False)
    panel.check(require_nuclear=False)
    return panel
