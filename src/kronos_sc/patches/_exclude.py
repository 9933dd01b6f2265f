"""Pixels that are not to be used: labels that the user names, on the pixel grid of an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import known, listed
from kronos_sc._core.pairing import fitting
from kronos_sc._core.resolve import classes_of_labels, tissue_images
from kronos_sc.patches._labels import LabelImage, strips
from kronos_sc.patches._raster import labels_on
from kronos_sc.patches._units import LabelSource

if TYPE_CHECKING:
    import dask.array as da
    from spatialdata import SpatialData

    from kronos_sc.patches._raster import Raster

Exclude = str | Sequence[str] | Mapping[str, Any]
"""A labels element (every pixel above 0), several, or a mapping from labels element to names or codes of classes."""

_TILE = 256  # what a label image decodes at once


@dataclass(frozen=True)
class Exclusion:
    """Pixels of one image that are left out.

    Parameters
    ----------
    words
        What the user asked for, for records.
    sources
        Label images, 1 where a pixel is left out, on the grid of the image.
    """

    words: tuple[str, ...]
    sources: tuple[LabelSource, ...]

    def mask(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Return which pixels of rows `y0`–`y1` and columns `x0`–`x1` of the image are left out (bool).

        None beyond the labels.
        """
        out = np.zeros((y1 - y0, x1 - x0), bool)
        for source in self.sources:
            out |= source.read(y0, y1, x0, x1) > 0
        return out

    def at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return which pixels of the image (whole numbers) are left out (bool)."""
        y, x = np.asarray(y, np.int64), np.asarray(x, np.int64)
        out = np.zeros(len(y), bool)
        order = np.lexsort((x // _TILE, y // _TILE))
        squares = np.stack([y, x], 1)[order] // _TILE
        for members in (
            np.split(order, np.flatnonzero((np.diff(squares, axis=0) != 0).any(axis=1)) + 1) if len(order) else []
        ):
            top, left = int(y[members].min()), int(x[members].min())
            square = self.mask(top, int(y[members].max()) + 1, left, int(x[members].max()) + 1)
            out[members] = square[y[members] - top, x[members] - left]
        return out

    def share(self, boxes: np.ndarray) -> np.ndarray:
        """Return the share of each box (top, left, bottom, right; ends excluded) that is left out (float64)."""
        out = np.empty(len(boxes))
        rows = np.unique(boxes[:, [0, 2]], axis=0, return_inverse=True)[1].ravel()
        order = np.argsort(rows, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(rows[order])) + 1) if len(order) else []:
            (top, _, bottom, _), left = boxes[members[0]], boxes[members, 1].min()
            # boxes of one row of a grid are differences of one running sum
            columns = self.mask(int(top), int(bottom), int(left), int(boxes[members, 3].max())).sum(axis=0)
            total = np.r_[0, np.cumsum(columns)]
            inside = total[boxes[members, 3] - left] - total[boxes[members, 1] - left]
            out[members] = inside / ((bottom - top) * (boxes[members, 3] - boxes[members, 1]))
        return out


def exclusion(sdata: SpatialData, exclude: Exclude | None, image: Raster, *, alone: bool = True) -> Exclusion | None:
    """Return the pixels of an image that are left out, or None where none are asked for.

    Parameters
    ----------
    sdata
        Holds the labels.
    exclude
        A labels element: every pixel above 0 is left out. Several of them. Or a mapping from labels element to names of
        classes (looked up in the column `class` of the table that annotates the labels, as `tl.predict_map` writes it),
        to codes, or to None for all.
    image
        On whose grid.
    alone
        Whether the image is the only one of the call. Of several, each takes the labels whose name has its number
        (`image_3`: `artifact_map_3_class`); alone, it takes those of no image, too, and never those of another image.
    """
    wanted = excluded_codes(sdata, exclude)
    mine = {}
    for name, codes in wanted.items():
        owners = _owners(sdata, name, [image.name])
        if image.name in owners or (alone and not owners):
            mine[name] = codes
    if not mine:
        return None
    words = tuple(_in_words(name, exclude[name] if isinstance(exclude, Mapping) else None) for name in mine)
    return Exclusion(words, tuple(_source(sdata, name, codes, image) for name, codes in mine.items()))


def exclusions(sdata: SpatialData, exclude: Exclude | None, images: Sequence[Raster]) -> dict[str, Exclusion]:
    """Return what is left out of each image, by its name; images without anything to leave out have no entry.

    Raises a ValueError for labels that belong to none of several images.
    """
    unique = {image.name: image for image in images}
    if len(unique) > 1:
        every = list(excluded_codes(sdata, exclude))
        if stray := [name for name in every if not set(_owners(sdata, name, unique)) & set(unique)]:
            msg = (
                f"There are {len(unique)} images ({listed(unique)}), and exclude names labels that belong to none of "
                f"them by their number: {listed(stray)}. "
                "Name labels like their image (image_3: artifacts_3), or make one call per image."
            )
            raise ValueError(msg)
    found = {name: exclusion(sdata, exclude, image, alone=len(unique) == 1) for name, image in unique.items()}
    return {name: one for name, one in found.items() if one is not None}


def excluded_codes(sdata: SpatialData, exclude: Exclude | None) -> dict[str, list[int] | None]:
    """Return the codes to leave out by labels element (None for all above 0); reads no pixel."""
    if exclude is None:
        return {}
    names = (
        {exclude: None}
        if isinstance(exclude, str)
        else exclude
        if isinstance(exclude, Mapping)
        else dict.fromkeys(exclude)
    )
    for name in names:
        known(
            name,
            sdata.labels,
            what="labels",
            fix="Name labels with exclude=, as tl.artifact_map or tl.predict_map write them.",
        )
    return {str(name): None if classes is None else _codes(sdata, name, classes) for name, classes in names.items()}


def _owners(sdata: SpatialData, labels: str, named: Iterable[str]) -> list[str]:
    """Return the images that labels belong to by their name, among all images of tissue and those that the call names."""
    return fitting(labels, dict.fromkeys([*tissue_images(sdata), *named]))


def _in_words(name: str, classes: Any) -> str:
    """Return what is left out, whatever the order it was named in."""
    return name if classes is None else f"{name}: {', '.join(sorted(map(str, _listed(classes))))}"


def _listed(classes: Any) -> list[Any]:
    return [classes] if isinstance(classes, str | int | np.integer) else list(classes)


def _codes(sdata: SpatialData, name: str, classes: Any) -> list[int]:
    """Return the codes of classes given by name or by code."""
    every = _listed(classes)
    if not every:
        msg = (
            f"exclude names no class of {name!r}. Name some, or pass {{{name!r}: None}} to leave out every pixel above "
            "0."
        )
        raise ValueError(msg)
    named = {}
    if any(isinstance(one, str) for one in every):
        named = _named(sdata, name)
    fix = f"Choose some with exclude={{{name!r}: [...]}}."
    codes = [
        named[known(one, named, what=f"class of labels {name!r}", fix=fix)] if isinstance(one, str) else int(one)
        for one in every
    ]
    return sorted({code for code in codes if code > 0})


def _named(sdata: SpatialData, name: str) -> dict[str, int]:
    """Return the code of each class, from the table that annotates the labels."""
    _, named = classes_of_labels(sdata, name)
    if named:
        return {label: code for code, label in named.items()}
    msg = (
        f"exclude names classes of labels {name!r}, and no table says which code is which class (a column 'class' in "
        f"obs; tables: {listed(sdata.tables)}). "
        f"Pass codes, exclude={{{name!r}: [1, 2]}}, or link a table with spatialdata.models.TableModel.parse."
    )
    raise KeyError(msg)


def _source(sdata: SpatialData, name: str, codes: list[int] | None, image: Raster) -> LabelSource:
    """Return where labels are left out, compressed, on the grid of an image."""
    data, affine = labels_on(sdata, name, image)
    return LabelSource(_flags(data, name, codes), affine)


def _flags(data: da.Array, name: str, codes: list[int] | None) -> LabelImage:
    flags = LabelImage(data.shape, np.dtype(np.uint8))
    if codes is not None:
        # of one type with the labels: a mixture would be compared as float64
        codes = np.array([code for code in codes if code <= np.iinfo(data.dtype).max], data.dtype)
    for y0, x0, pixels in strips(data, name):
        flags.add(y0, x0, pixels > 0 if codes is None else np.isin(pixels, codes))
    return flags
