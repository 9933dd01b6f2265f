"""One image of a study, from its sample to pixels, labels and rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kronos_sc.datasets._sim.artifacts import ARTIFACTS, artifact_mask, damage
from kronos_sc.datasets._sim.cells import Cells, populate
from kronos_sc.datasets._sim.expression import Parts, emit, levels, part
from kronos_sc.datasets._sim.layout import lay_out
from kronos_sc.datasets._sim.optics import expose, record, shading, spread_light
from kronos_sc.datasets._sim.panel import MARKERS
from kronos_sc.datasets._sim.phenotypes import CELL_TYPES, GROUPS, REGIONS
from kronos_sc.datasets._sim.regions import region_mask
from kronos_sc.datasets._sim.shapes import Canvas, centroids, draw
from kronos_sc.datasets._sim.streams import Streams
from kronos_sc.datasets._sim.study import Sample, stain

ARTIFACT_NAMES = ("none", *ARTIFACTS)


@dataclass(frozen=True)
class TissueSettings:
    """What all images of a study share."""

    shape: tuple[int, int]
    channels: tuple[str, ...]
    bit_depth: int
    mpp: float
    artifacts: tuple[str, ...]
    batch_effect: float
    regions: bool


@dataclass(frozen=True)
class Simulated:
    """One image: `pixels` (channels, y, x), `labels` (1 … n), `artifacts` and `regions` (codes).

    `obs`, `centres`, `observed` and `truth` have a row per cell in the order of the labels.
    """

    pixels: np.ndarray
    labels: np.ndarray
    artifacts: np.ndarray
    regions: np.ndarray | None
    obs: pd.DataFrame
    centres: np.ndarray
    observed: np.ndarray
    truth: np.ndarray


def _renumber(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels 1 … n without gaps, and the rows they had."""
    present = np.bincount(labels.ravel()) > 0
    present[0] = False
    return np.where(present, np.cumsum(present), 0).astype(np.int32)[labels], np.flatnonzero(present) - 1


def _rows(cells: Cells, area: np.ndarray, artifact: np.ndarray, sample: Sample) -> pd.DataFrame:
    """Return what is known of each cell; categories in a fixed order, present or not."""
    count = len(area)
    return pd.DataFrame(
        {
            "cell_id": np.arange(1, count + 1),
            "cell_type": pd.Categorical.from_codes(cells.cell_type, categories=list(CELL_TYPES)),
            "region": pd.Categorical.from_codes(cells.region, categories=list(REGIONS)),
            "donor": [sample.donor] * count,
            "batch": [sample.batch] * count,
            "group": pd.Categorical([sample.group] * count, categories=list(GROUPS)),
            "proliferation": cells.proliferation.astype(np.float32),
            "activation": cells.activation.astype(np.float32),
            "area": area,
            "artifact": pd.Categorical.from_codes(artifact, categories=list(ARTIFACT_NAMES)),
        }
    )


def _render(
    streams: Streams,
    name: int,
    settings: TissueSettings,
    sample: Sample,
    labels: np.ndarray,
    parts: Parts,
    truth: np.ndarray,
    mask: np.ndarray,
) -> np.ndarray:
    """Return the pixels, one channel at a time, so that only one is held in float."""
    dtype = np.uint8 if settings.bit_depth == 8 else np.uint16
    pixels = np.empty((len(settings.channels), *settings.shape), dtype=dtype)
    for row, channel in enumerate(settings.channels):
        light = spread_light(emit(MARKERS[channel], truth[:, row], labels, parts), settings.mpp)
        shade = shading(streams.get("shading", name, channel), settings.shape, settings.mpp)
        staining = stain(streams, channel, sample.batch, batch_effect=settings.batch_effect)
        signal = damage(expose(light, parts.glow, staining, shade, settings.bit_depth), mask, settings.mpp)
        pixels[row] = record(streams.get("noise", name, channel), signal, settings.bit_depth)
    return pixels


def _means(pixels: np.ndarray, labels: np.ndarray, area: np.ndarray, top: int) -> np.ndarray:
    """Return the mean of every channel in every cell as a float32 fraction of `top`, cells × channels.

    The sums are exact integers.
    """
    flat = labels.ravel()
    sums = [np.bincount(flat, weights=channel.ravel(), minlength=len(area) + 1)[1:] for channel in pixels]
    return (np.stack(sums, axis=1) / area[:, None] / top).astype(np.float32)


def simulate(streams: Streams, name: int, settings: TissueSettings, sample: Sample) -> Simulated:
    """Simulate image `name`: layout, cells, outlines, expression, optics, artifacts."""
    canvas = Canvas(settings.shape, settings.mpp)
    layout = lay_out(streams, name, canvas.size, nest_fraction=sample.nest_fraction)
    cells = populate(streams, name, layout, canvas.size, shift=sample.shift, lift=sample.lift)
    shapes = draw(streams, name, canvas, layout, cells)
    parts = part(streams, name, canvas, layout, shapes)

    # Levels are drawn before cells without pixels are dropped: a cell's level does not depend on which neighbours were
    # cut off.
    level = np.stack(
        [levels(streams.get("level", name, channel), MARKERS[channel], cells) for channel in settings.channels], axis=1
    )
    labels, rows = _renumber(shapes["labels"])
    cells = cells[rows]
    truth = level[rows]

    mask = artifact_mask(streams, name, settings.shape, settings.mpp, settings.artifacts)
    pixels = _render(streams, name, settings, sample, labels, parts, truth, mask)
    area, y, x = centroids(labels, len(rows))
    observed = _means(pixels, labels, area, 2**settings.bit_depth - 1)
    obs = _rows(cells, area, mask[y.astype(np.int64), x.astype(np.int64)], sample)
    regions = region_mask(canvas, layout) if settings.regions else None
    return Simulated(pixels, labels, mask, regions, obs, np.stack([x, y], axis=1), observed, truth)
