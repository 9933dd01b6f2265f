"""Labelled patches from a SpatialData, or from simulated tissue.

This is the only part of `evaluate` that needs the scverse stack.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    labels_key, shapes_key = (
        (region_key, None) if region_key is None or region_key in sdata.labels else (None, region_key)
    )
    found = patches.target(
        sdata, image_key=image_key, labels_key=labels_key, shapes_key=shapes_key, table=table_key, scale=None
    )
    classes = _column(found.table, target)
    given = None if split is None else _column(found.table, split)
    names = _common(found, channels)
    regions = []
    for region, image in found.images.items():
        units = patches.units(sdata, found.table, found.annotation, region, image, size=size)
        part = _halves(units) if given is None else given[units.rows]
        part = np.where(units.edge(image.shape), "", part)  # padding is nothing that training has seen
        regions.append((image, units, part, classes[units.rows]))
    chosen = _chosen([(part, label) for _, _, part, label in regions], n_per_class, seed=seed)
    dtype, scale = _format([image for image, *_ in regions], max_value)
    parts = [
        (_read(image, units.subset(keep), tuple(names), dtype, max_value), part[keep], label[keep])
        for (image, units, part, label), keep in zip(regions, chosen, strict=True)
        if len(keep)
    ]
    pixels, masks = (np.concatenate([read[i] for read, _, _ in parts]) for i in (0, 1))
    splits, labels = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    markers = tuple(names.values())
    return Labelled(f"{name} · {target}", pixels, scale, labels, splits, markers, masks if mask else None)


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
    side = size + int(
        np.clip(np.sqrt(n / 2 * DENSITY * 3), *EDGES)
    )  # a frame for windows that must not reach beyond the image
    sdata = tissue(shape=(side, side), n_images=2, rng=generator(seed, RngStream.SIMULATION, index=NUMBER))
    obs = sdata["table"].obs
    obs["part"] = np.where(obs["element"].astype(str) == "cells_0", *SPLITS)
    shared = _at_most(obs["cell_type"].astype(str).to_numpy(), obs["part"].to_numpy(), n)
    made = from_spatialdata(sdata, target="cell_type", size=size, n_per_class=shared, split="part", seed=seed)
    return Labelled("simulated cells", made.pixels, made.scale, made.labels, made.split, made.markers, made.mask)


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


def _common(found: patches.EmbedTarget, channels: Sequence[str] | Mapping[str, str | None] | None) -> dict[str, str]:
    """Return channel → marker, of the channels asked for or those that all images have, in the order of the first."""
    images = list(found.images.values())
    shared = [name for name in images[0].channels if all(name in image.channels for image in images)]
    if not shared:
        msg = (
            f"The images {listed(image.name for image in images)} share no channel name. Choose one with image_key=, "
            "or rename channels."
        )
        raise ValueError(msg)
    for channel in channels or ():
        known(channel, shared, what="channel", fix="Name channels that every image has.")
    if not isinstance(channels, Mapping):
        names = {channel: channel for channel in (shared if channels is None else channels)}
    else:
        names = {channel: marker for channel in shared if (marker := channels.get(channel, channel)) is not None}
    if not names or (twice := repeated(names.values())):
        what = f"give {listed(twice)} to several channels" if names else f"leave none of {listed(shared)}"
        msg = f"channels {what}. Name markers that differ, and at least one."
        raise ValueError(msg)
    return names


def _halves(units: patches.Units) -> np.ndarray:
    """Return the part of each window: left or right of the median centre, none if it lies across."""
    cut = np.median(units.x + units.size // 2)
    return np.where(units.x + units.size <= cut, SPLITS[0], np.where(units.x >= cut, SPLITS[1], ""))


def _chosen(regions: list[tuple[np.ndarray, np.ndarray]], most: int, *, seed: int) -> list[np.ndarray]:
    """Return the positions to take in each region: at most so many of each class in each part, over all regions together."""
    part, label = (np.concatenate([r[i] for r in regions]) for i in (0, 1))
    where = np.repeat(np.arange(len(regions)), [len(r[0]) for r in regions])
    position = np.concatenate([np.arange(len(r[0])) for r in regions])
    order = generator(seed, RngStream.SAMPLE, index=NUMBER).permutation(len(part))
    taken, scarce = [], []
    for name in np.unique(label[label != ""]):
        members = [order[(label[order] == name) & (part[order] == split)][:most] for split in SPLITS]
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
    return [position[kept[where[kept] == region]] for region in range(len(regions))]


def _format(images: list[patches.Raster], given: float | None) -> tuple[np.dtype, float]:
    """Return the number format that holds the pixels of all images, and the raw value that becomes 1."""
    kinds = {image.data.dtype.name for image in images}
    scales = {full_scale(image.data.dtype, given, image=image.name) for image in images}
    if len(scales) > 1:
        msg = (
            f"The images have different value ranges ({listed(sorted(kinds))}). Choose one with image_key=, or give "
            "max_value=."
        )
        raise ValueError(msg)
    (scale,) = scales
    dtype = kinds.pop() if len(kinds) == 1 else "float32"
    return np.dtype(dtype if dtype in DTYPES else "float32"), scale


def _read(
    image: patches.Raster, units: patches.Units, names: Sequence[str], dtype: np.dtype, given: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return windows (n, m, s, s) and which of their pixels belong to the cell (n, s, s)."""
    plan = patches.plan(image, [image.channels.index(name) for name in names], units)
    patches.require_stored(plan)
    pixels = np.empty((len(units), len(names), units.size, units.size), dtype)
    masks = np.empty((len(units), units.size, units.size), bool)
    with closing(patches.read(plan)) as blocks:
        for block in blocks:
            cut = patches.crop(block)
            check_range(cut, given=given, image=image.name)
            pixels[block.units], masks[block.units] = cut, patches.crop_masks(block)
    return pixels, masks


def _at_most(label: np.ndarray, part: np.ndarray, n: int) -> int:
    """Return the largest number per class and part that keeps the sum at `n`."""
    counts = np.array([np.sum((label == name) & (part == split)) for name in np.unique(label) for split in SPLITS])
    sums = np.array([np.minimum(counts, most).sum() for most in range(LEAST, counts.max() + 1)])
    return LEAST + max(0, int(np.searchsorted(sums, n, side="right")) - 1)
