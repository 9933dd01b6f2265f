"""Pixels that are not to be used: labels that the user names, on the pixel grid of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import known, listed
from kronos_sc._core.resolve import classes_of_labels, images_fitting
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
    labels
        What the user asked for, for records.
    sources
        Label images, 1 where a pixel is left out, on the grid of the image.
    """

    labels: tuple[str, ...]
    sources: tuple[LabelSource, ...]

    def mask(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Return which pixels of rows `y0`–`y1` and columns `x0`–`x1` of the image are left out (bool).

        None beyond the labels.
        """
        is_excluded = np.zeros((y1 - y0, x1 - x0), bool)
        for source in self.sources:
            is_excluded |= source.read(y0, y1, x0, x1) > 0
        return is_excluded

    def at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return which pixels of the image (whole numbers) are left out (bool)."""
        y = np.asarray(y, np.int64)
        x = np.asarray(x, np.int64)
        is_excluded = np.zeros(len(y), bool)
        # tile by tile, each of which is decoded once
        for members in _alike(np.stack([y // _TILE, x // _TILE], axis=1)):
            top, left = int(y[members].min()), int(x[members].min())
            tile = self.mask(top, int(y[members].max()) + 1, left, int(x[members].max()) + 1)
            is_excluded[members] = tile[y[members] - top, x[members] - left]
        return is_excluded

    def share(self, boxes: np.ndarray) -> np.ndarray:
        """Return the share of each box (top, left, bottom, right; ends excluded) that is left out (float64)."""
        shares = np.empty(len(boxes))
        for members in _alike(boxes[:, [0, 2]]):
            top, _, bottom, _ = boxes[members[0]]
            left = boxes[members, 1].min()
            # boxes of one row of a grid are differences of one running sum
            columns = self.mask(int(top), int(bottom), int(left), int(boxes[members, 3].max())).sum(axis=0)
            total = np.r_[0, np.cumsum(columns)]
            n_excluded = total[boxes[members, 3] - left] - total[boxes[members, 1] - left]
            shares[members] = n_excluded / ((bottom - top) * (boxes[members, 3] - boxes[members, 1]))
        return shares


def _alike(rows: np.ndarray) -> list[np.ndarray]:
    """Return the positions of equal rows of a matrix, group by group."""
    if not len(rows):
        return []
    order = np.lexsort(rows.T[::-1])
    differs = (np.diff(rows[order], axis=0) != 0).any(axis=1)
    return np.split(order, np.flatnonzero(differs) + 1)


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
    # labels of another image would lie anywhere on this one
    codes_by_element = {}
    for name, codes in excluded_codes(sdata, exclude).items():
        owners = images_fitting(sdata, name, [image.name])
        if image.name in owners or (alone and not owners):
            codes_by_element[name] = codes
    if not codes_by_element:
        return None
    classes = exclude if isinstance(exclude, Mapping) else {}
    labels = tuple(_in_words(name, classes.get(name)) for name in codes_by_element)
    return Exclusion(labels, tuple(_source(sdata, name, codes, image) for name, codes in codes_by_element.items()))


def exclusions(sdata: SpatialData, exclude: Exclude | None, images: Sequence[Raster]) -> dict[str, Exclusion]:
    """Return what is left out of each image, by its name; images without anything to leave out have no entry.

    Raises a ValueError for labels that belong to none of several images.
    """
    unique = {image.name: image for image in images}
    if len(unique) > 1:
        elements = list(excluded_codes(sdata, exclude))
        if stray := [name for name in elements if not set(images_fitting(sdata, name, unique)) & set(unique)]:
            msg = (
                f"There are {len(unique)} images ({listed(unique)}), and exclude names labels that belong to none of "
                f"them by their number: {listed(stray)}. "
                "Name labels like their image (image_3: artifacts_3), or make one call per image."
            )
            raise ValueError(msg)
    by_image = {name: exclusion(sdata, exclude, image, alone=len(unique) == 1) for name, image in unique.items()}
    return {name: one for name, one in by_image.items() if one is not None}


def excluded_codes(sdata: SpatialData, exclude: Exclude | None) -> dict[str, list[int] | None]:
    """Return the codes to leave out by labels element (None for all above 0); reads no pixel."""
    if exclude is None:
        return {}
    classes_of: Mapping[str, Any]
    if isinstance(exclude, str):
        classes_of = {exclude: None}
    elif isinstance(exclude, Mapping):
        classes_of = exclude
    else:
        classes_of = dict.fromkeys(exclude)

    fix = "Name labels with exclude=, as tl.artifact_map or tl.predict_map write them."
    for name in classes_of:
        known(name, sdata.labels, what="labels", fix=fix)
    codes = {}
    for name, classes in classes_of.items():
        codes[str(name)] = None if classes is None else _codes(sdata, name, classes)
    return codes


def _in_words(name: str, classes: Any) -> str:
    """Return what is left out, whatever the order it was named in."""
    if classes is None:
        return name
    return f"{name}: {', '.join(sorted(map(str, _listed(classes))))}"


def _listed(classes: Any) -> list[Any]:
    if isinstance(classes, str | int | np.integer):
        return [classes]
    return list(classes)


def _codes(sdata: SpatialData, name: str, classes: Any) -> list[int]:
    """Return the codes of classes given by name or by code."""
    chosen = _listed(classes)
    if not chosen:
        msg = (
            f"exclude names no class of {name!r}. Name some, or pass {{{name!r}: None}} to leave out every pixel above "
            "0."
        )
        raise ValueError(msg)
    code_of = {}
    if any(isinstance(one, str) for one in chosen):
        code_of = _code_of_class(sdata, name)
    fix = f"Choose some with exclude={{{name!r}: [...]}}."
    codes = set()
    for one in chosen:
        if isinstance(one, str):
            known(one, code_of, what=f"class of labels {name!r}", fix=fix)
            codes.add(code_of[one])
        else:
            codes.add(int(one))
    return sorted(code for code in codes if code > 0)


def _code_of_class(sdata: SpatialData, name: str) -> dict[str, int]:
    """Return the code of each class, from the table that annotates the labels."""
    _, class_of_code = classes_of_labels(sdata, name)
    if class_of_code:
        return {label: code for code, label in class_of_code.items()}
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
    if codes is None:
        for y0, x0, pixels in strips(data, name):
            flags.add(y0, x0, pixels > 0)
        return flags
    # of one type with the labels: a mixture would be compared as float64
    values = np.array([code for code in codes if code <= np.iinfo(data.dtype).max], data.dtype)
    for y0, x0, pixels in strips(data, name):
        flags.add(y0, x0, np.isin(pixels, values))
    return flags
