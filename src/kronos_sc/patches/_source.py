"""Where pixels come from: chunks of a Zarr array, read without a task graph, or whatever else a dask array computes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.settings import settings
from kronos_sc._storage.chunks import direct
from kronos_sc.patches._raster import stored_array
from kronos_sc.patches._rect import Rect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import dask.array as da
    import zarr

    Run = Callable[[Callable[[Any], None], Iterable[Any]], Iterable[None]]


@dataclass(frozen=True)
class Want:
    """A part of an image that is needed, and where its pixels go.

    Parameters
    ----------
    rect
        Bounding box of what is needed; on the image.
    targets
        Extents inside the box, each with zeros (channels, rows, columns) that its pixels replace.
    """

    rect: Rect
    targets: tuple[tuple[Rect, np.ndarray], ...]


def source(data: da.Array) -> Stored | Lazy:
    """Return the fastest way to the pixels (channels, rows, columns) of a lazy array."""
    array = stored_array(data)
    return Lazy(data) if array is None else Stored(array)


def chunk_reader(data: da.Array) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Return a function that gives one chunk of a lazy array of any number of axes by its position.

    It may be called in any thread.
    """
    array = stored_array(data)
    if array is None:
        return lambda key: np.asarray(data.blocks[key].compute(scheduler="synchronous"))
    starts = [np.concatenate([[0], np.cumsum(axis)]).tolist() for axis in data.chunks]
    read = direct(array) if _same_chunks(data, array) else None

    def read_chunk(key: tuple[int, ...]) -> np.ndarray:
        if read is None:
            return np.asarray(array[tuple(slice(axis[i], axis[i + 1]) for i, axis in zip(key, starts, strict=True))])
        shape = tuple(axis[i] for i, axis in zip(key, data.chunks, strict=True))
        chunk = read(key)
        if chunk is None:  # was never written
            return np.full(shape, array.fill_value or 0, data.dtype)
        return chunk[tuple(map(slice, shape))]

    return read_chunk


def _same_chunks(data: da.Array, array: zarr.Array) -> bool:
    """Return whether chunks of a dask array are those of the Zarr array it reads."""
    edges = [min(edge, whole) for edge, whole in zip(array.chunks, array.shape, strict=True)]
    return all(set(axis[:-1]) <= {edge} and axis[0] == edge for edge, axis in zip(edges, data.chunks, strict=True))


class Stored:
    """A Zarr array.

    Each stored chunk that is needed is decoded once per call, in any thread, and copied to where it belongs.

    Parameters
    ----------
    array
        Pixels (channels, rows, columns), sharded or not, in any store.
    """

    def __init__(self, array: zarr.Array) -> None:
        self._array = array
        self._direct = direct(array)
        self._cell = array.chunks
        # whatever is not read directly is asked for in pieces that Zarr fetches once: whole shards where there are some
        if self._direct is None and array.shards:
            self._cell = array.shards
        self._fill = array.dtype.type(0) if array.fill_value is None else array.fill_value

    def fill(self, channels: Sequence[int], wants: Iterable[Want], run: Run) -> None:
        """Replace the targets by pixels of these channels; `run` maps a function over jobs, in threads or not."""
        depth, height, width = self._cell
        # several channels may lie in one chunk, and several targets want a part of it
        planes: dict[int, list[tuple[int, int]]] = {}
        for position, channel in enumerate(channels):
            planes.setdefault(channel // depth, []).append((position, channel))
        parts: dict[tuple[int, int], list[tuple[Rect, np.ndarray]]] = {}
        for rect, pixels in (target for want in wants for target in want.targets):
            for i in range(rect.y0 // height, -(-rect.y1 // height)):
                for j in range(rect.x0 // width, -(-rect.x1 // width)):
                    if part := rect.meet(Rect(i * height, (i + 1) * height, j * width, (j + 1) * width)):
                        parts.setdefault((i, j), []).append((part, view(pixels, rect, part)))

        jobs = [((plane, *cell), planes[plane], parts[cell]) for cell in parts for plane in planes]
        for _ in run(self._copy, jobs):
            pass

    def _copy(self, job: tuple[tuple[int, int, int], list[tuple[int, int]], list[tuple[Rect, np.ndarray]]]) -> None:
        """Decode one chunk and copy its pixels to all who want some."""
        key, channels, parts = job
        chunk: np.ndarray | None  # None: was never written
        if self._direct is None:
            chunk, (c0, y0, x0) = self._through_zarr([channel for _, channel in channels], [part for part, _ in parts])
        else:
            chunk = self._direct(key)
            c0, y0, x0 = (index * edge for index, edge in zip(key, self._cell, strict=True))

        for part, pixels in parts:
            for position, channel in channels:
                if chunk is not None:
                    pixels[position] = chunk[channel - c0, part.y0 - y0 : part.y1 - y0, part.x0 - x0 : part.x1 - x0]
                elif self._fill:  # targets are zeros already
                    pixels[position] = self._fill

    def _through_zarr(self, channels: list[int], parts: list[Rect]) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Return pixels of a box around the parts, and where it begins."""
        box = around(parts)
        low = min(channels)
        pixels = self._array[low : max(channels) + 1, box.y0 : box.y1, box.x0 : box.x1]
        return np.asarray(pixels), (low, box.y0, box.x0)


class Lazy:
    """A dask array of any origin.

    Parameters
    ----------
    data
        Pixels (channels, rows, columns).
    """

    def __init__(self, data: da.Array) -> None:
        self._data = data
        self._tasks = dict(data.dask)  # once: dask goes through all tasks of an image to find those of a window
        self._ends = [np.cumsum(axis) for axis in data.chunks]

    def fill(self, channels: Sequence[int], wants: Iterable[Want], run: Run) -> None:  # dask brings its own threads
        """Replace the targets by pixels of these channels."""
        import dask

        wants = list(wants)
        data = self._of_chunks({key for want in wants for key in self._keys(channels, want.rect)})
        # rows and columns first: choosing channels of the whole image would make a task for each of its chunks
        boxes = [data[:, w.rect.y0 : w.rect.y1, w.rect.x0 : w.rect.x1][list(channels)] for w in wants]
        computed = dask.compute(*boxes, scheduler="threads", num_workers=settings.read_threads)
        for want, box in zip(wants, computed, strict=True):
            for rect, pixels in want.targets:
                pixels[...] = view(np.asarray(box), want.rect, rect)

    def _keys(self, channels: Sequence[int], rect: Rect) -> Iterator[tuple[str, int, int, int]]:
        """Yield the keys of the chunks that hold a rectangle of some channels."""
        planes = np.unique(np.searchsorted(self._ends[0], channels, side="right")).tolist()
        rows, columns = (
            range(int(np.searchsorted(ends, low, side="right")), int(np.searchsorted(ends, high - 1, side="right")) + 1)
            for ends, low, high in zip(self._ends[1:], (rect.y0, rect.x0), (rect.y1, rect.x1), strict=True)
        )
        return ((self._data.name, *key) for key in product(planes, rows, columns))

    def _of_chunks(self, keys: set[tuple[str, int, int, int]]) -> da.Array:
        """Return the array with the tasks of some of its chunks only."""
        import dask.array as da
        from dask.optimization import cull

        return da.Array(cull(self._tasks, list(keys))[0], self._data.name, self._data.chunks, self._data.dtype)


def around(rects: Sequence[Rect]) -> Rect:
    """Return the bounding box of rectangles."""
    return Rect(min(r.y0 for r in rects), max(r.y1 for r in rects), min(r.x0 for r in rects), max(r.x1 for r in rects))


def view(pixels: np.ndarray, rect: Rect, part: Rect) -> np.ndarray:
    """Return the part of an array (..., rows, columns) that covers `rect`."""
    return pixels[..., part.y0 - rect.y0 : part.y1 - rect.y0, part.x0 - rect.x0 : part.x1 - rect.x0]
