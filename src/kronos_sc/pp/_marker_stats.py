"""Mean and standard deviation of every channel over whole images, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core.checks import listed, one_of
from kronos_sc._core.intensity import check_range
from kronos_sc._core.intensity import max_value as full_scale
from kronos_sc._core.moments import Moments
from kronos_sc._core.progress import bar
from kronos_sc._core.resolve import require_spatialdata, tissue_images
from kronos_sc.markers._selection import selected, unlisted
from kronos_sc.patches import Exclusion, Raster, exclusions, raster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spatialdata import SpatialData


def marker_stats(
    sdata: SpatialData | Sequence[SpatialData],
    *,
    image_key: str | Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
    max_value: float | None = None,
    nan: str = "error",
    exclude: str | Sequence[str] | Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Measure mean and standard deviation of each channel over all pixels of all given images.

    For markers that a model has never seen, or to normalise by the data set's own statistics (the paper's maintainers
    saw little difference). One pass, chunk by chunk: memory does not grow with the image.

    Parameters
    ----------
    sdata
        One or several SpatialData.
    image_key
        One or several images; all of them if left out.
    channels
        Which channels; all if left out. Images that lack one contribute to the others. A list as for
        :func:`match_markers`, with `"AR=unseen"`, names the channel AR.
    max_value
        Raw value that becomes 1; the full scale of the image's dtype if left out.
    nan
        `"error"`, or `"zero"` to count pixels that are not finite as zero.
    exclude
        Labels that mark pixels not to be counted, as :func:`kronos_sc.tl.artifact_map` writes them: an element of which
        every pixel above 0 counts, several, or a mapping from element to names or codes of classes,
        `{"artifact_map_class": ["artifact"]}`. Of several images, each takes the labels with its number (`image_3`:
        `artifacts_3`).

    Returns
    -------
    Indexed by channel: `mean`, `std` (population, of pixels scaled to [0, 1]; float64), `pixels` (int64) and `images`
    (int64).
    """
    one_of(nan, ("error", "zero"), name="nan")
    data = list(sdata) if isinstance(sdata, Sequence) else [sdata]
    by_data = [_images(part, image_key) for part in data]
    excluded: list[Exclusion | None] = []
    for part, images in zip(data, by_data, strict=True):
        by_image = exclusions(part, exclude, images)
        excluded += [by_image.get(image.name) for image in images]
    rasters = [image for images in by_data for image in images]
    return raster_stats(rasters, channels, max_value=max_value, nan=nan, excluded=excluded)


def raster_stats(
    images: Sequence[Raster],
    channels: Sequence[str] | None,
    *,
    max_value: float | None,
    nan: str,
    excluded: Sequence[Exclusion | None] | None = None,
) -> pd.DataFrame:
    """Measure channels over rasters, without the pixels that are `excluded`; see :func:`marker_stats`."""
    every = list(dict.fromkeys(name for image in images for name in image.channels))
    if channels is not None and (unknown := unlisted(channels, every)):
        msg = f"No image has the channels {listed(unknown)}; there are: {listed(every, most=60)}."
        raise KeyError(msg)
    names = every if channels is None else list(selected(channels, every))
    moments = {name: Moments() for name in names}
    for image, exclusion in zip(images, excluded or [None] * len(images), strict=True):
        _measure(image, moments, max_value, nan, exclusion)
    if unmeasured := [name for name, channel in moments.items() if not channel.count]:
        msg = (
            f"Every pixel of channels {listed(unmeasured)} is excluded, so there is nothing to measure. Exclude fewer "
            "classes, or check the labels."
        )
        raise ValueError(msg)
    rows = {}
    for name, channel in moments.items():
        n_images = sum(name in image.channels for image in images)
        rows[name] = (channel.mean, channel.std, channel.count, n_images)
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "std", "pixels", "images"])
    return frame.rename_axis("channel")


def _images(sdata: SpatialData, image_key: str | Sequence[str] | None) -> list[Raster]:
    """Return the named images of one SpatialData, all of them without a name."""
    require_spatialdata(sdata)
    if image_key is None:
        image_key = list(tissue_images(sdata))
    keys = [image_key] if isinstance(image_key, str) else list(image_key)
    if not keys:
        raster(sdata)  # raises: there is no image
    return [raster(sdata, key) for key in keys]


def _measure(
    image: Raster, moments: dict[str, Moments], max_value: float | None, nan: str, exclusion: Exclusion | None
) -> None:
    """Add one image, chunk by chunk; each chunk is decoded once."""
    scale = full_scale(image.data.dtype, max_value, image=image.name)
    positions = [i for i, name in enumerate(image.channels) if name in moments]
    local = {i: Moments() for i in positions}
    n_chunks = int(np.prod(image.data.numblocks))
    with bar(total=n_chunks, description=f"statistics of {image.name}", unit="chunk") as progress:
        for (first, y, x), pixels in _chunks(image, set(positions)):
            keep = _kept(exclusion, y, y + pixels.shape[1], x, x + pixels.shape[2])
            for offset, plane in enumerate(pixels):
                position = first + offset
                if position not in local:
                    continue
                counted = plane if keep is None else plane[keep]
                finite = _finite(counted, nan, image, image.channels[position])
                check_range(finite, given=max_value, image=image.name)
                local[position].add(finite)
            progress.update()
    # raw values until here: images of other number formats have other scales
    for position, channel in local.items():
        moments[image.channels[position]].merge(channel, scale=scale)


def _kept(exclusion: Exclusion | None, top: int, bottom: int, left: int, right: int) -> np.ndarray | None:
    """Return the pixels of a chunk that count (flags); None for all."""
    return None if exclusion is None else ~exclusion.mask(top, bottom, left, right)


def _chunks(image: Raster, positions: set[int]) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
    """Yield (first channel, row, column), and pixels, of each chunk that holds a wanted channel."""
    starts, tops, lefts = (np.concatenate([[0], np.cumsum(axis)]).tolist() for axis in image.data.chunks)
    for c, y, x in product(*(range(n) for n in image.data.numblocks)):
        if positions & set(range(starts[c], starts[c + 1])):
            try:
                pixels = np.asarray(image.data.blocks[c, y, x].compute(scheduler="synchronous"))
            except Exception as error:
                place = f"channel {image.channels[starts[c]]!r}, chunk at row {tops[y]}, column {lefts[x]}"
                msg = (
                    f"Image {image.name!r} could not be decoded at {place}: {type(error).__name__}: {error}. Restore "
                    "that chunk, or write the image again."
                )
                raise OSError(msg) from error
            yield (starts[c], tops[y], lefts[x]), pixels


def _finite(plane: np.ndarray, nan: str, image: Raster, channel: str) -> np.ndarray:
    """Return pixels that all have a value, or raise a ValueError."""
    if plane.dtype.kind != "f" or np.isfinite(plane).all():
        return plane
    if nan == "zero":
        return np.nan_to_num(plane, nan=0.0, posinf=0.0, neginf=0.0)
    msg = (
        f"Channel {channel!r} of image {image.name!r} has NaN or infinite pixels, so it has no mean. Mend the image, "
        "or count them as zero with nan='zero'."
    )
    raise ValueError(msg)
