"""What one pass over the pixels of a marker leaves: sums per cell of a grid, grey levels, a thumbnail."""

# Shapes: r × c pixels of a tile, gr × gc cells of a grid of edge e.
from __future__ import annotations

import numpy as np

from kronos_sc._core.moments import Moments

CELL = 32  # edge of the cells in which tissue and artifacts are looked for, in pixels
TILE = 1024  # pixels are summed in tiles of this edge, so that temporary arrays stay small
BINS = 4096  # grey levels of floats, between 0 and full scale
THUMBNAIL = 256  # largest edge


class Plane:
    """Everything that is summed up over the pixels of one marker; memory grows with the number of cells, not of pixels.

    Parameters
    ----------
    shape
        Rows and columns of the image.
    dtype
        Of the pixels.
    scale
        Raw value that becomes 1.
    step
        Edge of the cells whose mean and spread are kept, the stride of the patches.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype, scale: float, step: int) -> None:
        self.scale = scale
        self.step = step
        self.dtype = dtype
        self.small = dtype.kind in "ui" and dtype.itemsize <= 2
        self.full = min(scale, float(np.iinfo(dtype).max)) if dtype.kind in "ui" else scale
        # every grey level of small whole numbers has a place of its own, so that percentiles are exact
        self.levels = np.zeros(1 << (8 * dtype.itemsize) if self.small else BINS, np.int64)

        fine = tuple(edge // CELL for edge in shape)
        self.mean = np.zeros(fine, np.float32)
        self.variance = np.zeros(fine, np.float32)
        self.saturated = np.zeros(fine, np.float32)
        self.detail = np.zeros(fine, np.float32)
        self.coarse = np.zeros(fine, np.float32)

        coarse = tuple(edge // step for edge in shape)
        self.total = np.zeros(coarse, np.int64 if self.small else np.float64)
        self.squares = np.zeros_like(self.total)
        self.pooling = pooling(shape)
        self.thumbnail = np.zeros([edge // self.pooling for edge in shape], np.float32)

    def add(self, pixels_rc: np.ndarray, y: int, x: int) -> None:
        """Take in a block that starts at row `y` and column `x`, multiples of `source.EDGE`."""
        for row in range(0, pixels_rc.shape[0], TILE):
            for column in range(0, pixels_rc.shape[1], TILE):
                self._tile(pixels_rc[row : row + TILE, column : column + TILE], y + row, x + column)

    def _tile(self, tile_rc: np.ndarray, y: int, x: int) -> None:
        self.levels += self._counted(tile_rc)
        _place(self.thumbnail, pooled(tile_rc, self.pooling), y // self.pooling, x // self.pooling)

        # tissue and artifacts are looked for on the fine grid
        cells = split(tile_rc, CELL)
        values = cells.astype(np.float32)
        values /= self.scale
        mean = values.mean(axis=(1, 3))
        _place(self.mean, mean, y // CELL, x // CELL)
        _place(self.saturated, (cells >= self.full).mean(axis=(1, 3), dtype=np.float32), y // CELL, x // CELL)
        _place(self.variance, np.square(values - mean[:, None, :, None]).mean(axis=(1, 3)), y // CELL, x // CELL)
        _place(self.detail, detail(values), y // CELL, x // CELL)
        _place(self.coarse, detail(shrunk(values)), y // CELL, x // CELL)

        # moments are kept on the grid of the stride: only at the end is it known which cells patches cover
        total, squares = self._sums(split(tile_rc, self.step))
        _place(self.total, total, y // self.step, x // self.step)
        _place(self.squares, squares, y // self.step, x // self.step)

    def _counted(self, tile_rc: np.ndarray) -> np.ndarray:
        if self.small:
            return np.bincount(tile_rc.ravel(), minlength=len(self.levels))
        bins = np.clip(tile_rc * (BINS / self.scale), 0, BINS - 1).astype(np.int64)
        # the lowest level is for zero alone
        np.maximum(bins, tile_rc > 0, out=bins)
        return np.bincount(bins.ravel(), minlength=BINS)

    def _sums(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the exact sum and sum of squares of whole numbers, the mean and the squared deviations of others."""
        if self.small:
            whole = cells.astype(np.int64)
            return whole.sum(axis=(1, 3)), np.square(whole, out=whole).sum(axis=(1, 3))
        values = cells.astype(np.float64)
        mean = values.mean(axis=(1, 3))
        return mean, np.square(values - mean[:, None, :, None]).sum(axis=(1, 3))

    def moments(self, covered: np.ndarray) -> Moments:
        """Return count, mean and squared deviations of the raw pixels of the cells that patches cover.

        Exact for whole numbers.
        """
        n = int(covered.sum()) * self.step**2
        if n == 0:
            return Moments()
        if self.small:
            total = int(self.total[covered].sum())
            squared = sum(self.squares[covered].tolist())  # Python's integers: these outgrow 64 bits
            return Moments(n, total / n, (squared * n - total * total) / n)
        means = self.total[covered]
        mean = float(means.mean())
        return Moments(n, mean, float(self.squares[covered].sum() + self.step**2 * np.square(means - mean).sum()))

    def forget(self, *, keep: bool) -> None:
        """Free what only the report and the masks needed.

        `keep` the grids of the nuclear stain, which masks still need.
        """
        self.levels = self.levels[:0]
        if not keep:
            self.mean = self.variance = self.saturated = self.detail = self.coarse = np.zeros((0, 0), np.float32)

    def raw(self, level: np.ndarray | float) -> np.ndarray | float:
        """Return the raw value of a grey level."""
        return level if self.small else level * (self.scale / BINS)


def split(pixels_rc: np.ndarray, edge: int) -> np.ndarray:
    """Return the whole cells of a tile as (gr, e, gc, e); what is left at the right and bottom lies in no patch."""
    rows, columns = (size // edge for size in pixels_rc.shape)
    return pixels_rc[: rows * edge, : columns * edge].reshape(rows, edge, columns, edge)


def detail(cells: np.ndarray) -> np.ndarray:
    """Return the mean squared Laplacian within each cell, over 20: that of white noise is then its variance."""
    inner = cells[:, 1:-1, :, 1:-1]
    laplacian = 4 * inner
    for neighbors in (cells[:, :-2, :, 1:-1], cells[:, 2:, :, 1:-1], cells[:, 1:-1, :, :-2], cells[:, 1:-1, :, 2:]):
        laplacian -= neighbors
    return np.square(laplacian, out=laplacian).mean(axis=(1, 3)) / 20


def shrunk(cells: np.ndarray) -> np.ndarray:
    """Return cells of a quarter of the edge: noise of single pixels is gone, the edges of nuclei are not."""
    rows, _, columns, _ = cells.shape
    return cells.reshape(rows, CELL // 4, 4, columns, CELL // 4, 4).mean(axis=(2, 5))


def pooling(shape: tuple[int, int]) -> int:
    """Return the power of two by which an image is shrunk for its thumbnail."""
    factor = 1
    while max(shape) > THUMBNAIL * factor:
        factor *= 2
    return factor


def pooled(pixels_rc: np.ndarray, factor: int) -> np.ndarray:
    """Return the means of squares of `factor` pixels."""
    if factor > TILE:  # an image of more than 262,144 px: one pixel of each tile will do
        return pixels_rc[:1, :1].astype(np.float32)
    return split(pixels_rc, factor).mean(axis=(1, 3), dtype=np.float32)


def _place(grid: np.ndarray, part: np.ndarray, row: int, column: int) -> None:
    """Write a part into a grid, as far as the grid goes."""
    rows, columns = (
        min(size, whole - start) for size, whole, start in zip(part.shape, grid.shape, (row, column), strict=True)
    )
    if rows > 0 and columns > 0:
        grid[row : row + rows, column : column + columns] = part[:rows, :columns]
