"""Label images on disk → lazy label arrays, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc._core.paths import existing
from kronos_sc._core.warn import warn
from kronos_sc.io._mask_planes import MaskPlanes, mask_planes

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd

MaskPath = str | Path | tuple[str | Path, int]
_MAX_LABEL = 2**63 - 1
_RELABEL = "skimage.measure.label(mask > 0)"


@dataclass(frozen=True)
class MaskFile:
    """Where a label image is stored.

    Parameters
    ----------
    path
        A TIFF file.
    page
        Which plane of it, from 0; None where it has only one.
    """

    path: Path
    page: int | None = None


def mask_files(mask: MaskPath | Mapping[str, MaskPath] | None, labels_key: str) -> dict[str, MaskFile]:
    """Return the mask files by the name of their labels element."""
    if mask is None:
        return {}
    if isinstance(mask, Mapping):
        return {str(name): _mask_file(value, f"mask[{name!r}]") for name, value in mask.items()}
    return {str(labels_key): _mask_file(mask, "mask")}


def _mask_file(value: object, argument: str) -> MaskFile:
    path: object = value
    page: object = None
    if isinstance(value, tuple) and len(value) == 2:
        path, page = value
    if (
        not isinstance(path, (str, Path))
        or isinstance(page, bool)
        or not (page is None or isinstance(page, (int, np.integer)))
    ):
        msg = (
            f"{argument} is {type(value).__name__}, not the path of a label TIFF. Pass a path, (path, page), or a dict "
            "of them by name; labels already in memory go into sdata.labels with "
            "spatialdata.models.Labels2DModel.parse."
        )
        raise TypeError(msg)
    mask_path = existing(path, argument=argument)
    if mask_path.is_dir():
        msg = (
            f"{argument} is the folder {str(mask_path)!r}; a mask is one TIFF of labels. "
            f"Pass the file, or several as mask={{'cells': file, 'nuclei': file}}."
        )
        raise ValueError(msg)
    return MaskFile(mask_path, None if page is None else int(page))


def open_mask(file: MaskFile, size: tuple[int, int], image: Path, chunks: tuple[int, int] | None) -> da.Array:
    """Return the labels of one file as a lazy (rows, columns) array of the image's size.

    Reads pixels only of signed or float labels.
    """
    planes = mask_planes(file.path, size)
    levels = planes.levels
    page = _page(file, planes)
    fitting = next((level for level in levels if level.shape[1:] == size), None)
    if fitting is None:
        y, x = levels[0].shape[1:]
        msg = (
            f"Mask {file.path.name!r} has {y} × {x} pixels, image {image.name!r} has {size[0]} × {size[1]}. "
            "Pass the mask that belongs to this image; one made at lower resolution goes back to full size with "
            "skimage.transform.resize(mask, shape, order=0, preserve_range=True, anti_aliasing=False)."
        )
        raise ValueError(msg)
    return _labels(fitting.lazy(chunks)[page], file)


def _page(file: MaskFile, planes: MaskPlanes) -> int:
    """Return the plane that holds the labels."""
    count = planes.levels[0].shape[0]
    name = str(file.path)
    choose = f"mask=({file.path.name!r}, 0)"
    if file.page is None and planes.color:
        msg = (
            f"Mask {name!r} is stored as colour samples ({planes.description}), as RGB pictures are. Labels are whole "
            "numbers, one per pixel: export the label image, not a picture of it. If one of the samples holds "
            "the labels, choose it, as in "
            f"{choose}."
        )
        raise ValueError(msg)
    if file.page is None and count > 1:
        msg = (
            f"Mask {name!r} has {count} pages, and only one can be the labels. "
            f"Choose it, counted from 0, as in {choose} ({planes.description}); "
            f"nuclei and whole cells both, as in mask={{'cells': ({file.path.name!r}, 0), 'nuclei': "
            f"({file.path.name!r}, 1)}}."
        )
        raise ValueError(msg)
    page = file.page or 0
    if page not in range(count):
        msg = (
            f"Mask {name!r} has no page {page}: it has {count}, counted from 0. "
            f"Choose one of 0–{count - 1}, as in mask=({file.path.name!r}, {count - 1})."
        )
        raise ValueError(msg)
    return page


def _labels(pixels: da.Array, file: MaskFile) -> da.Array:
    """Return integer labels, or raise a ValueError that says what the pixels are instead."""
    import dask

    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8)
    if pixels.dtype.kind == "u":
        return pixels
    if pixels.dtype.kind not in "if":
        msg = (
            f"Mask {file.path.name!r} holds {pixels.dtype} values; labels are whole numbers, 0 for background. Export "
            "it as a label image."
        )
        raise ValueError(msg)
    fractions = False
    if pixels.dtype.kind == "f":
        fractions = (pixels != np.floor(pixels)).any()
    # in this process: workers of a cluster may not see the file
    low, high, broken = dask.compute(pixels.min(), pixels.max(), fractions, scheduler="threads")
    if broken or not np.isfinite([float(low), float(high)]).all():
        msg = (
            f"Mask {file.path.name!r} holds {pixels.dtype} values that are not whole numbers (from {low:g} to "
            f"{high:g}): probabilities, perhaps, not labels. "
            "Export the label image; or threshold and label it with skimage.measure.label(mask > 0.5)."
        )
        raise ValueError(msg)
    if low < 0:
        msg = (
            f"Mask {file.path.name!r} holds negative values (down to {low:g}); labels are positive, 0 is background. "
            f"Set them to 0, or relabel with {_RELABEL}."
        )
        raise ValueError(msg)
    if pixels.dtype.kind == "i":
        return pixels
    if int(high) > _MAX_LABEL:
        msg = (
            f"Mask {file.path.name!r} holds the label {high:.0f} as {pixels.dtype}, beyond {_MAX_LABEL}, the largest "
            "that is read of such numbers. "
            "Number its objects anew with skimage.segmentation.relabel_sequential(mask)[0]."
        )
        raise ValueError(msg)
    exact = 2 ** (np.finfo(pixels.dtype).nmant + 1)
    if high > exact:
        warn(
            f"Mask {file.path.name!r} holds labels up to {high:.0f} as {pixels.dtype}, which tells whole numbers apart "
            f"up to {exact:,} only: cells may have been merged when it was saved. Export it as uint32."
        )
    whole = np.dtype(np.uint32 if high < 2**32 else np.int64)
    info(f"mask {file.path.name}: {pixels.dtype} labels, all whole numbers, are read as {whole}")
    return pixels.astype(whole)


def check_cells(cells: pd.DataFrame, name: str, file: MaskFile) -> None:
    """Raise a ValueError for a mask without labels; warn of one that looks binary."""
    if cells.empty:
        msg = (
            f"Mask {str(file.path)!r} holds no label: all pixels are 0. "
            "Pass the mask of this image, or another page of it with mask=(path, page)."
        )
        raise ValueError(msg)
    if len(cells) == 1:
        label = int(cells["label"].iloc[0])
        warn(
            f"Mask {file.path.name!r} holds one label only ({label}), so {name!r} is one cell of "
            f"{int(cells['area'].iloc[0])} pixels: "
            f"it looks like a binary mask. Number its objects with {_RELABEL} and pass that."
        )


def check_keys(image_key: str, labels: list[str], table_key: str) -> None:
    """Raise a ValueError unless all elements have names of their own."""
    names = [image_key]
    if labels:  # without a mask there is no table
        names += [*labels, table_key]
    if len(set(names)) < len(names):
        msg = (
            f"Elements need names of their own: image {image_key!r}, labels {listed(labels)}, table {table_key!r}. "
            "Change image_key=, labels_key= (the keys of mask=, where it is a dict) or table_key=."
        )
        raise ValueError(msg)
