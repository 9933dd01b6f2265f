"""Features into a table on disk, a piece at a time: they may be larger than memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.progress import bar
from kronos_sc._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import zarr

_CHUNK = 4 * 2**20  # bytes: a handful of rows is read soon, and a million of them are some thousand files


def write_features(group: zarr.Group, name: str, features: Any) -> None:
    """Write features (rows × width) as anndata does, in chunks of whole rows.

    Parameters
    ----------
    group
        `obsm` of the table.
    name
        Of the slot; there is nothing of that name.
    features
        An array, or a dask array, of which `settings.block_memory` bytes (one of its chunks at least) are in memory at
        a time.
    """
    from zarr.codecs import BloscCodec

    rows, width = features.shape
    chunk = min(max(1, rows), max(1, _CHUNK // max(1, width * features.dtype.itemsize)))
    array = group.create_array(
        name,
        shape=features.shape,
        dtype=features.dtype,
        chunks=(chunk, max(1, width)),
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
        attributes={"encoding-type": "array", "encoding-version": "0.2.0"},
    )
    with bar(total=rows, description=f"write {name}", unit="unit") as progress:
        for first, values in _pieces(features, chunk):
            array[first : first + len(values)] = values
            progress.update(len(values))


def _pieces(features: Any, chunk: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield first row and values, in pieces of whole chunks: none is compressed twice."""
    first = 0
    waiting = np.empty((0, features.shape[1]), features.dtype)
    for part in _parts(features):
        values = np.concatenate([waiting, part]) if len(waiting) else part
        ready = len(values) // chunk * chunk
        if ready:
            yield first, values[:ready]
        first += ready
        waiting = values[ready:]
    if len(waiting):
        yield first, waiting


def _parts(features: Any) -> Iterator[np.ndarray]:
    """Yield consecutive rows as arrays, chunks of a dask array whole: none is computed twice."""
    rows, width = features.shape
    step = max(1, settings.block_memory // max(1, width * features.dtype.itemsize))
    stops: Iterable[int] = range(step, rows + step, step)
    if hasattr(features, "dask"):
        stops = _cuts_at_chunks(np.cumsum(features.chunks[0]).tolist(), step)
    start = 0
    for stop in stops:
        yield np.asarray(features[start:stop])
        start = stop


def _cuts_at_chunks(ends: list[int], step: int) -> list[int]:
    """Return where to cut so that parts hold whole chunks, and at most `step` rows if a chunk does."""
    cuts = []
    start = 0
    for end, following in zip(ends, [*ends[1:], None], strict=True):
        if following is None or following - start > step:
            cuts.append(end)
            start = end
    return cuts
