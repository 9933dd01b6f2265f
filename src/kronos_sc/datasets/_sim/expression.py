"""What cells and matrix carry: levels per cell, and the parts of the cell that show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kronos_sc.datasets._sim.cells import Cells
from kronos_sc.datasets._sim.layout import Layout
from kronos_sc.datasets._sim.panel import Marker
from kronos_sc.datasets._sim.shapes import Canvas
from kronos_sc.datasets._sim.streams import Streams, smooth_noise

NEGATIVE = 0.03  # level of a cell without the marker
SPREAD = 0.4  # of positive cells, standard deviation of the logarithm


@dataclass(frozen=True)
class Parts:
    """Image-sized float32 weights: per location in the cell, per structure outside cells, and of autofluorescence."""

    location: dict[str, np.ndarray]
    matrix: dict[str, np.ndarray]
    glow: np.ndarray


def levels(rng: np.random.Generator, marker: Marker, cells: Cells) -> np.ndarray:
    """Return the level of one marker in every cell, float32; 1 is a bright positive cell."""
    level = marker.profile()[cells.cell_type].astype(np.float64)
    if marker.state is not None:
        level *= marker.floor + (1 - marker.floor) * getattr(cells, marker.state)
    # DNA varies with the cycle, not from cell to cell.
    spread = 0.1 if marker.location == "nucleus" and marker.floor else SPREAD
    return ((level + NEGATIVE) * np.exp(rng.normal(0, spread, len(level)))).astype(np.float32)


def _fibres(rng: np.random.Generator, canvas: Canvas, layout: Layout) -> np.ndarray:
    """Return wavy bundles along the level lines of the flow, outside nests and follicles."""
    phase = canvas.spread(layout.flow) * 15 + 2.2 * smooth_noise(rng, canvas.full, 9 / canvas.mpp)
    phase = canvas.crop(phase + np.float32(0.8) * smooth_noise(rng, canvas.full, 2 / canvas.mpp))
    # each level of the phase is one strand, of its own brightness
    bundle = rng.random(1024, dtype=np.float32) ** 2
    low = np.floor(phase).astype(np.int64)
    first = bundle[low % 1024]
    second = bundle[(low + 1) % 1024]
    strands = first + (second - first) * (phase - low.astype(np.float32))
    outside = np.clip(canvas.crop(canvas.spread(-layout.depth)) / 4, 0, 1)
    outside *= np.clip(canvas.crop(canvas.spread(layout.follicle)) * 8 - 8, 0, 1)
    patches = np.clip(np.float32(0.6) + np.float32(0.4) * smooth_noise(rng, canvas.shape, 12 / canvas.mpp), 0.1, 1.4)
    return strands * outside * patches


def _mesh(rng: np.random.Generator, canvas: Canvas, layout: Layout) -> np.ndarray:
    """Return the web of dendrites in the middle of follicles."""
    ridge = np.maximum(1 - np.float32(2.2) * np.abs(smooth_noise(rng, canvas.shape, 2.2 / canvas.mpp)), 0)
    return ridge * np.clip(canvas.crop(canvas.spread(np.float32(0.72) - layout.follicle)) * 5, 0, 1)


def part(streams: Streams, name: str | int, canvas: Canvas, layout: Layout, shapes: dict[str, np.ndarray]) -> Parts:
    """Give every location its texture: chromatin, patchy membranes, granules, fibres."""
    rng = streams.get("textures", name)
    coarse, fine = (smooth_noise(rng, canvas.shape, max(width / canvas.mpp, 0.7)) for width in (1.1, 0.6))
    body = (shapes["labels"] > 0).astype(np.float32)
    nucleus = shapes["nucleus"]
    membrane = shapes["membrane"]
    plasm = body - nucleus
    patchy = np.maximum(1 + np.float32(0.2) * coarse, 0)
    location = {
        "nucleus": nucleus * np.maximum(1 + np.float32(0.16) * coarse, 0) + np.float32(0.03) * plasm,
        "membrane": membrane * patchy + np.float32(0.12) * (body - membrane),
        "cytoplasm": plasm * patchy + np.float32(0.12) * nucleus,
        "granules": plasm * np.maximum(np.float32(0.35) + np.float32(0.6) * fine, 0) + np.float32(0.05) * nucleus,
    }

    # outside the cells: fibres between them, clumps in the lumens, and a glow that is uneven everywhere
    fibres = _fibres(rng, canvas, layout) * (1 - np.float32(0.6) * body) * ~shapes["lumen"]
    clumps = np.clip(smooth_noise(rng, canvas.shape, 2.2 / canvas.mpp), 0, 1) * shapes["lumen"]
    uneven = np.float32(0.15) * np.clip(1 + np.float32(0.4) * smooth_noise(rng, canvas.shape, 40 / canvas.mpp), 0, 2)
    glow = np.float32(0.45) * fibres + np.float32(0.2) * plasm + np.float32(0.5) * clumps + uneven * (~shapes["lumen"])
    return Parts(location, {"fibres": fibres, "mesh": _mesh(rng, canvas, layout)}, glow)


def emit(marker: Marker, level: np.ndarray, labels: np.ndarray, parts: Parts) -> np.ndarray:
    """Return the light of one marker before optics, float32; `level` is per cell, `labels` are rows + 1."""
    light = np.concatenate([np.zeros(1, dtype=np.float32), level])[labels] * parts.location[marker.location]
    if marker.matrix is not None:
        light += np.float32(marker.matrix_level) * parts.matrix[marker.matrix]
    return light
