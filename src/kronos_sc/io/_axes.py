"""Axes of a stored image: which one is the channel, and what cannot be read as channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc._core.log import info

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import tifffile

_MEANING = {"Z": "depth", "T": "time", "C": "channels", "S": "colour samples", "I": "pages", "Q": "unnamed"}


def _sizes(series: tifffile.TiffPageSeries) -> list[tuple[str, int]]:
    """Return letter and size of each axis longer than one, and of rows and columns."""
    return [(axis, size) for axis, size in zip(series.axes, series.shape, strict=True) if size > 1 or axis in "YX"]


def has_samples(series: tifffile.TiffPageSeries) -> bool:
    """Say whether pixels hold several samples, as colour pictures do."""
    return any(axis == "S" for axis, _ in _sizes(series))


def samples_error(series: tifffile.TiffPageSeries, path: Path) -> ValueError:
    """Return the error for a colour picture."""
    return ValueError(
        f"{str(path)!r} is stored as colour samples (axes {series.axes}, shape {series.shape}), as RGB pictures are, not as one plane per "
        "marker. "
        "Export the unmixed channels; or, if the samples are markers, write them as planes: "
        "tifffile.imwrite(new, array_cyx, ome=True, photometric='minisblack', metadata={'axes': 'CYX'})."
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
        How many names the user gave; that many planes along depth or time are taken as channels.
    """
    if has_samples(series):
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
    axis, size = planes[0]
    if len(planes) == 1 and (axis not in "ZT" or size in named):
        if axis in "ZT":
            info(f"{path.name}: {size} planes along {axis} ({_MEANING[axis]}) are taken as the {size} channels named")
        return size
    found = ", ".join(f"{axis} ({_MEANING.get(axis, 'unknown')}) × {size}" for axis, size in planes)
    count = f"{size} names" if len(planes) == 1 else "names"
    msg = (
        f"{str(path)!r} has axes {series.axes} (shape {series.shape}): {found}, where one image of channels, rows and columns is needed. "
        "Project or choose one plane per channel and write that (axes CYX)"
        + (f"; if these planes are the channels, pass their {count} with channels=[...]." if len(planes) == 1 else ".")
    )
    raise ValueError(msg)
