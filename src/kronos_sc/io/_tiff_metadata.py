"""What a TIFF file itself says of its channels and its pixel size."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import TYPE_CHECKING, Any

from kronos_sc.io._ome import channels_of_their_own, image_of_series, ome_images
from kronos_sc.io._units import micrometres

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tifffile

    from kronos_sc.io._ome import OmeImage

Names = tuple[str | None, ...]


def read_tiff_metadata(
    tif: tifffile.TiffFile, indexes: Sequence[int], series: tifffile.TiffPageSeries, pages: Sequence[Any]
) -> tuple[Names, str, tuple[float, float] | None, str]:
    """Return channel names and where they stand, pixel size (y, x) in µm and where it stands.

    Parameters
    ----------
    tif
        The open file.
    indexes, series
        Positions of the images read as one, and the first of them.
    pages
        Its pages, one per channel; one in all where pixels follow each other without directories.
    """
    images = described_images(tif, indexes, series)
    names, origin = _names(tif, pages, images)
    return names, origin, *_size(tif, series.keyframe, images[0] if images else None)


def described_images(tif: tifffile.TiffFile, indexes: Sequence[int], series: tifffile.TiffPageSeries) -> list[OmeImage]:
    """Return what OME-XML says of images of one size; nothing where it does not say it of each."""
    if not tif.ome_metadata:
        return []
    every = ome_images(tif.ome_metadata)
    matches = [image_of_series(every, index, tuple(series.shape[-2:])) for index in indexes]
    if None in matches:
        return []
    return [image for image in matches if image is not None]


def _names(tif: tifffile.TiffFile, pages: Sequence[Any], images: Sequence[OmeImage]) -> tuple[Names, str]:
    """Return the first names that any convention gives."""
    own_names = None
    if len(images) > 1:
        own_names = channels_of_their_own(list(images))
    names = own_names or [name for image in images for name in image.names]
    if any(names):
        return _clean(names), "OME-XML"
    labels = (tif.imagej_metadata or {}).get("Labels")
    # Fiji numbers unnamed planes "c:1/3"; that is no name
    if labels and not all(re.match(r"[czt]:\d+/\d+", label) for label in labels):
        return _clean(labels), "ImageJ labels"
    first = pages[0].keyframe
    for origin, name_of in (("PerkinElmer-QPI pages", _qpi), ("MIBI pages", _mibi), ("page names", _page_name)):
        if name_of(first):
            # frames carry no tags of their own: only now is it worth reading them
            return _clean([name_of(page if hasattr(page, "tags") else page.aspage()) for page in pages]), origin
    return (), ""


def _clean(names: Sequence[str | None]) -> Names:
    return tuple(str(name).strip() or None if name is not None else None for name in names)


def _qpi(page: Any) -> str | None:
    """Return marker, else component, else filter of a PerkinElmer page."""
    if "PerkinElmer-QPI" not in page.description[:400]:
        return None
    for tag in ("Biomarker", "Name"):
        if match := re.search(rf"<{tag}>\s*([^<]*\S)\s*</{tag}>", page.description):
            return unescape(match.group(1))
    return None


def _mibi(page: Any) -> str | None:
    """Return the target of an IonPath page, else its mass."""
    metadata = mibi(page)
    if metadata.get("channel.target"):
        return metadata["channel.target"]
    return str(metadata["channel.mass"]) if "channel.mass" in metadata else None


def mibi(page: Any) -> dict[str, Any]:
    """Return the JSON of an IonPath MIBItiff page; empty for other files."""
    if '"mibi.' not in page.description and '"channel.target"' not in page.description:
        return {}
    try:
        metadata = json.loads(page.description)
    except ValueError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _page_name(page: Any) -> str | None:
    return page.tags.valueof("PageName")


def _size(
    tif: tifffile.TiffFile, page: tifffile.TiffPage, ome: OmeImage | None
) -> tuple[tuple[float, float] | None, str]:
    """Return the first pixel size that any convention states; a wrong one is not covered up by the next."""
    if ome is not None and ome.mpp is not None:
        return ome.mpp, "OME-XML"
    width = mibi(page).get("mibi.size")
    if isinstance(width, (int, float)):
        return (width / page.imagewidth, width / page.imagewidth), "MIBI field of view"
    imagej = micrometres(str((tif.imagej_metadata or {}).get("unit", "")))
    unit = imagej or {2: 25400.0, 3: 10000.0}.get(int(page.tags.valueof("ResolutionUnit", default=1)))
    # tags hold pixels per unit as a rational
    edges = [_per_pixel(page.tags.valueof(name)) for name in ("YResolution", "XResolution")]
    if unit is None or None in edges:
        return None, ""
    return (edges[0] * unit, edges[1] * unit), "ImageJ" if imagej else "resolution tags"  # type: ignore[operator]


def _per_pixel(resolution: tuple[int, int] | None) -> float | None:
    """Return units per pixel from a rational pixels per unit."""
    if not resolution or 0 in resolution:
        return None
    return resolution[1] / resolution[0]
