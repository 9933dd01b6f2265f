"""Small pictures of every marker, and of where patches lie, for manual review."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_pretrain.corpus_build.plane import CELL

if TYPE_CHECKING:
    from pathlib import Path

    from kronos_pretrain.corpus_build.plane import Plane

OVERVIEW = "overview.png"
STRETCH = (1.0, 99.7)  # percentiles of the shrunken image that become black and white
_SATURATED = (235, 90, 60)
_BLURRED = (235, 180, 40)
_OUTSIDE = (70, 84, 120)


@dataclass(frozen=True)
class Masks:
    """Cells that are tissue, saturated, out of focus, and squares of a stride that patches cover.

    Parameters
    ----------
    tissue, saturated, blurred
        Of 32-pixel cells.
    covered
        Of squares of one stride.
    """

    tissue: np.ndarray
    saturated: np.ndarray
    blurred: np.ndarray
    covered: np.ndarray

    def artifacts(self) -> list[tuple[np.ndarray, tuple[int, int, int]]]:
        """Return masks of artifacts and their colours."""
        return [(self.saturated, _SATURATED), (self.blurred, _BLURRED)]


def write(folder: Path, planes: dict[str, Plane], nuclear: str, masks: Masks) -> None:
    """Write one picture per marker, and one of the nuclear stain with what patches cover.

    Parameters
    ----------
    folder
        Of the image.
    planes
        By the name of their picture.
    nuclear
        Which of them the overview shows.
    masks
        Drawn on it.
    """
    from PIL import Image

    for name, plane in planes.items():
        Image.fromarray(stretched(plane.thumbnail)).save(folder / name, optimize=True)
    Image.fromarray(overview(planes[nuclear], masks)).save(folder / OVERVIEW, optimize=True)


def limits(grey: np.ndarray) -> tuple[float, float]:
    """Return the values that become black and white."""
    low, high = np.percentile(grey, STRETCH) if grey.size else (0, 0)
    if high <= low:  # a few bright dots in the dark, or nothing
        low = grey.min(initial=0)
        high = grey.max(initial=0)
    return float(low), float(high)


def stretched(grey: np.ndarray) -> np.ndarray:
    """Return an image with its percentiles stretched to 0 … 255."""
    low, high = limits(grey)
    span = high - low or 1.0
    return (np.clip((grey - low) / span, 0, 1) * 255).round().astype(np.uint8)


def overview(plane: Plane, masks: Masks) -> np.ndarray:
    """Return the nuclear stain in colour: blue where no patch lies, red or yellow where there is an artifact."""
    grey = stretched(plane.thumbnail)
    inside = enlarged(masks.covered, plane.step / plane.pooling, grey.shape)
    picture = np.repeat(grey[..., None].astype(float), 3, axis=2)
    artifacts = [(enlarged(mask, CELL / plane.pooling, grey.shape), color) for mask, color in masks.artifacts()]
    # artifacts last, so that they show where no patch lies, too
    for tinted, color in [(~inside, _OUTSIDE), *artifacts]:
        picture[tinted] = 0.5 * picture[tinted] + 0.5 * np.array(color)
    return picture.round().astype(np.uint8)


def enlarged(mask: np.ndarray, factor: float, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask of squares on the pixels of a picture; False beyond the last whole square."""
    picture = np.zeros(shape, bool)
    rows, columns = ((np.arange(size) / factor).astype(int) for size in shape)
    rows = rows[rows < mask.shape[0]]
    columns = columns[columns < mask.shape[1]]
    picture[: len(rows), : len(columns)] = mask[np.ix_(rows, columns)]
    return picture
