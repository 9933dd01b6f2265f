"""Plan → pixels: each chunk decoded once, only the wanted channels, the next block read while this one is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import numbers
from kronos_sc._core.settings import settings
from kronos_sc.patches._ahead import in_thread
from kronos_sc.patches._crop import covered
from kronos_sc.patches._loaded import LoadedBlock
from kronos_sc.patches._plan import Rect
from kronos_sc.patches._stored import in_words, stored_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kronos_sc.patches._plan import Block, Plan


def read(plan: Plan, *, nan: str = "error", ahead: int = 1) -> Iterator[LoadedBlock]:
    """Yield the blocks of a plan in order, reading ahead in a thread.

    Parameters
    ----------
    plan
        What to read.
    nan
        What to do about pixels that are not finite: "error", or "zero" to replace them.
    ahead
        Blocks that may wait, already decoded, while the caller is busy.
    """
    return in_thread(_blocks(plan, nan), ahead)


def _blocks(plan: Plan, nan: str) -> Iterator[LoadedBlock]:
    """Decode, assemble and check one block after the other."""
    waiting: dict[int, list[tuple[Rect, np.ndarray]]] = {}
    for block in plan.blocks:
        pieces = waiting.pop(block.index, [])
        pixels = np.zeros((len(plan.channels), *block.rect.shape), plan.image.data.dtype.newbyteorder("="))
        for rect, piece in pieces:
            _place(pixels, block.rect, rect, piece)
        for rect, decoded, takers in _decode(plan, block):
            for taker in takers:
                common = rect.meet(plan.blocks[taker].rect)
                part = decoded[:, common.y0 - rect.y0 : common.y1 - rect.y0, common.x0 - rect.x0 : common.x1 - rect.x0]
                if taker == block.index:
                    _place(pixels, block.rect, common, part)
                else:  # a later block needs this strip: keep a copy of it, not the chunk
                    waiting.setdefault(taker, []).append((common, part.copy()))
        loaded = _loaded(plan, block, pixels)
        _check_finite(loaded, plan, block, nan)
        yield loaded
        del pixels, loaded


def _place(pixels: np.ndarray, block: Rect, rect: Rect, piece: np.ndarray) -> None:
    pixels[:, rect.y0 - block.y0 : rect.y1 - block.y0, rect.x0 - block.x0 : rect.x1 - block.x0] = piece


def _loaded(plan: Plan, block: Block, pixels: np.ndarray) -> LoadedBlock:
    units, rect = plan.units, block.rect
    labels = units.labels.read(rect.y0, rect.y1, rect.x0, rect.x1) if units.labels is not None else None
    height, width = plan.image.shape
    inside = (max(0, -rect.y0), min(rect.y1, height) - rect.y0, max(0, -rect.x0), min(rect.x1, width) - rect.x0)
    y, x = units.y[block.units] - rect.y0, units.x[block.units] - rect.x0
    ids = None if units.ids is None else units.ids[block.units]
    return LoadedBlock(block.index, block.units, pixels, labels, y, x, inside, units.size, ids)


def _decode(plan: Plan, block: Block) -> Iterator[tuple[Rect, np.ndarray, tuple[int, ...]]]:
    """Yield (extent, pixels, takers) of each chunk that this block is the first to need, cut to what its takers need."""
    import dask

    if not block.fresh:
        return
    rects = [_needed(plan, key) for key in block.fresh]
    selected = plan.image.data[list(plan.channels)]
    lazy = [selected[:, rect.y0 : rect.y1, rect.x0 : rect.x1] for rect in rects]
    try:
        decoded = dask.compute(*lazy, scheduler="threads", num_workers=settings.read_threads)
    except Exception as error:
        raise _undecodable(plan, lazy, rects, error) from error
    for key, rect, pixels in zip(block.fresh, rects, decoded, strict=True):
        yield rect, np.asarray(pixels), plan.takers[key]


def _needed(plan: Plan, key: tuple[int, int]) -> Rect:
    """Return the bounding box of what the takers of a chunk need of it."""
    parts = [plan.chunks[key].meet(plan.blocks[taker].rect) for taker in plan.takers[key]]
    return Rect(min(p.y0 for p in parts), max(p.y1 for p in parts), min(p.x0 for p in parts), max(p.x1 for p in parts))


def _undecodable(plan: Plan, lazy: list[Any], rects: list[Rect], error: Exception) -> OSError:
    """Return an error that names the first channel and chunk that cannot be decoded."""
    for array, rect in zip(lazy, rects, strict=True):
        for position, channel in enumerate(plan.channels):
            try:
                array[position].compute(scheduler="synchronous")
            except Exception:  # noqa: BLE001 - whatever the codec raises, this is the chunk to name
                where = f"channel {plan.image.channels[channel]!r}, rows {rect.y0}–{rect.y1}, columns {rect.x0}–{rect.x1}"
                return OSError(
                    f"Image {plan.image.name!r} could not be decoded at {where}: {type(error).__name__}: {error}. "
                    "Nothing was written. Restore that chunk, or write the image again from its source."
                )
    return OSError(f"Image {plan.image.name!r} could not be decoded: {type(error).__name__}: {error}. Nothing was written.")


def _check_finite(loaded: LoadedBlock, plan: Plan, block: Block, nan: str) -> None:
    """Replace pixels that are not finite, or raise an error that names channel and block if a window holds one."""
    pixels = loaded.pixels
    if pixels.dtype.kind != "f":
        return
    broken = [c for c in range(len(pixels)) if not np.isfinite(pixels[c]).all()]
    if not broken:
        return
    if nan == "error":  # what lies between the windows depends on the size of blocks, and nobody sees it
        seen = covered(loaded)
        broken = [c for c in broken if not np.isfinite(pixels[c][seen]).all()]
    if nan == "zero" or not broken:
        np.nan_to_num(pixels, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        return
    names = ", ".join(repr(plan.image.channels[plan.channels[c]]) for c in broken[:10])
    rect, (height, width) = block.rect, plan.image.shape
    rows, columns = (max(0, rect.y0), min(rect.y1, height)), (max(0, rect.x0), min(rect.x1, width))
    msg = (
        f"Image {plan.image.name!r} has NaN or infinite pixels in channels {names}, in block {block.index} "
        f"(rows {rows[0]}–{rows[1]}, columns {columns[0]}–{columns[1]}). Mend the image, or take such pixels as zero with nan='zero'."
    )
    raise ValueError(msg)


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
                names.append(f"channel {plan.image.channels[channel]!r} {in_words((row, column), chunk[1:], plan.image.shape)}")
    return names


def require_stored(plan: Plan) -> None:
    """Raise an OSError that names the chunks under units that are not in the store."""
    if missing := unstored(plan):
        msg = (
            f"Image {plan.image.name!r} has no stored chunk under some units: {numbers(missing, most=5)}. Nothing was written. "
            "Restore the chunks; or, if the store was written without its empty chunks, take them as zero with nan='zero'."
        )
        raise OSError(msg)
