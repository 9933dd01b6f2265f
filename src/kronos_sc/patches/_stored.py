"""Chunks that a store should hold and does not: Zarr reads them as zeros without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.checks import numbers
from kronos_sc.patches._raster import stored_array

if TYPE_CHECKING:
    from collections.abc import Callable

    import dask.array as da

    from kronos_sc.patches._plan import Plan


def stored_chunks(data: da.Array) -> tuple[tuple[int, ...], Callable[[tuple[int, ...]], bool]] | None:
    """Return the shape of the stored chunks (shards) of a lazy array and whether one is on disk; None where that cannot be known."""
    from zarr.storage import LocalStore

    array = stored_array(data)
    if array is None or not isinstance(array.store_path.store, LocalStore):
        return None
    root = array.store_path.store.root / array.store_path.path
    return array.shards or array.chunks, lambda key: (root / array.metadata.encode_chunk_key(key)).exists()


def _in_words(key: tuple[int, int], chunk: tuple[int, int], shape: tuple[int, int]) -> str:
    """Return the rows and columns of a stored chunk, ends excluded."""
    (y0, y1), (x0, x1) = ((i * edge, min((i + 1) * edge, whole)) for i, edge, whole in zip(key, chunk, shape, strict=True))
    return f"rows {y0}–{y1} columns {x0}–{x1}"


def unstored(plan: Plan) -> list[str]:
    """Name the chunks under the centre of a unit that a Zarr store on disk does not hold."""
    if (stored := stored_chunks(plan.image.data)) is None:
        return []
    chunk, exists = stored
    y, x = (np.asarray(c) + plan.units.size // 2 for c in (plan.units.y, plan.units.x))
    cells = np.unique(np.stack([y // chunk[1], x // chunk[2]], axis=1), axis=0).tolist()
    names = []
    for channel in plan.channels:
        for row, column in cells:
            if not exists((channel // chunk[0], row, column)):
                names.append(f"channel {plan.image.channels[channel]!r} {_in_words((row, column), chunk[1:], plan.image.shape)}")
    return names


def unstored_labels(data: da.Array) -> list[str]:
    """Name the chunks of a label image that a Zarr store on disk does not hold."""
    if (stored := stored_chunks(data)) is None:
        return []
    chunk, exists = stored
    keys = np.ndindex(*(-(-whole // edge) for whole, edge in zip(data.shape, chunk, strict=True)))
    return [_in_words(key, chunk, data.shape) for key in keys if not exists(key)]


def require_stored(plan: Plan) -> None:
    """Raise an OSError that names the chunks under units that are not in the store."""
    if missing := unstored(plan):
        msg = (
            f"Image {plan.image.name!r} has no stored chunk under some units: {numbers(missing, most=5)}. Nothing was written. "
            "Restore the chunks; or, if the store was written without its empty chunks, take them as zero with nan='zero'."
        )
        raise OSError(msg)
