"""Who the images come from: donors, groups, staining batches, and what each of them changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kronos_sc.datasets._sim.optics import Staining
from kronos_sc.datasets._sim.panel import MARKERS
from kronos_sc.datasets._sim.phenotypes import CELL_TYPES, GROUPS, attribute
from kronos_sc.datasets._sim.streams import Streams

DONOR_SPREAD = 0.25  # of log abundance between donors
GROUP_LIFT = 0.9  # activation score of group B above group A
GAIN_SPREAD = 0.3  # of log gain between batches


@dataclass(frozen=True)
class Sample:
    """One image of the study: whose it is, which batch, and what its tissue is made of.

    For `shift` and `lift` see :func:`.cells.populate`.
    """

    donor: str
    group: str
    batch: str
    nest_fraction: float
    shift: np.ndarray
    lift: float


def design(streams: Streams, *, n_images: int, n_donors: int, n_batches: int, group_effect: float) -> list[Sample]:
    """Return the images of a study.

    Images go round the donors, donors alternate between the groups, and batches change after every round of groups, so
    that a batch holds both groups wherever the numbers allow it.
    """
    round_of_groups = min(n_donors, len(GROUPS))
    if n_images < round_of_groups * n_batches:
        # too few images for that: then every batch gets one, whoever it comes from
        round_of_groups = 1
    samples = []
    for image in range(n_images):
        donor = image % n_donors
        rng = streams.get("donor", donor)
        fraction = float(rng.uniform(0.38, 0.52))
        shift = rng.normal(0, DONOR_SPREAD, len(CELL_TYPES))
        in_b = donor % len(GROUPS)
        samples.append(
            Sample(
                donor=f"donor_{donor}",
                group=GROUPS[in_b],
                batch=f"batch_{image // round_of_groups % n_batches}",
                nest_fraction=fraction,
                shift=shift + in_b * group_effect * attribute("shift"),
                lift=in_b * group_effect * GROUP_LIFT,
            )
        )
    return samples


def stain(streams: Streams, channel: str, batch: str, *, batch_effect: float) -> Staining:
    """Return gain, background and autofluorescence of one channel in one batch."""
    dye = streams.get("dye", channel)
    lot = streams.get("lot", channel, batch)
    brightness = MARKERS[channel].brightness * np.exp(dye.normal(0, 0.08))
    gain = brightness * np.exp(lot.normal(0, GAIN_SPREAD) * batch_effect)
    background = dye.uniform(0.03, 0.07) * np.exp(lot.normal(0, GAIN_SPREAD) * batch_effect)
    # Short wavelengths glow more; which dye a marker got is part of the draw.
    return Staining(float(gain), float(background), float(dye.uniform(0.03, 0.16)))
