"""Which channels a dense probe reads; the nuclear stain may have another name in every image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kronos_sc import markers
from kronos_sc._core.checks import listed
from kronos_sc._embedding.panel import panel_for
from kronos_sc.markers._panel import Panel

if TYPE_CHECKING:
    import pandas as pd

    from kronos_sc._dense.regions import Regions
    from kronos_sc.models import Model
    from kronos_sc.patches import Raster


def dense_panel(
    regions: Regions, encoder: Model, channels: Any, *, require_nuclear: bool, preset: str | None
) -> tuple[Regions, Panel]:
    """Return the panel, and the regions whose images spell its channels so.

    The artifact preset reads the first nuclear stain alone.
    """
    if preset != "artifact":
        require_nuclear = require_nuclear and encoder.needs_statistics
        return regions, panel_for(regions.images, encoder, channels, require_nuclear=require_nuclear)
    first = regions.images[0]
    panel = Panel.of(first.channels, encoder.vocabulary, channels).frame
    nuclear = panel.index[panel["role"] == "nuclear"]
    if not len(nuclear):
        msg = (
            f"Artifacts are found in the nuclear stain, and image {first.name!r} has none that is known; its channels "
            f"are {listed(panel['channel'], most=60)}. Name yours with channels={{'channel': 'DAPI'}}."
        )
        raise ValueError(msg)

    # all other channels are dropped from the panel, and every image spells the stain as the first one does
    stain = panel.loc[nuclear[0]]
    stain_panel = panel.copy()
    stain_panel.loc[stain_panel.index != nuclear[0], ["id", "how"]] = [-1, "dropped"]
    images = [_with_stain_named(image, stain, first.name, encoder) for image in regions.images]
    return replace(regions, images=images), panel_for(images, encoder, stain_panel, require_nuclear=True)


def _with_stain_named(image: Raster, stain: pd.Series, first: str, encoder: Model) -> Raster:
    """Return an image whose channel of a marker has the name that it has in the first image."""
    if stain["channel"] in image.channels:
        return image
    matches = markers.match(image.channels, encoder.vocabulary)
    known = stain["how"] != "unseen"  # a free id is another marker elsewhere
    same = matches.loc[(matches["id"] == stain["id"]) & known, "channel"]
    if same.empty:
        msg = (
            f"Image {image.name!r} has no channel of {stain['marker']!r}, which is {stain['channel']!r} in {first!r}; "
            f"its channels are {listed(image.channels, most=60)}. Name it so with "
            f"sdata.set_channel_names({image.name!r}, [...])."
        )
        raise ValueError(msg)
    channels = [stain["channel"] if name == same.iloc[0] else name for name in image.channels]
    return replace(image, channels=tuple(channels))
