"""Images of any kind as one thing that is read block by block."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_pretrain.data.shards import DTYPES
from kronos_sc._core.checks import listed, repeated
from kronos_sc._core.intensity import check_range
from kronos_sc._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kronos_pretrain.corpus_build.manifest import Entry

Block = tuple[int, int, int, int]  # first row, end row, first column, end column
EDGE = 2048  # blocks start at multiples of this, as shards do


@dataclass(frozen=True)
class Source:
    """One image, open.

    Parameters
    ----------
    name
        For messages.
    data
        Lazy array (channels, rows, columns).
    channels
        Names.
    stamp
        Changes when the files change.
    """

    name: str
    data: Any
    channels: tuple[str, ...]
    stamp: str

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.data.shape[1], self.data.shape[2]

    @property
    def dtype(self) -> np.dtype:
        """As read: native byte order, floats of 32 bits."""
        native = np.dtype(self.data.dtype).newbyteorder("=")
        return np.dtype("float32") if native.kind == "f" else native

    def groups(self, positions: list[int]) -> list[list[int]]:
        """Return positions of channels that are decoded together."""
        # a chunk that holds several channels is decoded once for all of them
        chunks = getattr(self.data, "chunks", None)
        ends = np.cumsum(chunks[0]) if chunks else np.arange(1, len(self.channels) + 1)
        by_chunk: dict[int, list[int]] = {}
        for position in positions:
            by_chunk.setdefault(int(np.searchsorted(ends, position, side="right")), []).append(position)
        return list(by_chunk.values())

    def blocks(self, group: list[int], budget: int) -> list[Block]:
        """Return the blocks that a group is read in: whole shards, full rows if they fit."""
        height, width = self.shape
        across = max(1, budget // (EDGE * self.data.dtype.itemsize * len(group) * EDGE)) * EDGE
        return [
            (y, min(y + EDGE, height), x, min(x + across, width))
            for y in range(0, height, EDGE)
            for x in range(0, width, across)
        ]

    def read(self, group: list[int], block: Block) -> np.ndarray:
        """Return pixels (group, rows, columns) of one block."""
        y0, y1, x0, x1 = block
        key = slice(group[0], group[-1] + 1)
        try:
            lazy = self.data[key, y0:y1, x0:x1]
            pixels = lazy.compute(scheduler="synchronous") if hasattr(lazy, "compute") else np.array(lazy)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            place = f"{self.channels[group[0]]!r}, rows {y0}–{y1}, columns {x0}–{x1}"
            msg = (
                f"Image {self.name!r} could not be read at {place}: {error}. Copy or export it again, or take it out "
                "of the manifest."
            )
            raise OSError(msg) from error
        return np.asarray(pixels)[[position - group[0] for position in group]].astype(self.dtype, copy=False)


def stored_dtype(source: Source, positions: list[int], budget: int) -> np.dtype:
    """Return the number format of a corpus that holds all pixels without loss.

    Whole numbers of more than 16 bits are read once for it: 16 bits are enough for most, and their statistics are then
    exact.

    Raises
    ------
    ValueError
        A pixel is negative, or beyond 32 bits.
    """
    if source.dtype.kind == "f" or source.dtype.name in ("uint8", "uint16"):
        return source.dtype
    if source.dtype.itemsize <= 2:  # int8 and int16; negative pixels are refused when they are read
        return np.dtype(f"uint{8 * source.dtype.itemsize}")
    most = 0
    for _, _, pixels, _ in read_ahead(source, positions, budget):
        check_range(pixels, given=None, image=source.name)
        most = max(most, int(pixels.max()))
    unsigned = [dtype for dtype in map(np.dtype, DTYPES) if dtype.kind == "u" and dtype.itemsize > 1]
    wide_enough = [dtype for dtype in unsigned if most <= np.iinfo(dtype).max]
    if not wide_enough:
        msg = (
            f"Image {source.name!r} holds {source.dtype} up to {most:,}; a corpus holds {', '.join(DTYPES)}. "
            "Scale it down, or convert it to float32 and say which value is full scale with max_value =."
        )
        raise ValueError(msg)
    return wide_enough[0]


def read_ahead(
    source: Source, positions: list[int], budget: int
) -> Iterator[tuple[list[int], Block, np.ndarray, bool]]:
    """Yield (channels, block, pixels, whether it is the last of these channels).

    The next block is decoded while one is used.
    """
    todo = []
    for group in source.groups(positions):
        blocks = source.blocks(group, budget // 2)
        todo += [(group, block, block is blocks[-1]) for block in blocks]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(source.read, *todo[0][:2])
        for (group, block, last), following in zip_longest(todo, todo[1:]):
            pixels = waiting.result()
            if following:
                waiting = pool.submit(source.read, *following[:2])
            yield group, block, pixels, last


def open_source(entry: Entry) -> Source:
    """Open the image of a manifest entry; no pixel is read."""
    path = entry.path
    if path.suffix == ".npy":
        source = _npy(entry)
    elif path.is_dir() and any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs")):
        source = _spatialdata(entry)
    else:
        source = _tiff(entry)
    if twice := repeated(source.channels):
        msg = (
            f"Image {entry.name!r} has channels of the same name: {listed(twice)}. Name all of them with names = [...]."
        )
        raise ValueError(msg)
    if source.data.dtype.kind not in "uif":
        msg = (
            f"Image {entry.name!r} holds {source.data.dtype}; intensities are whole numbers or floats. Convert it to "
            "uint16."
        )
        raise ValueError(msg)
    return source


def _npy(entry: Entry) -> Source:
    try:
        data = np.load(entry.path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        msg = f"{str(entry.path)!r} is no plain array, or is cut off: {error}. Write it with numpy.save."
        raise OSError(msg) from error
    if data.ndim != 3 or len(entry.names) != len(data):
        msg = (
            f"{str(entry.path)!r} has shape {data.shape} and names = {len(entry.names)} channels; an array is "
            "(channels, rows, columns), with one name per channel. Add names = [...] to its [[image]]."
        )
        raise ValueError(msg)
    return Source(entry.name, data, entry.names, stamp(entry.path))


def _tiff(entry: Entry) -> Source:
    from kronos_sc.io import read_tiff
    from kronos_sc.patches import raster

    # the reader says what it found, and pixel sizes that nobody needs here: two lines for each of many images
    before = settings.verbosity
    settings.verbosity = min(before, 1)
    try:
        image = raster(read_tiff(entry.path, channels=list(entry.names) or None))
    finally:
        settings.verbosity = before
    return Source(entry.name, image.data, image.channels, stamp(entry.path))


def _spatialdata(entry: Entry) -> Source:
    import spatialdata

    from kronos_sc.patches import raster

    image = raster(spatialdata.read_zarr(entry.path, selection=("images",)), entry.image or None)
    names = entry.names or image.channels
    if len(names) != len(image.channels):
        msg = (
            f"names of {entry.name!r} are {len(names)}, its channels {len(image.channels)}: {listed(image.channels)}. "
            "Name each channel."
        )
        raise ValueError(msg)
    return Source(entry.name, image.data, names, stamp(entry.path / "images" / image.name))


def stamp(path: Path) -> str:
    """Return number of files, bytes, and the latest change of a file or of all files in a folder."""
    states = [file.stat() for file in _files(path)]
    size = sum(state.st_size for state in states)
    changed = max((state.st_mtime_ns for state in states), default=0)
    return f"{len(states)} {size} {changed}"


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from (file for file in path.rglob("*") if file.is_file())
