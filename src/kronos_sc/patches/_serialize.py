"""Images on their way to another process.

They go by their address where they lie in a Zarr store, by their pixels otherwise.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc.patches._raster import Raster, stored_array
from kronos_sc.patches._reader import read, require_stored
from kronos_sc.patches._rect import Rect
from kronos_sc.patches._source import view

if TYPE_CHECKING:
    import zarr

    from kronos_sc.patches._plan import ReadPlan


def by_reference(image: Raster) -> Raster | None:
    """Return an image that any process can read which sees the same disks or buckets.

    None for pixels that only this one has.
    """
    import dask.array as da
    import zarr
    from zarr.storage import FsspecStore, LocalStore, ObjectStore

    array = stored_array(image.data)
    if array is None:
        return None
    store = array.store_path.store
    if not isinstance(store, LocalStore | FsspecStore | ObjectStore):
        return None
    # other processes work in other folders
    if isinstance(store, LocalStore):
        absolute = LocalStore(Path(store.root).absolute(), read_only=True)
        array = zarr.open_array(absolute, path=array.store_path.path, zarr_format=array.metadata.zarr_format, mode="r")
    return replace(image, data=da.from_array(array, chunks=image.data.chunks, name=False), element=None)


def check_visible(plan: ReadPlan, *, nan: str) -> None:
    """Raise an OSError unless this process sees the image of a plan: Zarr reads what it does not see as zeros."""
    import zarr

    array = stored_array(plan.image.data)
    if array is None:
        return
    address = array.store_path
    visible: zarr.Array | None = None
    with suppress(OSError, KeyError):
        visible = zarr.open_array(address.store, path=address.path, zarr_format=array.metadata.zarr_format, mode="r")
    if visible is None or visible.shape != array.shape or visible.dtype != array.dtype:
        msg = (
            f"Image {plan.image.name!r} is not seen here at {address}. All workers must see the SpatialData under the "
            "path that it was opened with: put it on a disk that they share."
        )
        raise OSError(msg)
    if nan == "error":
        require_stored(plan)


def with_pixels(plan: ReadPlan, *, nan: str) -> ReadPlan:
    """Return a plan of one block that brings the pixels it needs; they are read, and checked, here."""
    import dask.array as da

    with closing(read(plan, nan=nan)) as blocks:
        loaded = next(blocks)
    (block,) = plan.blocks
    image = plan.image

    # the part of the block that lies on the image
    top, bottom, left, right = loaded.inside
    y0, x0 = block.rect.y0, block.rect.x0
    rect = Rect(y0 + top, y0 + bottom, x0 + left, x0 + right)
    n_channels = len(loaded.pixels)
    window = SentWindow.of(loaded.pixels[:, top:bottom, left:right], rect, (n_channels, *image.shape))
    chunks = ((n_channels,), *image.data.chunks[1:])
    data = da.from_array(window, chunks=chunks, name=False, asarray=False, fancy=False)
    names = tuple(image.channels[channel] for channel in plan.channels)
    return replace(plan, image=Raster(image.name, data, names, None), channels=tuple(range(len(names))))


@dataclass(frozen=True, eq=False)
class SentWindow:
    """A rectangle of an image, compressed, that answers as if it were all of it; the rest is zero.

    Parameters
    ----------
    rect
        Rows and columns of the image.
    shape
        Of the image (channels, rows, columns).
    dtype
        Of the pixels.
    packed
        Each channel of the rectangle.
    """

    rect: Rect
    shape: tuple[int, int, int]
    dtype: np.dtype
    packed: tuple[bytes, ...]

    @classmethod
    def of(cls, pixels: np.ndarray, rect: Rect, shape: tuple[int, int, int]) -> SentWindow:
        """Return the window that holds pixels (channels, rows, columns) at a rectangle."""
        return cls(rect, shape, pixels.dtype, tuple(_codec().encode(np.ascontiguousarray(plane)) for plane in pixels))

    @property
    def ndim(self) -> int:
        """Three."""
        return 3

    @property
    def nbytes(self) -> int:
        """Bytes that travel."""
        return sum(map(len, self.packed))

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        (c0, c1, _), (y0, y1, _), (x0, x1, _) = (part.indices(size) for part, size in zip(key, self.shape, strict=True))
        rect = Rect(y0, y1, x0, x1)
        pixels = np.zeros((c1 - c0, *rect.shape), self.dtype)
        common = self.rect.meet(rect)
        if common is None:
            return pixels
        for plane, packed in zip(pixels, self.packed[c0:c1], strict=True):
            held = np.frombuffer(_codec().decode(packed), self.dtype).reshape(self.rect.shape)
            view(plane, rect, common)[...] = view(held, self.rect, common)
        return pixels


def _codec() -> Any:
    from numcodecs import Blosc

    return Blosc(cname="lz4", clevel=1, shuffle=Blosc.SHUFFLE)
