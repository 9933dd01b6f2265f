"""TIFF files and folders of them → planes by channel and pyramid level, with what they say of themselves."""

from __future__ import annotations

import math
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc._core.warn import warn
from kronos_sc.io._axes import channel_count, has_samples, samples_error
from kronos_sc.io._ome import channels_of_their_own
from kronos_sc.io._paths import stem, tiffs_in
from kronos_sc.io._planes import Plane, PlaneStack, stamp
from kronos_sc.io._tiff_metadata import described_images, read_tiff_metadata

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    import tifffile


@dataclass(frozen=True)
class Source:
    """An image on disk, nothing of it decoded.

    Parameters
    ----------
    path
        File or folder.
    levels
        Planes by pyramid level, full resolution first.
    names, names_from
        Stored channel names, None where one is missing, empty where none are; where they stand.
    mpp, mpp_from
        Stored edges (y, x) of a full-resolution pixel in µm; where they stand.
    """

    path: Path
    levels: tuple[PlaneStack, ...]
    names: tuple[str | None, ...] = ()
    names_from: str = ""
    mpp: tuple[float, float] | None = None
    mpp_from: str = ""


def open_source(
    path: Path, *, series: int | None = None, named: Collection[int] = (), without: Collection[Path] = ()
) -> Source:
    """Open a TIFF file, or a folder of one TIFF per channel.

    Parameters
    ----------
    path
        Exists.
    series
        Image of a file that holds several; None takes the largest.
    named
        How many channel names the user gave (a file may say several numbers): as many planes along z or time are taken
        as channels.
    without
        Files of a folder that are no channels.
    """
    if path.is_dir():
        return _open_folder(path, without)
    return _open_file(path, series, named)


def _open_folder(folder: Path, without: Collection[Path]) -> Source:
    """Put one single-plane TIFF per channel on top of each other."""
    paths = tiffs_in(folder, without=without)
    parts = [_open_file(path, None, ()) for path in paths]
    if many := [path.name for path, part in zip(paths, parts, strict=True) if part.levels[0].shape[0] != 1]:
        msg = (
            f"In the folder {str(folder)!r}, one TIFF per channel, {listed(many)} hold more than one plane. "
            "Move them elsewhere, or read such a file on its own with io.read_tiff(file)."
        )
        raise ValueError(msg)
    sizes = {path.name: part.levels[0].shape[1:] for path, part in zip(paths, parts, strict=True)}
    if len(set(sizes.values())) > 1:
        common = max(set(sizes.values()), key=list(sizes.values()).count)
        odd = [f"{name} ({y} × {x})" for name, (y, x) in sizes.items() if (y, x) != common]
        msg = (
            f"The channels in {str(folder)!r} differ in size: most are {common[0]} × {common[1]} pixels, but not "
            f"{listed(odd)}. Move what is no channel of this image elsewhere, or register the channels to one grid."
        )
        raise ValueError(msg)
    level_sizes = [[stack.shape[1:] for stack in part.levels] for part in parts]
    depth = 1
    if all(sizes == level_sizes[0] for sizes in level_sizes):  # pyramids that differ cannot be put on top of each other
        depth = len(level_sizes[0])
    levels = tuple(PlaneStack([part.levels[level].planes[0] for part in parts]) for level in range(depth))
    return Source(folder, levels, tuple(stem(path) for path in paths), "file names", parts[0].mpp, parts[0].mpp_from)


def _open_file(path: Path, series: int | None, named: Collection[int]) -> Source:
    with opened(path) as (tif, all_series):
        main = _choose_series(all_series, series, path, named)
        alike = [main]
        if series is None:  # nobody asked for one alone
            alike = like(main, all_series)
        indexes = [all_series.index(one) for one in alike]
        group = alike if _belong_together(tif, alike, indexes, path, named) else [main]
        count = planes_each(main) * len(group)
        if len(group) == 1:  # its axes may say that planes are no channels
            count = channel_count(main, path, named)
        if series is None:
            _log_unread(all_series, group, path)
        if (n_expected := int((tif.imagej_metadata or {}).get("images", 1))) > count and main.kind != "imagej":
            raise _truncated_error(path, n_expected, count)
        levels = stacks(group, count // len(group), path)
        pages = [page for one in group for page in _pages(one, path)]
        names, names_from, mpp, mpp_from = read_tiff_metadata(
            tif, [all_series.index(one) for one in group], main, pages
        )
        # names of another number of channels belong to something else
        return Source(path, levels, names if len(names) == count else (), names_from, mpp, mpp_from)


def stacks(group: Sequence[tifffile.TiffPageSeries], each: int, path: Path) -> tuple[PlaneStack, ...]:
    """Return the planes of series of one shape, one after the other, by pyramid level.

    Parameters
    ----------
    group
        The series.
    each
        How many planes each holds.
    path
        For messages.
    """
    full = PlaneStack([plane for one in group for plane in _planes(one, each, path)])
    levels = [full]
    for depth in range(1, min(len(one.levels) for one in group)):
        parts = [_level_planes(one.levels[depth], each, full.shape[2], path) for one in group]
        if all(parts) and len({part[0].shape for part in parts if part}) == 1:
            levels.append(PlaneStack([plane for part in parts if part for plane in part]))
    return tuple(levels)


@contextmanager
def opened(path: Path) -> Iterator[tuple[tifffile.TiffFile, list[tifffile.TiffPageSeries]]]:
    """Open a file and find the images in it."""
    import tifffile

    try:
        tif = tifffile.TiffFile(path)
    except (tifffile.TiffFileError, OSError, struct.error, ValueError, IndexError) as error:
        size = path.stat().st_size
        msg = (
            f"{str(path)!r} ({size:,} bytes) cannot be opened as a TIFF ({type(error).__name__}: {error}). "
            "It is damaged, cut off or another format. "
            "io.read_tiff reads TIFF, OME-TIFF and QPTIFF: copy the file again, or export it as OME-TIFF."
        )
        raise OSError(msg) from error
    with tif:
        try:
            all_series = list(tif.series)
        except (
            AssertionError,
            AttributeError,
            IndexError,
            KeyError,
            OSError,
            RuntimeError,
            TypeError,
            ValueError,
            struct.error,
        ) as error:
            msg = (
                f"The pages of {str(path)!r} cannot be read ({type(error).__name__}: {error}): the file is damaged or "
                "cut off. Copy or export it again."
            )
            raise OSError(msg) from error
        if not all_series:
            msg = (
                f"{str(path)!r} holds no image that can be read: the file is damaged or cut off. Copy or export it "
                "again."
            )
            raise OSError(msg)
        yield tif, all_series


def _choose_series(
    all_series: list[tifffile.TiffPageSeries], series: int | None, path: Path, named: Collection[int]
) -> tifffile.TiffPageSeries:
    """Return the series asked for, or the largest that is no colour picture."""
    if series is not None:
        if series not in range(len(all_series)):
            msg = (
                f"{path.name!r} has no series {series}; it has {listed(_describe_series(all_series))}. "
                "Choose one with series=, or leave it out for the largest."
            )
            raise ValueError(msg)
        return all_series[series]
    usable = [one for one in all_series if not has_samples(one, named)]
    if not usable:
        raise samples_error(all_series[0], path)
    return max(usable, key=lambda one: math.prod(one.shape))


def _describe_series(all_series: Sequence[tifffile.TiffPageSeries]) -> list[str]:
    return [f"{i}: {one.axes} {' × '.join(map(str, one.shape))}" for i, one in enumerate(all_series)]


def _log_unread(all_series: list[tifffile.TiffPageSeries], group: list[tifffile.TiffPageSeries], path: Path) -> None:
    """Say which series are not read."""
    descriptions = _describe_series(all_series)
    read = [descriptions[all_series.index(one)] for one in group]
    rest = [text for one, text in zip(all_series, descriptions, strict=True) if one not in group]
    if rest and len(group) == 1:
        info(f"{path.name}: reading series {read[0]}; also there (series=): {listed(rest)}")


def like(main: tifffile.TiffPageSeries, all_series: Sequence[tifffile.TiffPageSeries]) -> list[tifffile.TiffPageSeries]:
    """Return the series of the same axes, shape and dtype as one of them."""
    return [
        one
        for one in all_series
        if (one.kind, one.axes, one.shape, one.dtype) == (main.kind, main.axes, main.shape, main.dtype)
    ]


def planes_each(series: tifffile.TiffPageSeries) -> int:
    """Return how many planes a series holds."""
    return math.prod(series.shape[:-2])


def _belong_together(
    tif: tifffile.TiffFile, alike: list[tifffile.TiffPageSeries], indexes: list[int], path: Path, named: Collection[int]
) -> bool:
    """Whether series of one shape are the channels of one image.

    Files written channel by channel, or cycle by cycle, hold them like that.
    """
    if len(alike) == 1:
        return False
    each = planes_each(alike[0])
    if each == 1 and alike[0].kind != "ome":
        return True
    if each in named:
        return False
    if each * len(alike) in named:
        info(
            f"{path.name}: {len(alike)} images of {each} planes each are taken as the {each * len(alike)} channels "
            "named"
        )
        return True
    if each > 1:
        return False
    images = described_images(tif, indexes, alike[0])
    if not images or channels_of_their_own(images) is not None:
        info(
            f"{path.name}: {len(alike)} images of one plane each are taken as the channels of one; series= reads one "
            "of them alone"
        )
        return True
    names = listed(f"{image.label or 'image'}: {image.names[0] if image.names else 'no channel'}" for image in images)
    warn(
        f"{path.name!r} holds {len(alike)} images of one plane each ({names}), which seem to be fields of view: the "
        "first is read. Choose another with series=; if they are the channels of one image, pass their "
        f"{len(alike)} names with "
        "channels=[...]."
    )
    return False


def _level_planes(level: tifffile.TiffPageSeries, count: int, width: int, path: Path) -> list[Plane] | None:
    """Return the planes of a pyramid level.

    None where it is not the same image, `width` pixels wide, at lower resolution.
    """
    if planes_each(level) != count or not level.axes.endswith("YX") or 0 in level.shape or level.shape[-1] >= width:
        info(f"{path.name}: leaving out a pyramid level of axes {level.axes}, shape {level.shape}")
        return None
    return _planes(level, count, path)


def _planes(series: tifffile.TiffPageSeries, count: int, path: Path) -> list[Plane]:
    """Return where each plane of a series lies, none of it read."""
    pages = _pages(series, path)
    if len(pages) == 1 and count > 1 and pages[0] is not None:
        page = series.keyframe
        if page.is_final:
            # one directory describes all planes (ImageJ above 4 GB, tifffile): their pixels follow each other
            size = math.prod(series.shape[-2:]) * page.dtype.itemsize
            return [_plane(page, path, number, offset=page.dataoffsets[0] + number * size) for number in range(count)]
        if page.planarconfig == 2 and page.samplesperpixel == count:
            # channels as separate samples of one page: one run of tiles or strips after the other
            step = len(page.dataoffsets) // count
            return [_plane(page, path, number, first=number * step) for number in range(count)]
    if len(pages) != count or any(one is None for one in pages):
        raise _truncated_error(path, count, sum(one is not None for one in pages))
    return [_plane(page, path, number) for number, page in enumerate(pages)]


def _pages(series: tifffile.TiffPageSeries, path: Path) -> list[Any]:
    """Return the pages of a series, None where one is missing."""
    try:
        return list(series)
    except (IndexError, OSError, RuntimeError, ValueError, struct.error) as error:
        raise _truncated_error(path, len(series), 0) from error


def _truncated_error(path: Path, n_expected: int, n_present: int) -> OSError:
    state = "ends before they do"
    if n_present:
        state = f"holds {n_present}"
    return OSError(
        f"{str(path)!r} describes {n_expected} planes but {state}: it is cut off or damaged, or files that "
        "belong to it "
        "are missing beside it. Copy or export it again."
    )


def _plane(page: Any, path: Path, number: int, *, offset: int | None = None, first: int = 0) -> Plane:
    """Return where a plane lies, or raise an OSError if the file ends before it does.

    Parameters
    ----------
    page
        Holds it; may be a frame, which has no tags.
    path
        For messages.
    number
        Of the plane.
    offset
        Where its plain pixels start; None where the page says so.
    first
        Its first tile or strip among those of the page.
    """
    frame = page.keyframe
    owner = page.parent.filehandle.path
    shape = tuple(frame.shape[-2:])
    dtype = frame.dtype.newbyteorder(page.parent.byteorder)
    # plain pixels follow each other and are read without a codec; all else goes by the page's directory
    plain = offset is not None or page.offset == 0 or (frame.is_final and page.dataoffsets[0] > 0)
    if plain:
        start = page.dataoffsets[0] if offset is None else offset
        end = start + math.prod(shape) * dtype.itemsize
        keyframe = None
        tile = (1, 1)
    else:
        start = page.offset
        last = max(range(len(page.dataoffsets)), key=page.dataoffsets.__getitem__)
        end = page.dataoffsets[last] + page.databytecounts[last]
        keyframe = frame.offset
        tile = frame.chunks if frame.is_tiled else (min(frame.rowsperstrip, shape[0]), shape[1])
    plane = Plane(owner, stamp(owner), number, start, keyframe, first, shape, dtype.str, tile)
    if end > plane.stamp[0]:
        msg = (
            f"{str(path)!r} is cut off: plane {number} ends at byte {end:,}, the file at {plane.stamp[0]:,}. Copy or "
            "export it again."
        )
        raise OSError(msg)
    return plane
