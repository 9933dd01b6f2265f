"""Patches on a grid: one canvas, one axes, however many patches there are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc.pl._outline import outline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

_GAP = 0.07  # between patches, as a share of a patch's edge
_TITLE = 0.24  # height of a title, in the same unit
_BEYOND = (0.5, 0.5, 0.5, 0.15)  # a faint grey on light and on dark pages


@dataclass(frozen=True)
class Grid:
    """Where patches lie, in pixels of the canvas.

    Parameters
    ----------
    size
        Edge of a patch in pixels.
    cells
        Row and column of each patch (n × 2, int64).
    titled
        Whether there is a line of text above each.
    """

    size: int
    cells: np.ndarray
    titled: bool

    @property
    def step(self) -> np.ndarray:
        """Rows and columns from one patch to the next."""
        gap = max(1, round(self.size * _GAP))
        return np.array([self.size + gap + self.head, self.size + gap])

    @property
    def head(self) -> int:
        """Rows of a title."""
        return round(self.size * _TITLE) if self.titled else 0

    @property
    def corners(self) -> np.ndarray:
        """First row and column of each patch (n × 2)."""
        return self.cells * self.step + [self.head, 0]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the canvas."""
        rows, columns = (self.cells.max(0) + 1) * self.step - (self.step - [self.size + self.head, self.size])
        return int(rows), int(columns)


def cells(count: int, rows: Mapping[str, int] | None) -> np.ndarray:
    """Return row and column of each patch (n × 2).

    Row by row as counted in `rows`, or in a block about twice as wide as high.
    """
    if rows is not None:
        return np.array([(row, column) for row, length in enumerate(rows.values()) for column in range(length)])
    columns = min(count, max(4, math.ceil(math.sqrt(2 * count))))
    return np.stack(np.divmod(np.arange(count), columns), axis=1)


def draw(ax: Axes, grid: Grid, patches: Sequence[np.ndarray], inside: np.ndarray, masks: np.ndarray | None) -> None:
    """Draw RGB patches (y, x, 3) as one image, and the outlines of their masks.

    The image is transparent in between, and faint beyond the tissue image.
    """
    from matplotlib.collections import LineCollection

    height, width = grid.shape
    canvas = np.zeros((height, width, 4), np.float32)
    for patch, opaque, (top, left) in zip(patches, inside, grid.corners, strict=True):
        window = np.where(opaque[..., None], np.dstack([patch, np.ones(opaque.shape)]), _BEYOND)
        canvas[top : top + grid.size, left : left + grid.size] = window
    ax.imshow(canvas, extent=(0, width, height, 0), interpolation="nearest")
    if masks is not None:
        lines = [outline(mask) + corner[::-1] for mask, corner in zip(masks, grid.corners, strict=True)]
        ax.add_collection(
            LineCollection(np.concatenate(lines), colors="white", linewidths=0.7, alpha=0.9, label="outlines")
        )
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal")


def write_titles(ax: Axes, grid: Grid, titles: Sequence[str]) -> None:
    """Write a line above each patch, cut to its width."""
    for title, (top, left) in zip(titles, grid.corners, strict=False):
        shown = title if len(title) <= 16 else f"{title[:15]}…"
        ax.text(left, top - grid.size * 0.04, shown, fontsize="x-small", ha="left", va="bottom")


def name_rows(ax: Axes, grid: Grid, names: Sequence[str]) -> None:
    """Write the name of each row to its left."""
    if not names:
        return
    middles = np.arange(len(names)) * grid.step[0] + grid.head + grid.size / 2
    ax.set_yticks(middles, list(names), fontsize="small")
    ax.tick_params(axis="y", length=0)
