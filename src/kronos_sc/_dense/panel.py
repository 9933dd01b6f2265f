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
    found: Regions, encoder: Model, channels: Any, *, require_nuclear: bool, preset: str | None
) -> tuple[Regions, Panel]:
    """Return the panel, and the regions whose images spell its channels so.

    The artifact preset reads the first nuclear stain alone.
    """
    if preset != "artifact":
        return found, panel_for(
            found.images, encoder, channels, require_nuclear=require_nuclear and encoder.needs_statistics
        )
    first = found.images[0]
    panel = Panel.of(first.channels, encoder.vocabulary, channels).frame
    nuclear = panel.index[panel["role"] == "nuclear"]
    if not len(nuclear):
        msg = (
            f"Artifacts are found in the nuclear stain, and image {first.name!r} has none that is known; its channels "
            f"are {listed(panel['channel'], most=60)}. Name yours with channels={{'channel': 'DAPI'}}."
        )
        raise ValueError(msg)
    alone, stain = panel.copy(), panel.loc[nuclear[0]]
    alone.loc[alone.index != nuclear[0], ["id", "how"]] = [-1, "dropped"]
    found = replace(found, images=[_spelt(image, stain, first.name, encoder) for image in found.images])
    return found, panel_for(found.images, encoder, alone, require_nuclear=True)


def _spelt(image: Raster, stain: pd.Series, first: str, encoder: Model) -> Raster:
    """Return an image whose channel of a marker has the name that it has in the first image."""
    if stain["channel"] in image.channels:
        return image
    there = markers.match(image.channels, encoder.vocabulary)
    same = there.loc[
        (there["id"] == stain["id"]) & (stain["how"] != "unseen"), "channel"
    ]  # a free id is another marker elsewhere
    if same.empty:
        msg = (
            f"Image {image.name!r} has no channel of {stain['marker']!r}, which is {stain['channel']!r} in {first!r}; "
            f"its channels are {listed(image.channels, most=60)}. Name it so with "
            f"sdata.set_channel_names({image.name!r}, [...])."
        )
        raise ValueError(msg)
    return replace(image, channels=tuple(stain["channel"] if name == same.iloc[0] else name for name in image.channels))
