"""Where there is tissue, where an artifact, and which patches can be used; all on grids of 32-pixel cells."""

# Shapes: gr × gc cells.
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_pretrain.corpus_build.plane import CELL

if TYPE_CHECKING:
    from kronos_pretrain.corpus_build.manifest import CorpusSettings
    from kronos_pretrain.corpus_build.plane import Plane

# Glass is at least this much darker than tissue (in powers of two, of means of the two classes): less is tissue of
# uneven density.
_CONTRAST = 2.5
_FLOOR = 0.02  # of the range of an image; what is darker is equally dark
_LEAST_CELLS = 8  # smaller islands of tissue are debris, smaller holes are part of the tissue


class Grids:
    """What all markers of an image together say about each cell.

    Parameters
    ----------
    shape
        Rows and columns of the image.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        fine = tuple(edge // CELL for edge in shape)
        self.others = np.zeros(fine, np.float32)
        self.saturated = np.zeros(fine, np.float32)
        self.nuclear: Plane | None = None
        self.count = 0

    def add(self, plane: Plane, *, nuclear: bool) -> None:
        """Take in a marker; the first nuclear stain is the one that counts as such."""
        self.saturated += plane.saturated
        self.count += 1
        if nuclear and self.nuclear is None:
            self.nuclear = plane
        elif plane.mean.size:
            # stretched, so that one bright marker does not outshine the others in the sum
            low, high = np.percentile(plane.mean, [2, 99.5])
            if high > low:
                self.others += np.clip((plane.mean - low) / (high - low), 0, 1)

    def tissue(self) -> np.ndarray:
        """Return which cells are tissue: those bright in the nuclear stain or in the sum of the other markers.

        Each of the two is divided by Otsu's threshold on a logarithmic scale, and counts only where the classes are as
        far apart as glass and tissue are: an image that is tissue from edge to edge has no background to find.
        """
        grids = [self.others] if self.nuclear is None else [self.nuclear.mean, self.others]
        masks = [bright for grid in grids if (bright := _bright(grid)) is not None]
        if not masks:
            return np.ones_like(self.others, bool)
        return _tidy(np.logical_or.reduce(masks))

    def artifacts(self, settings: CorpusSettings, tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which cells are saturated, and which are out of focus."""
        share = self.saturated / max(1, self.count)
        if self.nuclear is None:
            return share > settings.saturation, np.zeros_like(tissue)
        saturated = np.maximum(share, self.nuclear.saturated) > settings.saturation
        return saturated, _blurred(self.nuclear, tissue & ~saturated, settings.blur)


def origins(shape: tuple[int, int], tissue: np.ndarray, artifacts: np.ndarray, settings: CorpusSettings) -> np.ndarray:
    """Return row and column of every patch with enough tissue and few artifacts (int32, patches × 2)."""
    from kronos_sc.patches import grid

    corners = grid(shape, settings.patch, settings.stride)
    good = shares(tissue, corners, settings.patch) >= settings.least_tissue
    good &= shares(artifacts, corners, settings.patch) <= settings.most_artifacts
    return corners[good].astype(np.int32)


def shares(mask: np.ndarray, corners: np.ndarray, patch: int) -> np.ndarray:
    """Return which share of each patch is within a mask of cells, from sums over its corners."""
    sums = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    y0, x0 = corners.T // CELL
    edge = patch // CELL
    inside = sums[y0 + edge, x0 + edge] - sums[y0, x0 + edge] - sums[y0 + edge, x0] + sums[y0, x0]
    return inside / edge**2


def covered(shape: tuple[int, int], corners: np.ndarray, settings: CorpusSettings) -> np.ndarray:
    """Return which squares of one stride lie in at least one patch."""
    mask = np.zeros([edge // settings.stride for edge in shape], bool)
    span = settings.patch // settings.stride
    for y, x in corners // settings.stride:
        mask[y : y + span, x : x + span] = True
    return mask


def _bright(grid: np.ndarray) -> np.ndarray | None:
    """Return the brighter class of a grid, or None if there are no two."""
    from scipy.ndimage import gaussian_filter
    from skimage.filters import threshold_otsu

    if grid.size == 0:
        return None
    smooth = gaussian_filter(grid, 1.0, mode="nearest")
    low, high = np.percentile(smooth, [0.5, 99])
    if not high > low:
        return None
    level = np.log2(np.clip((smooth - low) / (high - low), _FLOOR, 1))
    bright = level > threshold_otsu(level)
    if bright.all() or not bright.any():
        return None
    contrast = level[bright].mean() - level[~bright].mean()
    return bright if contrast > _CONTRAST else None


def _tidy(mask: np.ndarray) -> np.ndarray:
    """Close gaps between cells, fill small holes, drop debris."""
    from scipy.ndimage import binary_closing, label

    mask = binary_closing(np.pad(mask, 1, mode="edge"), np.ones((3, 3)))[1:-1, 1:-1] | mask
    # holes first, so that a small piece of tissue around one is not taken for debris
    for value in (False, True):
        parts, _ = label(mask == value)
        sizes = np.bincount(parts.ravel())
        sizes[0] = _LEAST_CELLS  # what has the other value stays as it is
        mask = mask ^ (sizes < _LEAST_CELLS)[parts]
    return mask


def _blurred(plane: Plane, tissue: np.ndarray, least: float) -> np.ndarray:
    """Return cells whose detail, as a share of all variance around them, is far below the image's median.

    The detail is that of the image shrunk to a quarter (mean squared Laplacian): light that is out of focus has lost
    the edges of nuclei, but not the noise that the camera adds to every pixel.
    """
    from scipy.ndimage import binary_dilation, uniform_filter

    edges = uniform_filter(plane.coarse.astype(np.float64), 3, mode="nearest")
    variance = uniform_filter(plane.variance.astype(np.float64), 3, mode="nearest")
    sharpness = np.divide(edges, variance, out=np.full_like(edges, np.nan), where=variance > 0)
    known = tissue & np.isfinite(sharpness)
    if not known.any():
        return np.zeros_like(tissue)
    blurred = known & (sharpness < least * np.median(sharpness[known]))
    # the filter looks one cell further, where sharp edges hide the blur
    return binary_dilation(blurred, np.ones((3, 3))) & tissue
