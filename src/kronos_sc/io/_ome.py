"""Channel names and pixel sizes of OME-XML, also where it is not valid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import Any

from kronos_sc._core.log import detail
from kronos_sc.io._units import micrometres

# How programs call fields of view; and what a writer calls images that were given no name.
_FIELD = re.compile(
    r"(?:pos|position|scene|fov|field|site|tile|region|roi|series|well|point|stage|xy|#)\W*\d", re.IGNORECASE
)
_NUMBERED = re.compile(r"\s*(?:image[\s:_]*\d*|untitled\W*\d*)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class OmeImage:
    """What OME-XML says of one image.

    Parameters
    ----------
    size
        Rows and columns.
    names
        Name of each channel, else its fluorophore, else None.
    mpp
        Edges (y, x) of a pixel in µm; None where not stated.
    label
        Name of the image.
    place
        Where the stage stood; None where not stated.
    """

    size: tuple[int, int]
    names: tuple[str | None, ...]
    mpp: tuple[float, float] | None
    label: str | None = None
    place: tuple[float, float] | None = None


def ome_image(xml: str, index: int, size: tuple[int, int]) -> OmeImage | None:
    """Return what OME-XML says of the image of a series.

    The image at its position if sizes agree, else the first of that size.
    """
    return image_of_series(ome_images(xml), index, size)


def image_of_series(images: list[OmeImage], index: int, size: tuple[int, int]) -> OmeImage | None:
    """Return the image of a series among those that OME-XML describes."""
    if index < len(images) and images[index].size == size:
        return images[index]
    for image in images:
        if image.size == size:
            return image
    return images[0] if len(images) == 1 else None


def ome_images(xml: str) -> list[OmeImage]:
    """Parse with ome-types; metadata that breaks the schema is read attribute by attribute."""
    import ome_types

    try:
        return [_from_model(image) for image in ome_types.from_xml(xml).images]
    # SyntaxError: malformed XML; the others: values that the schema does not allow
    except (SyntaxError, ValueError, TypeError, KeyError, AttributeError, LookupError, NotImplementedError) as error:
        detail(f"OME-XML is not valid ({type(error).__name__}); reading its attributes one by one")
        return _by_attributes(xml)


def channels_of_their_own(images: list[OmeImage]) -> list[str | None] | None:
    """Return the names of images of one channel each that are the channels of one image; None where they are not.

    They are not where the stage moved between them, or where their channels are called the same: then they are fields
    of view.

    Parameters
    ----------
    images
        Of one size.
    """
    if len({image.place for image in images}) > 1:
        return None
    names = [image.names[0] if len(image.names) == 1 else None for image in images]
    labels = [image.label for image in images]
    if not any(names):
        if any(label and _FIELD.search(label) for label in labels):
            return None
        names = [None if label is None or _NUMBERED.fullmatch(label) else label for label in labels]
        # without any name they are as good as pages, which are channels
        if not any(names):
            return names
    # the same channel twice: two fields of view of it
    if len(set(names)) < len(names) or not all(names):
        return None
    return names


def _from_model(image: Any) -> OmeImage:
    pixels = image.pixels
    names = tuple(channel.name or channel.fluor for channel in pixels.channels)
    y, x = (
        _length(getattr(pixels, f"physical_size_{axis}"), getattr(pixels, f"physical_size_{axis}_unit").value)
        for axis in "yx"
    )
    positions = [
        (plane.position_y, plane.position_x)
        for plane in pixels.planes[:1]
        if None not in (plane.position_y, plane.position_x)
    ]
    position = positions[0] if positions else None
    return OmeImage((pixels.size_y, pixels.size_x), names, _complete_pair(y, x), image.name, position)


def _by_attributes(xml: str) -> list[OmeImage]:
    """Read Pixels and Channel elements by their attributes, whatever surrounds them."""
    images = []
    before, *parts = re.split(r"<(?:\w+:)?Pixels\b", xml)
    for part in parts:
        image = re.findall(r"<(?:\w+:)?Image\b([^>]*)>", before)
        label = None
        if image:
            label = _attributes(image[-1]).get("Name")
        before = part
        pixels = _attributes(part.split(">", 1)[0])
        channels = [_attributes(text) for text in re.findall(r"<(?:\w+:)?Channel\b([^>]*)>", part)]
        y, x = (
            _length(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "YX"
        )
        sizes = [pixels.get(f"Size{axis}", "") for axis in "YX"]
        height, width = (int(size) if size.isdigit() else 0 for size in sizes)
        names = tuple(channel.get("Name") or channel.get("Fluor") for channel in channels)
        images.append(OmeImage((height, width), names, _complete_pair(y, x), label))
    return images


def _attributes(text: str) -> dict[str, str]:
    return {name: unescape(a or b) for name, a, b in re.findall(r"""\b(\w++)\s*+=\s*+(?:"([^"]*)"|'([^']*)')""", text)}


def _length(value: object, unit: str) -> float | None:
    """Return a length in µm, or None if there is none or its unit is not a length."""
    scale = micrometres(str(unit))
    if value is None or scale is None:
        return None
    try:
        return float(value) * scale  # type: ignore[arg-type]
    except ValueError:
        return None


def _complete_pair(y: float | None, x: float | None) -> tuple[float, float] | None:
    """Return (y, x), taking the one for the other where only one is stated."""
    if y is None:
        y = x
    if x is None:
        x = y
    if y is None or x is None:
        return None
    return y, x
