"""Windows → blocks, unions of whole chunks.

Each unit is owned by exactly one block, and each chunk is decoded for the first block that needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.settings import settings
from kronos_sc.patches._rect import Rect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kronos_sc.patches._raster import Raster
    from kronos_sc.patches._units import Units

MOST_UNITS = 1024
"""Units of a block: what is lost when a run is killed, and what one worker takes at a time."""


@dataclass(frozen=True)
class Block:
    """A part of the plan that is read at once.

    Parameters
    ----------
    index
        Position in reading order.
    rect
        Bounding box of its windows.
    units
        Positions of the units it owns (int64).
    first_use
        Chunks (row, column of the chunk grid) that no earlier block has decoded.
    """

    index: int
    rect: Rect
    units: np.ndarray
    first_use: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ReadPlan:
    """What is read, in which order, for whom.

    Parameters
    ----------
    image
        Where pixels come from.
    channels
        Positions of the channels to read, in panel order.
    units
        The windows.
    blocks
        In reading order.
    chunks
        Extent of each needed chunk.
    consumers
        Blocks that need a chunk, in reading order.
    """

    image: Raster
    channels: tuple[int, ...]
    units: Units
    blocks: tuple[Block, ...]
    chunks: dict[tuple[int, int], Rect]
    consumers: dict[tuple[int, int], tuple[int, ...]]

    def only(self, index: int) -> ReadPlan:
        """Return a plan of one block alone, small enough to be sent to another machine.

        It holds the units of the block, and the labels under them.
        """
        from kronos_sc.patches._units import LabelWindow

        block = self.blocks[index]
        units = self.units.subset(block.units)
        if units.labels is not None:
            units = replace(units, labels=LabelWindow.of(units.labels, block.rect))
        touched = {key: rect for key, rect in self.chunks.items() if index in self.consumers[key]}
        alone = Block(0, block.rect, np.arange(len(units)), tuple(touched))
        image = replace(self.image, element=None)
        return ReadPlan(image, self.channels, units, (alone,), touched, dict.fromkeys(touched, (0,)))


def plan(
    image: Raster,
    channels: Sequence[int],
    units: Units,
    *,
    block_memory: int | None = None,
    most: int = MOST_UNITS,
    groups: Sequence[np.ndarray] | None = None,
) -> ReadPlan:
    """Divide units into blocks.

    A unit belongs to the block that holds the centre of its window; blocks are unions of whole chunks, as many as
    `block_memory` bytes hold (`settings.block_memory` by default), one at least. Where that gives more than `most`
    units, the block is cut into bands of rows.

    Parameters
    ----------
    image
        Where pixels come from.
    channels
        Positions of the channels to read, in panel order.
    units
        The windows.
    block_memory
        Bytes of decoded pixels per block.
    most
        Units per block.
    groups
        Positions of the units of each block, from an earlier plan; units in none of them are not read.
    """
    edges = [np.concatenate([[0], np.cumsum(axis)]) for axis in image.data.chunks[1:]]
    if groups is None:
        if block_memory is None:
            block_memory = settings.block_memory
        groups = _groups(image, len(channels), units, edges, block_memory, most)
    return _with_chunks(image, tuple(channels), units, groups, edges)


def _groups(
    image: Raster, channels: int, units: Units, edges: list[np.ndarray], block_memory: int, most: int
) -> list[np.ndarray]:
    """Return the units of each block, in reading order; within a block from top to bottom."""
    # the chunk in which the centre of a window lies decides which block owns it
    pixel_bytes = channels * image.data.dtype.itemsize + 4  # labels included
    strides = _chunks_per_block(image, pixel_bytes, block_memory)
    centre = np.stack([units.y, units.x], axis=1) + units.size // 2
    cells = np.stack([np.searchsorted(edges[axis], centre[:, axis], side="right") - 1 for axis in (0, 1)], axis=1)
    # blocks row by row, and the units of each from top to bottom
    blocks_across = -(-(len(edges[1]) - 1) // strides[1])
    owner = cells[:, 0] // strides[0] * blocks_across + cells[:, 1] // strides[1]
    order = np.lexsort((units.x, units.y, owner))
    if not len(order):
        return []
    groups = np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)
    return [band for group in groups for band in np.array_split(group, -(-len(group) // most))]


def _chunks_per_block(image: Raster, pixel_bytes: int, block_memory: int) -> tuple[int, int]:
    """Return how many chunks (down, across) one block may span.

    Wide first, so that fewer rows of halo are carried over.
    """
    height, width = (max(axis) for axis in image.data.chunks[1:])
    # about a square, and what that leaves over goes into its width
    n_chunks = max(1, block_memory // (height * width * pixel_bytes))
    edge = int(np.sqrt(n_chunks))
    across = min(len(image.data.chunks[2]), max(1, n_chunks // max(1, edge)))
    return max(1, n_chunks // across), across


def _with_chunks(
    image: Raster, channels: tuple[int, ...], units: Units, groups: Sequence[np.ndarray], edges: list[np.ndarray]
) -> ReadPlan:
    """Find out which chunks each block needs and who decodes them."""
    consumers: dict[tuple[int, int], list[int]] = {}
    chunks: dict[tuple[int, int], Rect] = {}
    blocks = []
    for index, members in enumerate(groups):
        y = units.y[members]
        x = units.x[members]
        rect = Rect(int(y.min()), int(y.max()) + units.size, int(x.min()), int(x.max()) + units.size)
        first_use = []
        for key, extent in _touched(y, x, units.size, edges):
            if key not in consumers:
                first_use.append(key)
                chunks[key] = extent
            consumers.setdefault(key, []).append(index)
        blocks.append(Block(index, rect, members, tuple(first_use)))
    indices = {key: tuple(blocks_of_chunk) for key, blocks_of_chunk in consumers.items()}
    return ReadPlan(image, channels, units, tuple(blocks), chunks, indices)


def _touched(y: np.ndarray, x: np.ndarray, size: int, edges: list[np.ndarray]) -> list[tuple[tuple[int, int], Rect]]:
    """Return the chunks that at least one window meets, in row-major order."""
    first = []
    last = []
    for axis, low in zip(edges, (y, x), strict=True):
        first.append(np.maximum(0, np.searchsorted(axis, low, side="right") - 1))
        last.append(np.minimum(len(axis) - 1, np.searchsorted(axis, low + size, side="left")))

    # the n-th chunk that each window meets, for all windows at once
    codes: list[np.ndarray] = []
    for down, across in np.ndindex(*(int((end - start).max()) for start, end in zip(first, last, strict=True))):
        i = first[0] + down
        j = first[1] + across
        met = (i < last[0]) & (j < last[1])
        codes.append(np.unique(i[met] * len(edges[1]) + j[met]))
    ys, xs = edges
    keys = [divmod(code, len(xs)) for code in np.unique(np.concatenate(codes)).tolist()]
    return [((i, j), Rect(int(ys[i]), int(ys[i + 1]), int(xs[j]), int(xs[j + 1]))) for i, j in keys]
