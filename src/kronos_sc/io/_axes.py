"""Axes of a stored image: which one is the channel, and what cannot be read as channels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kronos_sc._core.log import info

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import tifffile

_MAX_LAST_AXIS = 16  # pixels: narrower than any image of tissue
_MEANING = {"Z": "depth", "T": "time", "C": "channels", "S": "colour samples", "I": "pages", "Q": "unnamed"}


def _sizes(series: tifffile.TiffPageSeries) -> list[tuple[str, int]]:
    """Return letter and size of each axis longer than one, and of rows and columns."""
    return [(axis, size) for axis, size in zip(series.axes, series.shape, strict=True) if size > 1 or axis in "YX"]


def has_samples(series: tifffile.TiffPageSeries, named: Collection[int] = ()) -> bool:
    """Say whether pixels hold several samples, as colour pictures do.

    Samples that lie plane by plane are channels where as many are named: three channels written without a word are
    stored like that.
    """
    sizes = _sizes(series)
    if [axis for axis, _ in sizes] == ["S", "Y", "X"] and sizes[0][1] in named:
        return False
    return any(axis == "S" for axis, _ in sizes)


def describe_axes(series: tifffile.TiffPageSeries) -> str:
    """Return the axes of the planes of a series in words, as in "T (time) × 4, C (channels) × 3".

    Empty for a single plane.
    """
    return ", ".join(f"{axis} ({_MEANING.get(axis, 'unknown')}) × {size}" for axis, size in _sizes(series)[:-2])


def squeezed_shape(series: tifffile.TiffPageSeries) -> tuple[int, ...]:
    """Return the shape of a series without axes of length 1, rows and columns always kept."""
    return tuple(size for _, size in _sizes(series))


def samples_error(series: tifffile.TiffPageSeries, path: Path) -> ValueError:
    """Return the error for a colour picture."""
    return ValueError(
        f"{str(path)!r} is stored as colour samples (axes {series.axes}, shape {series.shape}), as RGB pictures are, "
        "not as one plane per marker. Export the unmixed channels; or, if the samples are markers, write them as "
        "planes: tifffile.imwrite(new, array_cyx, ome=True, photometric='minisblack', metadata={'axes': 'CYX'})."
    )


def channel_count(series: tifffile.TiffPageSeries, path: Path, named: Collection[int]) -> int:
    """Return how many channels a series holds, or raise a ValueError that names its axes.

    Parameters
    ----------
    series
        Of a TIFF file.
    path
        For messages.
    named
        How many names the user gave; that many planes are taken as channels, whatever the file calls their axes.
    """
    if has_samples(series, named):
        raise samples_error(series, path)
    sizes = _sizes(series)
    if "".join(axis for axis, _ in sizes[-2:]) != "YX":
        msg = (
            f"{str(path)!r} has axes {series.axes} (shape {series.shape}); rows and columns must come last. "
            "Rewrite it as CYX: tifffile.imwrite(new, array_cyx, ome=True, metadata={'axes': 'CYX'})."
        )
        raise ValueError(msg)
    planes = sizes[:-2]
    if not planes:
        return 1
    count = math.prod(size for _, size in planes)
    axis = planes[0][0]
    if count in named or (len(planes) == 1 and axis not in "ZT"):
        _refuse_last_axis(sizes, series, path, named)
        if len(planes) > 1:
            info(
                f"{path.name}: planes along {describe_axes(series)} are taken as the {count} channels named, the last "
                "axis running fastest"
            )
        elif axis in "ZT":
            info(f"{path.name}: {count} planes along {axis} ({_MEANING[axis]}) are taken as the {count} channels named")
        return count
    order = ", in the order stored" if len(planes) > 1 else ""
    msg = (
        f"{str(path)!r} has axes {series.axes} (shape {series.shape}): {describe_axes(series)}, where one image of "
        "channels, rows and columns is needed. Project or choose one plane per channel and write that (axes CYX); if "
        f"these planes are the channels, pass their {count} names with "
        f"channels=[...]{order}."
    )
    raise ValueError(msg)


def _refuse_last_axis(
    sizes: list[tuple[str, int]], series: tifffile.TiffPageSeries, path: Path, named: Collection[int]
) -> None:
    """Raise a ValueError for an array (rows, columns, channels) that was written as it is.

    Its pages are rows of columns × channels.
    """
    if len(sizes) != 3 or sizes[0][0] not in "QI":
        return
    rows, columns, last = (size for _, size in sizes)
    if rows in named or not (last in named or (last <= _MAX_LAST_AXIS and min(rows, columns) > _MAX_LAST_AXIS)):
        return
    msg = (
        f"{str(path)!r} has shape {series.shape}, which is {rows} planes of {columns} × {last} pixels: its channels "
        "seem to lie on the last axis. Write them first: tifffile.imwrite(new, np.moveaxis(tifffile.imread(path), -1, "
        "0), photometric='minisblack', metadata={'axes': 'CYX'})."
    )
    raise ValueError(msg)
