"""Chunks that a store should hold and does not: Zarr reads them as zeros without a word."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc.patches._raster import stored_array

if TYPE_CHECKING:
    from collections.abc import Callable

    import dask.array as da


def stored_chunks(data: da.Array) -> tuple[tuple[int, ...], Callable[[tuple[int, ...]], bool]] | None:
    """Return the shape of the stored chunks (shards) of a lazy array and whether one is on disk.

    None where that cannot be known.
    """
    from zarr.storage import LocalStore

    array = stored_array(data)
    if array is None or not isinstance(array.store_path.store, LocalStore):
        return None
    root = os.fspath(array.store_path.store.root / array.store_path.path)
    file_name = array.metadata.encode_chunk_key
    return array.shards or array.chunks, lambda key: _exists(f"{root}/{file_name(key)}")


def _exists(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116 - a path object for each of 64,000 chunks takes longer than asking
    except (FileNotFoundError, NotADirectoryError):  # whatever else is wrong, a missing permission for one, is not this
        return False
    return True


def in_words(key: tuple[int, ...], chunk: tuple[int, ...], shape: tuple[int, int]) -> str:
    """Return the rows and columns of a stored chunk, ends excluded."""
    (y0, y1), (x0, x1) = (
        (i * edge, min((i + 1) * edge, whole)) for i, edge, whole in zip(key, chunk, shape, strict=True)
    )
    return f"rows {y0}–{y1} columns {x0}–{x1}"


def unstored_labels(data: da.Array) -> list[str]:
    """Name the chunks of a label image that a Zarr store on disk does not hold."""
    if (stored := stored_chunks(data)) is None:
        return []
    chunk, exists = stored
    keys = np.ndindex(*(-(-whole // edge) for whole, edge in zip(data.shape, chunk, strict=True)))
    return [in_words(key, chunk, data.shape) for key in keys if not exists(key)]
