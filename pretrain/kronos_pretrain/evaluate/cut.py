"""Labelled patches from a SpatialData, or from simulated tissue.

This is the only part of `evaluate` that needs the scverse stack.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kronos_pretrain.evaluate.labelled import DTYPES, MULTIPLE, SPLITS, Labelled
from kronos_pretrain.rng import RngStream, generator
from kronos_sc import patches
from kronos_sc._core.checks import known, listed, positive_integer, repeated
from kronos_sc._core.intensity import check_range
from kronos_sc._core.intensity import max_value as full_scale
from kronos_sc._core.log import info
from kronos_sc._core.missing import class_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from spatialdata import SpatialData

LEAST = 2  # patches of a class in either part; a class with fewer is left out
NUMBER = 2**40  # the place of evaluation among the simulator's random numbers, far from the images that are trained on
DENSITY = 500.0  # pixels per simulated cell
EDGES = (448, 2048)  # of the part of a simulated image where cells are taken


def from_spatialdata(
    sdata: SpatialData | str | os.PathLike[str],
    *,
    target: str,
    size: int = 64,
    n_per_class: int = 500,
    channels: Sequence[str] | Mapping[str, str | None] | None = None,
    image_key: str | Mapping[str, str] | None = None,
    region_key: str | None = None,
    table_key: str | None = None,
    split: str | None = None,
    mask: bool = True,
    max_value: float | None = None,
    seed: int = 0,
) -> Labelled:
    """Cut windows around labelled cells, as `kronos_sc.tl.embed` does.

    Those that reach beyond their image are left out.

    Parameters
    ----------
    sdata
        Holds image, cells and a table that annotates them; or the path of one.
    target
        Column of `obs` with the classes; rows without one are left out.
    size
        Edge of a window in pixels, a multiple of 16.
    n_per_class
        Most patches of a class in either part, drawn by `seed`.
    channels
        Which channels, by name; all if left out. Or, of a mapping, what some of them are: channel → marker, `None` to
        drop it; the others stay as they are.
    image_key, region_key, table_key
        Which image, labels or shapes, and table, where there are several.
    split
        Column of `obs` that says `"train"` or `"test"`; other rows are left out. Without it, each image is cut in two
        at the median column of its cells: windows left of it train, windows right of it test, those across are left
        out, so no pixel is in both.
    mask
        Let features see the cell alone, as `kronos_sc.tl.embed` does; its surroundings become the marker's mean.
    max_value
        Raw value that becomes 1; the full scale of 8- and 16-bit images, 1 for floats, if left out.
    seed
        Decides which cells are taken.

    Raises
    ------
    KeyError
        A column, channel, image, region or table does not exist.
    ValueError
        Fewer than two classes are in both parts.
    """
    _check_size(size)
    positive_integer(n_per_class, name="n_per_class")
    sdata, name = _opened(sdata)
    is_shapes = region_key is not None and region_key not in sdata.labels
    embed_target = patches.target(
        sdata,
        image_key=image_key,
        labels_key=None if is_shapes else region_key,
        shapes_key=region_key if is_shapes else None,
        table=table_key,
        scale=None,
    )
    classes = _column(embed_target.table, target)
    splits = None if split is None else _column(embed_target.table, split)
    names = _common(embed_target, channels)
    regions = _regions(sdata, embed_target, classes, splits, size)
    positions = _sample(regions, n_per_class, seed=seed)
    dtype, scale = _format([region.image for region in regions], max_value)

    # one region's windows after the other: an image is read once
    chosen = [(region, rows) for region, rows in zip(regions, positions, strict=True) if len(rows)]
    windows = [
        _read(region.image, region.units.subset(rows), tuple(names), dtype, max_value) for region, rows in chosen
    ]
    pixels = np.concatenate([pixels for pixels, _ in windows])
    masks = np.concatenate([masks for _, masks in windows])
    labels = np.concatenate([region.labels[rows] for region, rows in chosen])
    parts = np.concatenate([region.split[rows] for region, rows in chosen])
    markers = tuple(names.values())
    return Labelled(f"{name} · {target}", pixels, scale, labels, parts, markers, masks if mask else None)


def simulated(n: int, *, size: int = 64, seed: int = 0) -> Labelled:
    """Simulate cells labelled by type; those to train on and those to test on come from different images.

    Parameters
    ----------
    n
        About how many patches, over both parts; rare types have fewer than their share.
    size
        Edge of a window in pixels, a multiple of 16.
    seed
        Of the simulator; no seed gives an image that a run trains on.
    """
    from kronos_sc.datasets import tissue

    positive_integer(n, name="n")
    # a window's width around the cells, since no window may reach beyond the image
    edge = size + int(np.clip(np.sqrt(n / 2 * DENSITY * 3), *EDGES))
    sdata = tissue(shape=(edge, edge), n_images=2, rng=generator(seed, RngStream.SIMULATION, index=NUMBER))
    obs = sdata["table"].obs
    obs["part"] = np.where(obs["element"].astype(str) == "cells_0", *SPLITS)
    n_per_class = _at_most(obs["cell_type"].astype(str).to_numpy(), obs["part"].to_numpy(), n)
    cells = from_spatialdata(sdata, target="cell_type", size=size, n_per_class=n_per_class, split="part", seed=seed)
    return replace(cells, name="simulated cells")


def _opened(sdata: Any) -> tuple[Any, str]:
    if not isinstance(sdata, str | os.PathLike):
        return sdata, "cells"
    from kronos_sc.io._read_store import read_store

    path = Path(sdata)
    if not path.exists():
        msg = f"There is no SpatialData store at {str(path)!r}. Name a folder written by sdata.write(...)."
        raise FileNotFoundError(msg)
    return read_store(path), path.stem


def _column(table: AnnData, key: str) -> np.ndarray:
    """Return a column of `obs` as text, "" where it is missing."""
    known(key, list(table.obs.columns), what="column of obs", fix="Name one of these.")
    values = class_column(table.obs[key], place=f"table.obs[{key!r}]")
    return np.where(values.isna(), "", values.astype(str)).astype(np.str_)


def _check_size(size: int) -> None:
    if positive_integer(size, name="size") % MULTIPLE:
        msg = (
            f"size={size} is no multiple of {MULTIPLE}, the edge of a token. Cut windows of "
            f"{size - size % MULTIPLE or MULTIPLE} pixels, or of 64."
        )
        raise ValueError(msg)


class _Region(NamedTuple):
    """The windows of one image: where they lie, and part and class of each, "" where it has none."""

    image: patches.Raster
    units: patches.Units
    split: np.ndarray
    labels: np.ndarray


def _regions(
    sdata: Any, embed_target: patches.EmbedTarget, classes: np.ndarray, splits: np.ndarray | None, size: int
) -> list[_Region]:
    """Return the windows around all cells, region by region.

    Classes, and parts if they are given, are those of the table's rows.
    """
    regions = []
    for key, image in embed_target.images.items():
        units = patches.units(sdata, embed_target.table, embed_target.annotation, key, image, size=size)
        parts = _halves(units) if splits is None else splits[units.rows]
        parts = np.where(units.edge(image.shape), "", parts)  # padding is nothing that training has seen
        regions.append(_Region(image, units, parts, classes[units.rows]))
    return regions


def _common(
    embed_target: patches.EmbedTarget, channels: Sequence[str] | Mapping[str, str | None] | None
) -> dict[str, str]:
    """Return channel → marker, of the channels asked for or those that all images have, in the order of the first."""
    images = list(embed_target.images.values())
    shared = [name for name in images[0].channels if all(name in image.channels for image in images)]
    if not shared:
        msg = (
            f"The images {listed(image.name for image in images)} share no channel name. Choose one with image_key=, "
            "or rename channels."
        )
        raise ValueError(msg)
    for channel in channels or ():
        known(channel, shared, what="channel", fix="Name channels that every image has.")
    if channels is None:
        names = {channel: channel for channel in shared}
    elif isinstance(channels, Mapping):
        names = {channel: marker for channel in shared if (marker := channels.get(channel, channel)) is not None}
    else:
        names = {channel: channel for channel in channels}
    if not names or (twice := repeated(names.values())):
        what = f"leave none of {listed(shared)}"
        if names:
            what = f"give {listed(twice)} to several channels"
        msg = f"channels {what}. Name markers that differ, and at least one."
        raise ValueError(msg)
    return names


def _halves(units: patches.Units) -> np.ndarray:
    """Return the part of each window: left or right of the median centre, none if it lies across."""
    middle = np.median(units.x + units.size // 2)
    return np.where(units.x + units.size <= middle, SPLITS[0], np.where(units.x >= middle, SPLITS[1], ""))


def _sample(regions: list[_Region], most: int, *, seed: int) -> list[np.ndarray]:
    """Return the positions to take in each region.

    At most so many of each class in each part, over all regions together.
    """
    parts = np.concatenate([region.split for region in regions])
    labels = np.concatenate([region.labels for region in regions])
    sizes = [len(region.labels) for region in regions]
    region_of = np.repeat(np.arange(len(regions)), sizes)
    position = np.concatenate([np.arange(size) for size in sizes])

    order = generator(seed, RngStream.SAMPLE, index=NUMBER).permutation(len(parts))
    taken: list[np.ndarray] = []
    scarce = []
    for name in np.unique(labels[labels != ""]):
        members = [order[(labels[order] == name) & (parts[order] == split)][:most] for split in SPLITS]
        if min(map(len, members)) >= LEAST:
            taken += members
        else:
            scarce.append(f"{name}: {len(members[0])} + {len(members[1])}")
    if scarce:
        info(f"classes with fewer than {LEAST} cells to train or to test on are left out: {listed(scarce)}")
    if len(taken) < 2 * len(SPLITS):
        msg = (
            f"Fewer than two classes have {LEAST} cells both to train and to test on; too few are: {listed(scarce)}. "
            "Take a column with more cells per class, or say which cells train and test with split=."
        )
        raise ValueError(msg)
    kept = np.sort(np.concatenate(taken))
    return [position[kept[region_of[kept] == region]] for region in range(len(regions))]


def _format(images: list[patches.Raster], max_value: float | None) -> tuple[np.dtype, float]:
    """Return the number format that holds the pixels of all images, and the raw value that becomes 1."""
    kinds = {image.data.dtype.name for image in images}
    scales = {full_scale(image.data.dtype, max_value, image=image.name) for image in images}
    if len(scales) > 1:
        msg = (
            f"The images have different value ranges ({listed(sorted(kinds))}). Choose one with image_key=, or give "
            "max_value=."
        )
        raise ValueError(msg)
    (scale,) = scales
    dtype = "float32"  # which holds what the images' own formats hold
    if len(kinds) == 1 and kinds <= set(DTYPES):
        (dtype,) = kinds
    return np.dtype(dtype), scale


def _read(
    image: patches.Raster, units: patches.Units, names: Sequence[str], dtype: np.dtype, max_value: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return windows (n, m, s, s) and which of their pixels belong to the cell (n, s, s)."""
    plan = patches.plan(image, [image.channels.index(name) for name in names], units)
    patches.require_stored(plan)
    pixels = np.empty((len(units), len(names), units.size, units.size), dtype)
    masks = np.empty((len(units), units.size, units.size), bool)
    with closing(patches.read(plan)) as blocks:
        for block in blocks:
            windows = patches.crop(block)
            check_range(windows, given=max_value, image=image.name)
            pixels[block.units] = windows
            masks[block.units] = patches.crop_masks(block)
    return pixels, masks


def _at_most(labels: np.ndarray, parts: np.ndarray, n: int) -> int:
    """Return the largest number per class and part that keeps the sum at `n`."""
    counts = np.array([np.sum((labels == name) & (parts == split)) for name in np.unique(labels) for split in SPLITS])
    sums = np.array([np.minimum(counts, most).sum() for most in range(LEAST, counts.max() + 1)])
    return LEAST + max(0, int(np.searchsorted(sums, n, side="right")) - 1)
