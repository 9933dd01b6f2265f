"""Cells of one image: where they sit, what they are, how they lie and how active they are."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.spatial import cKDTree

from kronos_sc.datasets._sim.layout import Layout, Vessel, sample
from kronos_sc.datasets._sim.phenotypes import CODE, REGION_CODE, REGIONS, abundance, attribute
from kronos_sc.datasets._sim.streams import Streams

SPACING = {"nest": 11.2, "stroma": 10.4, "follicle": 7.8}  # µm between neighbours
GERMINAL_CENTRE = 0.62  # in follicle radii


@dataclass(frozen=True)
class Cells:
    """One entry per cell.

    Positions in µm on the canvas, angle of the long axis in radians, everything else a code or in [0, 1].
    """

    y: np.ndarray
    x: np.ndarray
    angle: np.ndarray
    region: np.ndarray
    cell_type: np.ndarray
    size: np.ndarray
    proliferation: np.ndarray
    activation: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Cells:
        """Return the cells `rows`, an index or a mask."""
        return Cells(*(getattr(self, item.name)[rows] for item in fields(self)))


def _grid(rng: np.random.Generator, size: tuple[float, float], spacing: float) -> np.ndarray:
    """Return points (y, x) of a hexagonal grid, shaken enough to hide it."""
    row_height = spacing * np.sqrt(3) / 2
    rows = int(size[0] / row_height) + 2
    columns = int(size[1] / spacing) + 2
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    points = np.stack([y * row_height, (x + 0.5 * (y % 2)) * spacing], axis=-1).reshape(-1, 2)
    return points + rng.normal(0, 0.15 * spacing, points.shape)


def _ring(rng: np.random.Generator, layout: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points (y, x), angles and types of the cells that make up the vessels' walls."""
    points = [np.empty((0, 2))]
    angles = [np.empty(0)]
    types = [np.empty(0, dtype=np.int64)]
    for vessel in layout.vessels:
        # the innermost ring is endothelium, those outside of it smooth muscle
        for layer in range(vessel.layers + 1):
            offset, length = (1.3, 11.0) if layer == 0 else (1.0 + 4.2 * layer, 14.0)
            long = vessel.long + offset
            short = vessel.short + offset
            count = max(3, round(np.pi * (long + short) / length))
            turn = 2 * np.pi * (np.arange(count) + rng.uniform(0, 1) + rng.normal(0, 0.06, count)) / count
            cos = np.cos(vessel.angle)
            sin = np.sin(vessel.angle)
            along = long * np.cos(turn)
            across = short * np.sin(turn)
            y = vessel.y + along * sin + across * cos
            x = vessel.x + along * cos - across * sin
            points.append(np.stack([y, x], axis=1))
            angles.append(np.arctan2(short * np.cos(turn), -long * np.sin(turn)) + vessel.angle)
            types.append(np.full(count, CODE["Endothelial" if layer == 0 else "Smooth muscle"]))
    return np.concatenate(points), np.concatenate(angles), np.concatenate(types)


def vessel_wall(vessel: Vessel) -> float:
    """Return how far a vessel's wall reaches beyond its lumen, in µm."""
    return 4.0 + 4.2 * vessel.layers


def _regions(layout: Layout, points: np.ndarray) -> np.ndarray:
    """Return the compartment of each point; −1 inside or against a vessel."""
    y, x = points.T
    region = np.where(sample(layout.depth, y, x) > 0, REGION_CODE["nest"], REGION_CODE["stroma"])
    region[sample(layout.follicle, y, x) < 1] = REGION_CODE["follicle"]
    for vessel in layout.vessels:
        wall = vessel_wall(vessel)
        near = np.flatnonzero((np.abs(y - vessel.y) < vessel.long + wall) & (np.abs(x - vessel.x) < vessel.long + wall))
        along, across = vessel.frame(y[near], x[near])
        inside = (along / (vessel.long + wall)) ** 2 + (across / (vessel.short + wall)) ** 2 < 1
        region[near[inside]] = -1
    return region


def _thin(points: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Return which points stay when, of two closer than their mean `reach`, the later one goes."""
    pairs = cKDTree(points).query_pairs(float(reach.max()), output_type="ndarray")
    apart = np.sqrt(((points[pairs[:, 0]] - points[pairs[:, 1]]) ** 2).sum(axis=1))
    crowded = pairs[apart < reach[pairs].mean(axis=1)]
    stays = np.ones(len(points), dtype=bool)
    stays[crowded.max(axis=1)] = False
    return stays


def _place(rng: np.random.Generator, layout: Layout, size: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """Return points, compartments, and, for vessel walls only, angles and types (NaN and −1 elsewhere)."""
    points, angle, kind = _ring(rng, layout)
    region = np.full(len(points), REGION_CODE["vessel"])
    reach = np.full(len(points), 3.3)
    for name in ("follicle", "nest", "stroma"):  # later compartments give way where two meet
        grid = _grid(rng, size, SPACING[name])
        grid = grid[_regions(layout, grid) == REGION_CODE[name]]
        grid = grid[rng.random(len(grid)) > (0.07 if name == "stroma" else 0.0)]
        points = np.concatenate([points, grid])
        region = np.append(region, np.full(len(grid), REGION_CODE[name]))
        reach = np.append(reach, np.full(len(grid), 0.58 * SPACING[name]))
        angle = np.append(angle, np.full(len(grid), np.nan))
        kind = np.append(kind, np.full(len(grid), -1))
    stays = _thin(points, reach)
    return points[stays], region[stays], angle[stays], kind[stays]


def _choose_types(
    rng: np.random.Generator, layout: Layout, points: np.ndarray, region: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """Draw cell types from the composition of each cell's compartment.

    The composition is shifted by donor and group (`shift`), niche and depth in the nest.
    """
    y, x = points.T
    immune = attribute("infiltrates").astype(bool)
    weight = (abundance() * np.exp(shift))[region]
    depth = sample(layout.depth, y, x).astype(np.float64)
    niche = sample(layout.niche, y, x).astype(np.float64)
    ring = sample(layout.follicle, y, x).astype(np.float64)

    # immune cells thin out towards the middle of a nest, and gather in patches of stroma
    pull = np.where(region == REGION_CODE["nest"], 0.6 - np.maximum(depth, 0) / 14, 0.9 * niche)
    pull[region == REGION_CODE["follicle"]] = 0
    weight[:, immune] *= np.exp(pull)[:, None]

    # follicular dendritic cells keep to the germinal centre, T cells mostly out of it
    follicle = region == REGION_CODE["follicle"]
    core = ring < GERMINAL_CENTRE
    outsiders = [CODE[name] for name in ("CD4 T cell", "CD8 T cell", "Treg", "Dendritic cell")]
    weight[np.ix_(follicle & ~core, [CODE["Follicular DC"]])] *= 0.05
    weight[np.ix_(follicle & core, outsiders)] *= 0.35

    # a random number along the summed weights of each cell chooses its type
    total = np.cumsum(weight, axis=1)
    return (rng.random(len(points))[:, None] * total[:, -1:] > total).sum(axis=1)


def _states(
    rng: np.random.Generator, layout: Layout, cells: dict[str, np.ndarray], *, lift: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return proliferation and activation.

    Few cells cycle, more of them in germinal centres; activation follows the niche, raised by `lift`.
    """
    y = cells["y"]
    x = cells["x"]
    kind = cells["cell_type"]
    p_cycling = attribute("cycling")[kind].astype(np.float64)
    germinal = (cells["region"] == REGION_CODE["follicle"]) & (sample(layout.follicle, y, x) < GERMINAL_CENTRE)
    p_cycling[germinal & (kind == CODE["B cell"])] = 0.6
    cycling = rng.random(len(y)) < p_cycling
    proliferation = np.where(cycling, rng.beta(5, 2, len(y)), rng.beta(1, 14, len(y)))
    score = 0.8 * sample(layout.niche, y, x) + rng.normal(0, 1, len(y)) + lift
    return proliferation, 0.5 + 0.5 * score / (1 + np.abs(score))


def populate(
    streams: Streams, name: str | int, layout: Layout, size: tuple[float, float], *, shift: np.ndarray, lift: float
) -> Cells:
    """Fill a layout with cells.

    Parameters
    ----------
    streams, name
        Random streams, and the image's name in them.
    layout, size
        Compartments, and the canvas in µm.
    shift
        Natural logarithm of the factor on each cell type's abundance.
    lift
        Added to the activation score.
    """
    points, region, angle, kind = _place(streams.get("places", name), layout, size)
    inside = np.flatnonzero(((points >= 0) & (points < size)).all(axis=1))
    # top to bottom, as segmentation tools number their cells
    rows = inside[np.argsort(points[inside, 0], kind="stable")]
    points = points[rows]
    region = region[rows]
    angle = angle[rows]
    kind = kind[rows]

    # types of vessels' cells are known; any compartment will do for the draw that they do not use
    compartment = np.where(region == len(REGIONS) - 1, 0, region)
    sampled_type = _choose_types(streams.get("types", name), layout, points, compartment, shift)
    cell_type = np.where(kind < 0, sampled_type, kind)

    y, x = points.T
    rng = streams.get("bodies", name)
    # Stroma lies along the level lines of the flow; round cells point anywhere.
    slope_y, slope_x = (sample(slope, y, x).astype(np.float64) for slope in np.gradient(layout.flow))
    along = np.arctan2(slope_x, -slope_y) + rng.normal(0, 0.3, len(y))
    anywhere = rng.uniform(0, np.pi, len(y))
    lying = np.isin(cell_type, [CODE[name] for name in ("Fibroblast", "Endothelial", "Smooth muscle")])
    angle = np.where(np.isnan(angle), np.where(lying, along, anywhere), angle)
    body = {
        "y": y,
        "x": x,
        "angle": angle,
        "region": region,
        "cell_type": cell_type,
        "size": np.exp(rng.normal(0, 0.11, len(y))),
    }
    proliferation, activation = _states(streams.get("states", name), layout, body, lift=lift)
    return Cells(**body, proliferation=proliferation, activation=activation)
