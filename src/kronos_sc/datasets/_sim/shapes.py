"""Pixels of one image: which cell, and which part of it, each pixel belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import measure

from kronos_sc.datasets._sim.cells import Cells
from kronos_sc.datasets._sim.layout import STEP, Layout
from kronos_sc.datasets._sim.phenotypes import attribute
from kronos_sc.datasets._sim.streams import Streams, smooth_noise, upsample

MARGIN = 14.0  # µm of canvas round the image, so that cells at the border are cut, not absent
LEAST_AREA = 6.0  # µm²; a smaller sliver at the border is no cell
NUCLEUS_SHARE = 0.54  # of a cell's area at most
MEMBRANE = 0.5  # µm on each side of a boundary


@dataclass(frozen=True)
class Canvas:
    """The image with its margin: `shape` of the image in pixels, `pad` pixels on every side, `mpp` µm per pixel."""

    shape: tuple[int, int]
    mpp: float

    @property
    def pad(self) -> int:
        """Margin in pixels."""
        return int(np.ceil(MARGIN / self.mpp))

    @property
    def full(self) -> tuple[int, int]:
        """Shape with the margin, pixels."""
        return self.shape[0] + 2 * self.pad, self.shape[1] + 2 * self.pad

    @property
    def size(self) -> tuple[float, float]:
        """Size with the margin, µm."""
        return self.full[0] * self.mpp, self.full[1] * self.mpp

    def crop(self, field: np.ndarray) -> np.ndarray:
        """Cut the margin off."""
        return np.ascontiguousarray(field[self.pad : self.pad + self.shape[0], self.pad : self.pad + self.shape[1]])

    def spread(self, field: np.ndarray) -> np.ndarray:
        """Interpolate a coarse field at every pixel of the canvas."""
        return upsample(field, STEP / self.mpp, self.full)


def _metric(long: np.ndarray, short: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return the float32 coefficients (yy, yx, xx; 3 × cells) of each ellipse's squared distance."""
    cos = np.cos(angle)
    sin = np.sin(angle)
    across = 1 / short.astype(np.float64) ** 2
    along = 1 / long.astype(np.float64) ** 2
    yy = sin**2 * along + cos**2 * across
    yx = 2 * sin * cos * (along - across)
    xx = cos**2 * along + sin**2 * across
    return np.stack([yy, yx, xx]).astype(np.float32)


def _paint(canvas: Canvas, cells: Cells, warp: np.ndarray) -> np.ndarray:
    """Return int32 labels (row + 1) of the canvas: each pixel goes to the ellipse it is deepest in.

    One pass per offset from the centres, all cells at once: centres lie in different pixels, so no two cells write the
    same pixel in one pass.
    """
    long, short = (attribute(name)[cells.cell_type] * cells.size / canvas.mpp for name in ("long", "short"))
    metric = _metric(long, short, cells.angle)
    centre = (np.stack([cells.y, cells.x]) / canvas.mpp).astype(np.float32)
    reach = np.ceil(long).astype(np.int64) + 2
    rim = int(reach.max())
    width = canvas.full[1] + 2 * rim
    start = (np.floor(centre[0]).astype(np.int64) + rim) * width + np.floor(centre[1]).astype(np.int64) + rim
    # `place` holds where each pixel looks from: its centre, shifted a little to make outlines uneven.
    place = np.pad(warp, ((0, 0), (rim, rim), (rim, rim))).reshape(2, -1)
    best = np.ones(place.shape[1], dtype=np.float32)
    labels = np.zeros(place.shape[1], dtype=np.int32)
    # in three groups by size, so that small cells are not asked about offsets that only large ones reach
    for low, high in ((0, rim // 2), (rim // 2, 3 * rim // 4), (3 * rim // 4, rim)):
        rows = np.flatnonzero((reach > low) & (reach <= high))
        dy, dx = np.mgrid[-high : high + 1, -high : high + 1].reshape(2, -1)
        for offset in (dy * width + dx)[dy**2 + dx**2 <= high**2]:
            pixel = start[rows] + offset
            y = place[0, pixel] - centre[0, rows]
            x = place[1, pixel] - centre[1, rows]
            distance = metric[0, rows] * y * y + metric[1, rows] * y * x + metric[2, rows] * x * x
            closer = distance < best[pixel]
            best[pixel[closer]] = distance[closer]
            labels[pixel[closer]] = rows[closer] + 1
    return labels.reshape(-1, width)[rim:-rim, rim:-rim]


def _one_piece(labels: np.ndarray) -> np.ndarray:
    """Keep the largest connected piece of each label."""
    pieces = measure.label(labels, background=0, connectivity=1)
    area = np.bincount(pieces.ravel())
    area[0] = 0
    owner = np.zeros(len(area), dtype=labels.dtype)
    owner[pieces.ravel()] = labels.ravel()
    order = np.lexsort((area, owner))  # the last piece of each owner is its largest
    last = np.append(owner[order][1:] != owner[order][:-1], True)
    keep = np.zeros(len(area), dtype=labels.dtype)
    keep[order[last]] = owner[order[last]]
    keep[0] = 0
    return keep[pieces]


def _drained(canvas: Canvas, layout: Layout) -> np.ndarray:
    """Return the lumens as a mask of the canvas."""
    lumen = np.zeros(canvas.full, dtype=bool)
    for vessel in layout.vessels:
        low = [max(0, int((centre - vessel.long) / canvas.mpp) - 1) for centre in (vessel.y, vessel.x)]
        high = [int((centre + vessel.long) / canvas.mpp) + 2 for centre in (vessel.y, vessel.x)]
        window = lumen[low[0] : high[0], low[1] : high[1]]
        y, x = np.mgrid[: window.shape[0], : window.shape[1]]
        window |= vessel.distance((y + low[0] + 0.5) * canvas.mpp, (x + low[1] + 0.5) * canvas.mpp) < 1
    return lumen


def centroids(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return area (pixels), y and x of the labels 1 … `count`; pixel i covers [i, i + 1)."""
    flat = labels.ravel()
    area = np.bincount(flat, minlength=count + 1)[1:]
    weights = (
        np.repeat(np.arange(labels.shape[0]), labels.shape[1]),
        np.tile(np.arange(labels.shape[1]), labels.shape[0]),
    )
    y, x = (
        np.bincount(flat, weights=weight, minlength=count + 1)[1:] / np.maximum(area, 1) + 0.5 for weight in weights
    )
    return area, y, x


def _nuclei(canvas: Canvas, cells: Cells, labels: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """Return the nuclei of the canvas, float32, 1 inside with a soft edge: an ellipse round the middle of each cell."""
    area, y, x = centroids(labels, len(cells.y))
    long, short = (
        attribute(f"nucleus_{name}")[cells.cell_type] * cells.size / canvas.mpp for name in ("long", "short")
    )
    fit = np.minimum(1, np.sqrt(NUCLEUS_SHARE * area / (np.pi * long * short)))
    fit = np.maximum(fit, 0.1)
    metric = _metric(long * fit, short * fit, cells.angle)
    centre = np.stack([y, x]).astype(np.float32)
    owner = np.maximum(labels - 1, 0)
    y = warp[0] - centre[0][owner]
    x = warp[1] - centre[1][owner]
    distance = metric[0][owner] * y * y + metric[1][owner] * y * x + metric[2][owner] * x * x
    soft = np.clip((np.float32(1.25) - distance) * np.float32(2), 0, 1)
    return soft * (labels > 0)


def border(labels: np.ndarray, thickness: int) -> np.ndarray:
    """Return which pixels of a cell lie within `thickness` pixels of another cell or of the ground."""
    edge = (ndimage.minimum_filter(labels, 3) != ndimage.maximum_filter(labels, 3)) & (labels > 0)
    return ndimage.binary_dilation(edge, iterations=thickness - 1, mask=labels > 0) if thickness > 1 else edge


def draw(streams: Streams, name: str | int, canvas: Canvas, layout: Layout, cells: Cells) -> dict[str, np.ndarray]:
    """Return image-sized arrays by name.

    `labels` (int32, rows of `cells` + 1), `nucleus`, `membrane` (float32) and `lumen` (bool).
    """
    rng = streams.get("outlines", name)
    centre = np.meshgrid(*(np.arange(side, dtype=np.float32) + np.float32(0.5) for side in canvas.full), indexing="ij")
    bend = np.float32(0.55 / canvas.mpp)
    warp = np.stack([axis + bend * smooth_noise(rng, canvas.full, 2.6 / canvas.mpp) for axis in centre])
    labels = _paint(canvas, cells, warp)
    lumen = _drained(canvas, layout)
    labels[lumen] = 0
    labels = _one_piece(labels)
    nucleus = canvas.crop(_nuclei(canvas, cells, labels, warp))
    labels = _one_piece(canvas.crop(labels))  # the border may have cut a bent cell in two

    # slivers at the border are no cells; what is left of them is cleared from every array
    small = np.bincount(labels.ravel(), minlength=len(cells.y) + 1) * canvas.mpp**2 < LEAST_AREA
    labels[small[labels]] = 0
    edge = border(labels, max(1, round(MEMBRANE / canvas.mpp)))
    return {
        "labels": labels,
        "nucleus": nucleus * (labels > 0),
        "membrane": edge.astype(np.float32),
        "lumen": canvas.crop(lumen),
    }
