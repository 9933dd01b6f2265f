"""Plan → pixels: each chunk decoded once, only the wanted channels, the next block read while this one is used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import numbers
from kronos_sc._core.settings import settings
from kronos_sc.patches._ahead import in_thread
from kronos_sc.patches._crop import covered
from kronos_sc.patches._loaded import PixelBlock
from kronos_sc.patches._source import Want, around, source, view
from kronos_sc.patches._stored import in_words, stored_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from kronos_sc.patches._plan import Block, ReadPlan
    from kronos_sc.patches._rect import Rect
    from kronos_sc.patches._source import Lazy, Stored

_AS_IT_WAS = "The SpatialData is as it was."  # whatever a store of features may hold by then
_WAITING = 2**28  # bytes of decoded pixels that may wait for later blocks


def read(plan: ReadPlan, *, nan: str = "error", ahead: int = 1) -> Generator[PixelBlock, None, None]:
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


def _blocks(plan: ReadPlan, nan: str) -> Iterator[PixelBlock]:
    """Decode, assemble and check one block after the other."""
    image = source(plan.image.data)
    strips = _Strips(plan)
    with _threads() as run:
        for block in plan.blocks:
            # what earlier blocks have decoded for this one
            pixels = np.zeros((len(plan.channels), *block.rect.shape), plan.image.data.dtype.newbyteorder("="))
            for rect, strip in strips.pop(block):
                view(pixels, block.rect, rect)[...] = strip

            labels = run(partial(_labels, plan), (block,))  # several threads begin now; one waits until it is asked
            wants = [strips.want(block, key, pixels) for key in (*block.first_use, *strips.to_redecode(block))]
            try:
                image.fill(plan.channels, wants, run)
            except Exception as error:
                raise _undecodable(plan, image, [want.rect for want in wants], error) from error
            del wants  # they hold pixels of later blocks

            loaded = _loaded(plan, block, pixels, next(labels))
            _check_finite(loaded, plan, block, nan, run)
            yield loaded
            del pixels, loaded, labels  # before the next block takes as much


@contextmanager
def _threads() -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield a `map` that works in as many threads as the settings say."""
    if settings.read_threads < 2:
        yield map
        return
    with ThreadPoolExecutor(settings.read_threads, "kronos_sc-decode") as pool:
        yield pool.map


class _Strips:
    """Pixels of decoded chunks that later blocks need; where too many would wait, a chunk is decoded again instead.

    A block at the lower edge of a chunk needs a few rows of the chunk below, whose own block comes a whole row of
    blocks later.
    """

    def __init__(self, plan: ReadPlan) -> None:
        self._plan = plan
        self._waiting: dict[int, list[tuple[Rect, np.ndarray]]] = {}
        self._to_redecode: dict[int, list[tuple[int, int]]] = {}
        self._bytes = 0
        self._most = max(_WAITING, 4 * settings.block_memory)

    def pop(self, block: Block) -> list[tuple[Rect, np.ndarray]]:
        """Return what waits for a block, and forget it."""
        strips = self._waiting.pop(block.index, [])
        self._bytes -= sum(strip.nbytes for _, strip in strips)
        return strips

    def to_redecode(self, block: Block) -> list[tuple[int, int]]:
        """Return the chunks that were decoded before and must be again, for this block."""
        return self._to_redecode.pop(block.index, [])

    def want(self, block: Block, key: tuple[int, int], pixels: np.ndarray) -> Want:
        """Return what is taken of a chunk, and where it goes: into this block, or into strips for later ones."""
        plan = self._plan
        first = key in block.first_use
        targets = []
        for consumer in plan.consumers[key]:
            rect = plan.chunks[key].meet(plan.blocks[consumer].rect)
            if rect is None:
                continue
            if consumer == block.index:
                targets.append((rect, view(pixels, block.rect, rect)))
            elif consumer > block.index and (first or key in self._to_redecode.get(consumer, [])):
                strip = self._strip(consumer, key, rect, pixels)
                if strip is not None:
                    targets.append((rect, strip))
        return Want(around([rect for rect, _ in targets]), tuple(targets))

    def _strip(self, consumer: int, key: tuple[int, int], rect: Rect, pixels: np.ndarray) -> np.ndarray | None:
        """Return zeros that wait for a later block.

        None where too much waits; it is noted that the chunk is to be decoded again.
        """
        again = self._to_redecode.setdefault(consumer, [])
        size = len(pixels) * rect.shape[0] * rect.shape[1] * pixels.itemsize
        if self._bytes + size > self._most:
            if key not in again:
                again.append(key)
            return None
        if key in again:
            again.remove(key)
        self._bytes += size
        strip = np.zeros((len(pixels), *rect.shape), pixels.dtype)
        self._waiting.setdefault(consumer, []).append((rect, strip))
        return strip


def _labels(plan: ReadPlan, block: Block) -> np.ndarray | None:
    labels = plan.units.labels
    rect = block.rect
    return None if labels is None else labels.read(rect.y0, rect.y1, rect.x0, rect.x1)


def _loaded(plan: ReadPlan, block: Block, pixels: np.ndarray, labels: np.ndarray | None) -> PixelBlock:
    units = plan.units
    rect = block.rect
    height, width = plan.image.shape
    inside = (max(0, -rect.y0), min(rect.y1, height) - rect.y0, max(0, -rect.x0), min(rect.x1, width) - rect.x0)
    y = units.y[block.units] - rect.y0
    x = units.x[block.units] - rect.x0
    ids = None if units.ids is None else units.ids[block.units]
    return PixelBlock(block.index, block.units, pixels, labels, y, x, inside, units.size, ids)


def windows(plan: ReadPlan, wanted: Iterable[tuple[int, Rect]]) -> Iterator[np.ndarray]:
    """Yield single pieces of an image (rows, columns), each of a channel and an extent inside the image.

    Parameters
    ----------
    plan
        Whose image is read; its blocks play no part.
    wanted
        Numbers of channels of the image, and extents.

    Raises
    ------
    OSError
        If a piece cannot be decoded; names channel and extent.
    """
    image = source(plan.image.data)
    return (_window(plan, image, channel, rect) for channel, rect in wanted)


def _window(plan: ReadPlan, image: Stored | Lazy, channel: int, rect: Rect) -> np.ndarray:
    pixels = np.zeros((1, *rect.shape), plan.image.data.dtype.newbyteorder("="))
    try:
        image.fill((channel,), [Want(rect, ((rect, pixels),))], map)
    except Exception as error:
        place = f"channel {plan.image.channels[channel]!r}, rows {rect.y0}–{rect.y1}, columns {rect.x0}–{rect.x1}"
        msg = (
            f"Image {plan.image.name!r} could not be decoded at {place}: {type(error).__name__}: {error}. "
            f"{_AS_IT_WAS} Restore that chunk, or write the image again from its source."
        )
        raise OSError(msg) from error
    return pixels[0]


def _undecodable(plan: ReadPlan, image: Stored | Lazy, rects: list[Rect], error: Exception) -> OSError:
    """Return an error that names the first channel and chunk that cannot be decoded."""
    for rect in rects:
        for channel in plan.channels:
            try:
                _window(plan, image, channel, rect)
            except OSError as first:
                return first
    return OSError(f"Image {plan.image.name!r} could not be decoded: {type(error).__name__}: {error}. {_AS_IT_WAS}")


def _check_finite(
    loaded: PixelBlock, plan: ReadPlan, block: Block, nan: str, run: Callable[..., Iterator[Any]]
) -> None:
    """Replace pixels that are not finite, or raise an error that names channels and region if a window holds one."""
    pixels = loaded.pixels
    if pixels.dtype.kind != "f":
        return
    broken = [c for c, finite in enumerate(run(_finite, pixels)) if not finite]
    if not broken:
        return
    # what lies between the windows depends on the size of blocks, and nobody sees it
    if nan == "error":
        seen = covered(loaded)
        broken = [c for c in broken if not np.isfinite(pixels[c][seen]).all()]
    if nan == "zero" or not broken:
        np.nan_to_num(pixels, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        return

    names = ", ".join(repr(plan.image.channels[plan.channels[c]]) for c in broken[:10])
    rect = block.rect
    height, width = plan.image.shape
    msg = (
        f"Image {plan.image.name!r} has NaN or infinite pixels in channels {names}, within "
        f"rows {max(0, rect.y0)}–{min(rect.y1, height)}, columns {max(0, rect.x0)}–{min(rect.x1, width)}. "
        "Mend the image, or take such pixels as zero with nan='zero'."
    )
    raise ValueError(msg)


def _finite(plane: np.ndarray) -> bool:
    """Return whether all pixels of a plane are finite, in strips that stay in the processor's cache."""
    return all(np.isfinite(plane[start : start + 64]).all() for start in range(0, len(plane), 64))


def unstored(plan: ReadPlan) -> list[str]:
    """Name the chunks under the centre of a unit that a Zarr store on disk does not hold."""
    if (stored := stored_chunks(plan.image.data)) is None:
        return []
    (depth, height, width), exists = stored
    y = (np.asarray(plan.units.y) + plan.units.size // 2) // height
    x = (np.asarray(plan.units.x) + plan.units.size // 2) // width
    across = -(-plan.image.shape[1] // width)
    places = [divmod(number, across) for number in np.unique(y * across + x).tolist()]
    names = []
    for channel in plan.channels:
        for row, column in places:
            if not exists((channel // depth, row, column)):
                extent = in_words((row, column), (height, width), plan.image.shape)
                names.append(f"channel {plan.image.channels[channel]!r} {extent}")
    return names


def require_stored(plan: ReadPlan) -> None:
    """Raise an OSError that names the chunks under units that are not in the store."""
    if missing := unstored(plan):
        msg = (
            f"Image {plan.image.name!r} has no stored chunk under some units: {numbers(missing, most=5)}. {_AS_IT_WAS} "
            "Restore the chunks; or, if the store was written without its empty chunks, take them as zero with "
            "nan='zero'."
        )
        raise OSError(msg)
