"""Compartments of one image: tumour nests, follicles and vessels as smooth fields on a 2 µm grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from kronos_sc.datasets._sim.streams import Streams, smooth_noise

STEP = 2.0  # µm per grid cell
FOLLICLE_RIM = 1.15  # nests and vessels keep out of this many follicle radii


@dataclass(frozen=True)
class Vessel:
    """An elliptic lumen, in µm: centre, semi-axes, angle of the long axis, and layers of smooth muscle round it."""

    y: float
    x: float
    long: float
    short: float
    angle: float
    layers: int

    def frame(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions along the long and the short axis."""
        cos = np.cos(self.angle)
        sin = np.sin(self.angle)
        along = (x - self.x) * cos + (y - self.y) * sin
        across = (y - self.y) * cos - (x - self.x) * sin
        return along, across

    def distance(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the distance from the centre in units of the lumen's radius (1 on its wall)."""
        along, across = self.frame(y, x)
        return np.sqrt((along / self.long) ** 2 + (across / self.short) ** 2)


@dataclass(frozen=True)
class Layout:
    """Fields of one image, each on the coarse grid, float32.

    Attributes
    ----------
    flow
        Its level lines are the direction of fibres; nests are where it is high, so that stroma wraps round them.
    depth
        Distance to the edge of the nest in µm, positive inside.
    follicle
        Distance from the nearest follicle's centre in units of its radius.
    niche
        Where in the stroma immune cells gather; zero mean, unit variance.
    vessels
        Lumens.
    """

    flow: np.ndarray
    depth: np.ndarray
    follicle: np.ndarray
    niche: np.ndarray
    vessels: tuple[Vessel, ...]


def sample(field: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Interpolate a coarse field at points in µm."""
    return ndimage.map_coordinates(field, np.stack([y, x]) / STEP - 0.5, order=1, mode="nearest")


def _follicles(rng: np.random.Generator, flow: np.ndarray, side: float) -> np.ndarray:
    """Put follicles where there is least tumour and return the distance from them in radii."""
    radius = min(78.0, 0.19 * side) / STEP
    height, width = flow.shape
    count = max(1, round(height * width * STEP**2 / 400**2))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    wobble = smooth_noise(rng, flow.shape, radius / 2.5) * np.float32(0.09)
    # A follicle cut in half by the border shows little, so the middle is preferred a little.
    rim = np.minimum(np.minimum(rows, height - 1 - rows), np.minimum(columns, width - 1 - columns))
    free = flow + np.float32(1.5) * (1 - np.minimum(rim / np.float32(1.3 * radius), 1))
    nearest = np.full(flow.shape, 9, dtype=np.float32)
    for _ in range(count):
        cy, cx = divmod(int(np.argmin(free)), width)
        size = np.float32(radius * rng.uniform(0.75, 1.15))
        distance = np.sqrt((rows - cy) ** 2 + (columns - cx) ** 2) / size
        nearest = np.minimum(nearest, distance + wobble)
        free[distance < 2.6] = np.inf
    return nearest


def _vessels(rng: np.random.Generator, stroma: np.ndarray) -> tuple[Vessel, ...]:
    """Put vessels of many sizes into the stroma, each where there is room for it."""
    room = (ndimage.distance_transform_edt(np.pad(stroma, 1, mode="edge"))[1:-1, 1:-1] * STEP).astype(np.float32)
    score = np.minimum(room, 40) * (np.float32(0.35) + rng.random(room.shape, dtype=np.float32))
    rows, columns = np.mgrid[: room.shape[0], : room.shape[1]].astype(np.float32)
    count = max(2, round(room.size * STEP**2 / 115**2))
    draws = rng.random((count, 4))
    vessels = []
    for size, aspect, angle, coat in draws:
        cy, cx = divmod(int(np.argmax(score)), score.shape[1])
        space = float(room[cy, cx]) - 4
        if space < 3 or score[cy, cx] <= 0:
            break
        long = min(3.0 + 17.0 * size**3, space)
        layers = int(long > 6) + int(long > 8 and coat > 0.6)
        short = long * (0.5 + 0.5 * aspect)
        vessels.append(Vessel((cy + 0.5) * STEP, (cx + 0.5) * STEP, long, short, np.pi * angle, layers))
        # no other vessel close by
        score[(rows - cy) ** 2 + (columns - cx) ** 2 < ((3.2 * long + 22) / STEP) ** 2] = 0
    return tuple(vessels)


def lay_out(streams: Streams, name: str | int, size: tuple[float, float], *, nest_fraction: float) -> Layout:
    """Draw the compartments of image `name` on a canvas of `size` µm.

    Tumour nests take `nest_fraction` of it, before follicles.
    """
    shape = (int(np.ceil(size[0] / STEP)), int(np.ceil(size[1] / STEP)))
    side = min(size)
    scale = float(np.clip(0.075 * side, 8, 34)) / STEP
    rng = streams.get("layout", name)
    flow = smooth_noise(rng, shape, scale) + np.float32(0.22) * smooth_noise(rng, shape, scale / 3)
    follicle = _follicles(rng, flow, side)

    # nests where the flow is high; their signed distance, smoothed, tells nest from stroma
    nest = (flow > np.quantile(flow, 1 - nest_fraction)) & (follicle > FOLLICLE_RIM)
    padded = np.pad(nest, 1, mode="edge")
    signed = ndimage.distance_transform_edt(padded) - ndimage.distance_transform_edt(~padded)
    depth = ndimage.gaussian_filter((signed[1:-1, 1:-1] * STEP).astype(np.float32), 1.5)
    stroma = (depth < -2) & (follicle > FOLLICLE_RIM)
    niche = smooth_noise(rng, shape, 28 / STEP)
    return Layout(flow, depth, follicle, niche, _vessels(rng, stroma))
