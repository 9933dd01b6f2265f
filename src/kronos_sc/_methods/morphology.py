"""Class maps without specks and small holes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


def smoothed(classes: np.ndarray, *, opening: int, closing: int, n_classes: int) -> np.ndarray:
    """Open, then close, every class of a map (paper, Online Methods: to fill holes in the final prediction map).

    The order is fixed, so that the answer does not depend on how classes are numbered:

    1. Opening, each class by itself: pixels where no disc of this radius fits into their class lose it, and take that
       of the nearest pixel that kept its own (0 included, whose pixels all keep it). The nearest is measured from
       centre to centre.
    2. Closing, one class after the other, the one with most pixels first (of equals the lower code): a class takes the
       pixels outside it where no disc fits, holes and gaps. What one class took the others leave alone, and what is
       wide enough for a disc is taken by nobody.

    Beyond the border the map goes on like its last row or column: parts that are cut off there are not rounded.

    Parameters
    ----------
    classes
        Whole numbers (rows, columns), 0 for no class, 1 to `n_classes`.
    opening, closing
        Radius of the disc in pixels of the map; 0 leaves the step out.
    n_classes
        Number of classes.

    Returns
    -------
    A new map of the same dtype; a map that has no class is returned as it is.
    """
    from skimage.morphology import isotropic_closing, isotropic_opening

    result = np.array(classes)
    codes = np.arange(1, n_classes + 1)
    if opening:
        lost = np.zeros(result.shape, bool)
        for code in codes:
            member = result == code
            lost |= member & ~_beyond(isotropic_opening, member, opening)
        result = _nearest(result, lost)
    if closing:
        pixels = np.bincount(result.ravel(), minlength=n_classes + 1)[1:]
        taken = np.zeros(result.shape, bool)
        for code in sorted(codes, key=lambda code: (-pixels[code - 1], code)):
            member = result == code
            gained = _beyond(isotropic_closing, member, closing) & ~member & ~taken
            result[gained] = code
            taken |= gained
    return result


def _beyond(step: Callable[..., np.ndarray], mask: np.ndarray, radius: int) -> np.ndarray:
    """Apply a step to a mask that goes on beyond its border as it ends there."""
    if not mask.any() or mask.all():
        return mask
    margin = 2 * radius + 1
    return step(np.pad(mask, margin, mode="edge"), radius)[margin:-margin, margin:-margin]


def _nearest(classes: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return the map with the class of the nearest other pixel where its own is lost; as it was where all are."""
    from scipy.ndimage import distance_transform_edt

    if not lost.any() or lost.all():
        return classes
    y, x = distance_transform_edt(lost, return_distances=False, return_indices=True)
    return classes[y, x]
