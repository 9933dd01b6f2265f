"""Which compartment each pixel lies in: the truth of region maps."""

from __future__ import annotations

import numpy as np

from kronos_sc.datasets._sim.cells import vessel_wall
from kronos_sc.datasets._sim.layout import Layout
from kronos_sc.datasets._sim.phenotypes import REGION_CODE
from kronos_sc.datasets._sim.shapes import Canvas


def region_mask(canvas: Canvas, layout: Layout) -> np.ndarray:
    """Return the compartment of each pixel of the image (uint8; the code of a cell's region + 1).

    By the rules that cells are placed by.
    """
    code = {name: np.uint8(number + 1) for name, number in REGION_CODE.items()}
    mask = np.where(canvas.crop(canvas.spread(layout.depth)) > 0, code["nest"], code["stroma"])
    mask[canvas.crop(canvas.spread(layout.follicle)) < 1] = code["follicle"]

    # vessels lie on top; each is drawn in the window that it can reach
    vessels = np.zeros(canvas.full, dtype=bool)
    for vessel in layout.vessels:
        wall = vessel_wall(vessel)
        low = [max(0, int((centre - vessel.long - wall) / canvas.mpp) - 1) for centre in (vessel.y, vessel.x)]
        high = [int((centre + vessel.long + wall) / canvas.mpp) + 2 for centre in (vessel.y, vessel.x)]
        window = vessels[low[0] : high[0], low[1] : high[1]]
        y, x = np.mgrid[: window.shape[0], : window.shape[1]]
        along, across = vessel.frame((y + low[0] + 0.5) * canvas.mpp, (x + low[1] + 0.5) * canvas.mpp)
        window |= (along / (vessel.long + wall)) ** 2 + (across / (vessel.short + wall)) ** 2 < 1
    mask[canvas.crop(vessels)] = code["vessel"]
    return mask
