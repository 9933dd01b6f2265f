"""All planes of a file of labels, whatever its axes call them.

Pages, depth, samples, or an array whose last axis holds them.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc.io._axes import describe_axes, has_samples, squeezed_shape
from kronos_sc.io._open import like, opened, planes_each, stacks

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array as da
    import tifffile

    from kronos_sc.io._planes import PlaneStack

_EDGE = 1024
_MAX_LAST_AXIS = 4  # planes on a last axis: nuclei, whole cells, and what else a program may write


@dataclass(frozen=True)
class MaskPlanes:
    """The planes of a mask.

    Parameters
    ----------
    levels
        (plane, row, column) by pyramid level, full resolution first.
    description
        What these planes are in the file, for messages.
    color
        Whether they are the samples of a colour picture.
    """

    levels: tuple[PlaneStack | LoadedPlanes, ...]
    description: str = ""
    color: bool = False


class LoadedPlanes:
    """Planes in memory, where a file does not store them one by one.

    Parameters
    ----------
    planes
        (plane, row, column).
    """

    def __init__(self, planes: np.ndarray) -> None:
        self.planes = planes
        self.shape = planes.shape

    def lazy(self, chunks: tuple[int, int] | None = None) -> da.Array:
        """Return a dask array of the planes."""
        import dask.array as da

        return da.from_array(self.planes, chunks=(1, *(chunks or (_EDGE, _EDGE))))


def mask_planes(path: Path, size: tuple[int, int]) -> MaskPlanes:
    """Return all planes of a mask.

    Parameters
    ----------
    path
        A TIFF file.
    size
        Rows and columns of the image: tells (rows, columns, planes) from (planes, rows, columns).
    """
    with opened(path) as (_, every):
        # an overview in colour may lie beside the labels
        chosen = max([one for one in every if not has_samples(one)] or every, key=lambda one: math.prod(one.shape))
        shape = squeezed_shape(chosen)
        separate = chosen.keyframe.planarconfig == 2 and shape[-2:] == chosen.shape[-2:]
        samples = has_samples(chosen) and not separate
        if samples or _on_last_axis(shape, size):
            color = samples and chosen.keyframe.photometric.name not in ("MINISBLACK", "MINISWHITE")
            description = f"axes {chosen.axes}, shape {chosen.shape}"
            if not color:
                description += f": {shape[-1]} planes on the last axis"
            return MaskPlanes((LoadedPlanes(_load_planes(chosen, path)),), description, color)
        group = like(chosen, every)
        description = f"{len(group)} images"
        if len(group) == 1:
            description = f"axes {chosen.axes}: {describe_axes(chosen)}"
        return MaskPlanes(stacks(group, planes_each(chosen), path), description)


def _on_last_axis(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether an array (rows, columns, planes) was written as it is, so that its pages are rows."""
    if len(shape) != 3 or shape[1:] == size:
        return False
    return shape[:2] == size or shape[2] <= _MAX_LAST_AXIS < min(shape[:2])


def _load_planes(series: tifffile.TiffPageSeries, path: Path) -> np.ndarray:
    """Return (plane, row, column) of an array with planes last."""
    try:
        array = series.asarray()
    except (OSError, RuntimeError, ValueError, TypeError, IndexError, struct.error) as error:
        msg = (
            f"{str(path)!r} could not be decoded ({type(error).__name__}: {error}). The file is damaged. Copy or "
            "export it again."
        )
        raise OSError(msg) from error
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return np.moveaxis(array.reshape(squeezed_shape(series)), -1, 0)
