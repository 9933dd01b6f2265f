"""`read_tiff`: TIFF images of any vendor, and their masks, as a SpatialData."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kronos_sc._core.checks import positive_integer
from kronos_sc._core.log import info
from kronos_sc._core.paths import existing
from kronos_sc.io._elements import cell_table, image_element, labels_element
from kronos_sc.io._masks import MaskPath, check_cells, check_keys, mask_files, open_mask
from kronos_sc.io._names import channel_names, given_names
from kronos_sc.io._open import open_source
from kronos_sc.io._units import given_mpp, stored_size
from kronos_sc.patches import label_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from spatialdata import SpatialData

    from kronos_sc.io._open import Source
    from kronos_sc.io._planes import PlaneStack


def read_tiff(
    path: str | Path,
    *,
    mask: MaskPath | Mapping[str, MaskPath] | None = None,
    channels: Sequence[str] | str | Path | None = None,
    image_key: str = "image",
    labels_key: str = "cells",
    table_key: str = "table",
    mpp: float | tuple[float, float] | None = None,
    series: int | None = None,
    level: int | None = None,
    chunks: int | tuple[int, int] | None = None,
) -> SpatialData:
    """Read a multiplexed image, and the segmentation that belongs to it, from TIFF files.

    Reads OME-TIFF, also of one image per channel, QPTIFF and inForm component data, IonPath MIBItiff, ImageJ
    hyperstacks, any TIFF of one page per channel, and a folder of one TIFF per channel (file name = channel, in natural
    order). Image pixels stay in the file: they are decoded when something asks for them, and then only the stored tiles
    or strips asked for. Masks are read once, to measure their cells.

    Parameters
    ----------
    path
        A TIFF file, or a folder of one TIFF per channel.
    mask
        Label image of the cells (0 is background) as a TIFF: its path, or (path, page) for one of several planes,
        counted from 0, whatever axis they lie on; or several as a dict from name to either, as in `{"cells": (path, 0),
        "nuclei": (path, 1)}`. Of a mask with a pyramid, the level of the image's size is taken.
    channels
        Names in stored order: a list, or the path of a panel file. That is a text of one name per line; a CSV or TSV,
        of any spreadsheet's making, with a column such as `marker_name`, `marker`, `target`, `name` or `channel`; a
        table of cycles and channels; or JSON with a list of names. Rows marked as not used (`keep` 0, `remove` TRUE)
        are left out where that gives the number of planes; where a column numbers the channels, rows follow it; blanks
        that repeat are numbered. By default names come from OME-XML, page descriptions or file names. Planes that a
        file declares as depth or time, or as cycles × channels, are read as channels when as many names are given.
    image_key, labels_key, table_key
        Names of the elements; `labels_key` is for a single mask.
    mpp
        Edge of a full-resolution pixel in µm, one number or (y, x). By default as stored in the file; sizes that cannot
        be true are left out with a warning.
    series
        Image of a file that holds several; the largest that is no colour picture by default.
    level
        One stored pyramid level (0 is full resolution) as a single-scale image, on its own pixel grid. By default all
        levels are kept, as a multiscale image where there are several.
    chunks
        Edge of a dask chunk in pixels, or (rows, columns); rounded up to whole stored tiles. By default about 1,024.
        Larger chunks mean fewer, larger reads.

    Returns
    -------
    A SpatialData with

    `images[image_key]`
        (c, y, x), dtype as stored; channel names as its `c` coordinate.
    `labels[labels_key]`, or one per key of `mask`
        (y, x), dtype as stored; whole numbers stored as float become uint32.
    `tables[table_key]`, with a mask only
        One row per label: `obs["region"]` (labels element), `obs["cell_id"]` (label), `obs["area"]` (pixels),
        `obsm["spatial"]` (centroid x, y in pixels, float64; pixel i covers [i, i + 1)); no variables.

    Image and labels carry the transformations "global" (pixels) and, where the pixel size is known, "um" (micrometres).

    Raises
    ------
    FileNotFoundError
        A path does not exist.
    OSError
        A file is no TIFF, is damaged or cut off.
    ValueError
        The image has depth, time or colour samples; names repeat or are of the wrong number; channels of a folder
        differ in size; a mask is of another size, has several pages, or holds no labels, negative or fractional values.

    Examples
    --------
    >>> import tempfile, numpy as np, tifffile
    >>> import kronos_sc as ks
    >>> path = tempfile.mkdtemp() + "/core.ome.tif"
    >>> metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3"]}}
    >>> tifffile.imwrite(path, np.zeros((2, 64, 64), "uint16"), metadata=metadata)
    >>> sdata = ks.io.read_tiff(path, mpp=0.5)
    >>> sdata.images["image"].c.values.tolist()
    ['DAPI', 'CD3']
    """
    from spatialdata import SpatialData

    started = time.perf_counter()
    image_path = existing(path, argument="path")
    files = mask_files(mask, labels_key)
    check_keys(image_key, list(files), table_key)
    panel_file = given_names(channels)
    size = None if mpp is None else given_mpp(mpp)
    edges = _edges(chunks)
    n_named = panel_file.counts if panel_file else set()
    source = open_source(image_path, series=series, named=n_named, without=[file.path for file in files.values()])
    names = channel_names(source, panel_file)
    stacks = _levels(source, level)
    size = _pixel_size(source, size, stacks[0])
    labels = {name: open_mask(file, stacks[0].shape[1:], image_path, edges) for name, file in files.items()}
    cells = {name: label_table(array) for name, array in labels.items()}
    for name, file in files.items():
        check_cells(cells[name], name, file)
    sdata = SpatialData(
        images={image_key: image_element([stack.lazy(edges) for stack in stacks], names, size)},
        labels={name: labels_element(array, size) for name, array in labels.items()},
        tables={table_key: cell_table(cells)} if cells else {},
    )
    _announce(source, stacks, {name: len(frame) for name, frame in cells.items()}, time.perf_counter() - started)
    return sdata


def _edges(chunks: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the chunk asked for as (rows, columns)."""
    if chunks is None:
        return None
    pair = chunks
    if not isinstance(chunks, tuple) or len(chunks) != 2:
        pair = (chunks, chunks)
    return positive_integer(pair[0], name="chunks"), positive_integer(pair[1], name="chunks")


def _levels(source: Source, level: int | None) -> tuple[PlaneStack, ...]:
    """Return all levels, or the one asked for."""
    if level is None:
        return source.levels
    if isinstance(level, bool) or level not in range(len(source.levels)):
        sizes = ", ".join(f"{i} ({stack.shape[1]} × {stack.shape[2]})" for i, stack in enumerate(source.levels))
        msg = (
            f"{source.path.name!r} has no pyramid level {level!r}; stored levels: {sizes}. Choose one of them, or "
            "leave level out for all."
        )
        raise ValueError(msg)
    return (source.levels[level],)


def _pixel_size(source: Source, given: tuple[float, float] | None, stack: PlaneStack) -> tuple[float, float] | None:
    """Return edges (y, x) of a pixel of the level read, in µm, or None where nothing true is known."""
    full = given
    origin = "mpp="
    if full is None and source.mpp is not None:
        full = stored_size(source.mpp, source.mpp_from, source.path.name)
        origin = source.mpp_from
    if full is None:
        info(
            f"{source.path.name}: pixel size not known; pass mpp=, or record it later with io.set_pixel_size(sdata, "
            "mpp)"
        )
        return None
    ratios = [whole / part for whole, part in zip(source.levels[0].shape[1:], stack.shape[1:], strict=True)]
    size = full[0] * ratios[0], full[1] * ratios[1]
    info(f"{source.path.name}: pixels of {size[0]:.4g} × {size[1]:.4g} µm ({origin})")
    return size


def _announce(source: Source, stacks: tuple[PlaneStack, ...], cells: dict[str, int], seconds: float) -> None:
    """Say what was read."""
    count, height, width = stacks[0].shape
    levels = f", {len(stacks)} levels" if len(stacks) > 1 else ""
    cell_counts = "".join(f", {number:,} {name}" for name, number in cells.items())
    info(
        f"{source.path.name}: {count} channels of {height} × {width} pixels, "
        f"{stacks[0].dtype}{levels}{cell_counts}, in "
        f"{seconds:.1f} s"
    )
