"""What a call is about: table, images, model and panel, checked before any pixel is read; then the jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kronos_sc import models, patches
from kronos_sc._embedding.blocks import numbered
from kronos_sc._embedding.jobs import Job, Options, make_job
from kronos_sc._embedding.panel import complete, panel_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from spatialdata import SpatialData


@dataclass(frozen=True)
class EmbedRequest:
    """A checked call.

    Parameters
    ----------
    target
        The table, its regions and their images.
    encoder
        The model.
    options
        Choices of the caller.
    panel
        Which marker each channel is; markers may still lack statistics.
    """

    target: patches.Target
    encoder: models.Model
    options: Options
    panel: pd.DataFrame

    @property
    def images(self) -> list[patches.Raster]:
        """Images, one per region."""
        return list(self.target.images.values())

    @property
    def channels(self) -> list[str]:
        """Channels to read, in panel order."""
        return list(self.panel.loc[self.panel["id"] >= 0, "channel"])

    @property
    def widths(self) -> dict[str, int]:
        """Features per unit, by kind."""
        return {kind: self.encoder.width(kind, len(self.channels)) for kind in self.options.features}

    def jobs(self, sdata: SpatialData, *, mpp: float | None, spatial_key: str | None, max_value: float | None) -> list[Job]:
        """Return one job per region, its blocks numbered; labels are scanned for their cells."""
        how = {"mpp": mpp, "spatial_key": spatial_key, "max_value": max_value}
        target = self.target
        return numbered(
            [
                make_job(sdata, target, region, image, self.encoder, self.channels, self.options, **how)
                for region, image in target.images.items()
            ]
        )

    def completed(self, *, max_value: float | None, out: Mapping[str, patches.Exclusion] | None = None) -> pd.DataFrame:
        """Return the panel with statistics for every marker; those of the images are measured, without what is `out`."""
        return complete(self.panel, self.images, self.encoder, max_value=max_value, nan=self.options.nan, out=out)


def subject(
    sdata: SpatialData, encoder: models.Model, options: Options, where: dict[str, Any], *, channels: Any, require_nuclear: bool
) -> EmbedRequest:
    """Find table, regions, images and markers.

    Parameters
    ----------
    sdata
        Holds them.
    encoder
        The model.
    options
        Choices of the caller.
    where
        Arguments of :func:`kronos_sc.patches.target`.
    channels
        Corrections to the matching.
    require_nuclear
        Insist on a nuclear stain.
    """
    target = patches.target(sdata, **where)
    options.check_model(encoder)
    panel = panel_for(list(target.images.values()), encoder, channels, require_nuclear=require_nuclear)
    return EmbedRequest(target, encoder, options, panel)
