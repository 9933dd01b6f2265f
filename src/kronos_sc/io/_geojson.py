"""GeoJSON as QuPath writes and reads it: what its properties mean."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kronos_sc.io._packed import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OBJECT_TYPES = ("annotation", "detection", "cell")
_EXPORT = "Export it again, in QuPath with File > Export objects as GeoJSON."
# until 0.3, QuPath said the kind of an object in its id
_OLD_IDS = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tma_core",
}
_HEX = re.compile(r"#?([0-9a-fA-F]{6})")
_NUMPY = re.compile(r"\b(?:np|numpy)\.\w+\(([^()]*)\)")  # np.int32(255), in what Python shows of an object
_LONG = 10_000  # longer text is no classification


@dataclass(frozen=True)
class ObjectProperties:
    """What is said of one object.

    Parameters
    ----------
    label
        Its class, None where it has none; derived classes as QuPath shows them ("Tumor: Positive").
    name
        Its own name, or None.
    color
        #rrggbb of the class, else of the object, or None.
    kind
        "annotation", "detection", "cell", "tile", …
    """

    label: str | None
    name: str | None
    color: str | None
    kind: str


def features(path: Path) -> list[Mapping[str, Any]]:
    """Return the features of a file: of a collection, a single one, or a bare list of them.

    The file may be plain, gzip, or the only one in a zip.
    """
    raw = unpack(path, suffixes=(".geojson", ".json"), what="GeoJSON", advice=_EXPORT)
    try:
        # of bytes, json tells UTF-8, UTF-16 and byte order marks apart itself
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        reason = error
        if isinstance(error, RecursionError):
            reason = "its brackets are nested too deep"
        msg = f"{path.name!r} is no GeoJSON: {reason}. {_EXPORT}"
        raise ValueError(msg) from error
    objects = data
    if isinstance(data, Mapping):  # a collection, or a single feature
        objects = data.get("features", [data])
    are_features = isinstance(objects, list) and all(
        isinstance(one, Mapping) and one.get("type") == "Feature" for one in objects
    )
    if not are_features:
        kind = data.get("type", "no type") if isinstance(data, Mapping) else type(data).__name__
        msg = (
            f"{path.name!r} holds {kind!r}; a FeatureCollection, a Feature or a list of Features is read. "
            "Export the objects again, in QuPath with File > Export objects as GeoJSON."
        )
        raise ValueError(msg)
    return objects


@contextmanager
def object_of(path: Path, number: int, what: str) -> Iterator[None]:
    """Turn whatever a broken object raises into one error that names file and object."""
    import shapely

    try:
        yield
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
        shapely.errors.ShapelyError,
    ) as error:
        reason = error
        if isinstance(error, RecursionError):
            reason = "it is nested too deep"
        msg = (
            f"Object {number} of {path.name!r} has {what} that cannot be read: {reason}. Remove or mend it, and export "
            "again."
        )
        raise ValueError(msg) from error


def parse_properties(feature: Mapping[str, Any]) -> ObjectProperties:
    """Return what a feature's properties say; a TypeError says what is no property of QuPath's."""
    properties = _as_object(feature.get("properties") or {})
    if not isinstance(properties, Mapping):
        msg = f"its properties are of the kind {type(properties).__name__}, not an object"
        raise TypeError(msg)
    classification = _as_object(properties.get("classification"))
    label = _label(classification)
    # the colour of the class comes first: QuPath colours objects by their class
    color = None
    if isinstance(classification, Mapping):
        color = _color(classification)
    color = color or _color(properties)
    name = properties.get("name")
    if name is not None:
        name = str(name)
    kind = (
        properties.get("objectType")
        or properties.get("object_type")
        or _OLD_IDS.get(str(feature.get("id")), "annotation")
    )
    return ObjectProperties(label, name, color, str(kind).lower())


def _as_object(value: Any) -> Any:
    """Return text that is an object or a list, as tables hold what is nested, as what it is.

    Anything else unchanged.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text or text[0] + text[-1] not in ("{}", "[]") or len(text) > _LONG:
        return value
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(_NUMPY.sub(r"\1", text))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value


def _label(spec: Any) -> str | None:
    """Return a class: a text, a list of the parts of a derived class, or an object with either."""
    if isinstance(spec, Mapping):
        return _label(spec.get("name")) or _label(spec.get("names"))
    if isinstance(spec, list | tuple):
        return ": ".join(str(part) for part in spec) or None
    if spec is None or isinstance(spec, str):
        return spec or None
    msg = f"its class is {spec!r}, of the kind {type(spec).__name__}, not a text"
    raise TypeError(msg)


def _color(spec: Mapping[str, Any]) -> str | None:
    """Return a colour as #rrggbb.

    QuPath writes [r, g, b], its older versions one signed whole number (alpha, red, green, blue).
    """
    value = _as_object(spec.get("color", spec.get("colorRGB")))
    if isinstance(value, str):
        if value.strip().lstrip("-").isdecimal():
            value = int(value)
        elif match := _HEX.fullmatch(value.strip()):
            return f"#{match[1].lower()}"
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float) and value % 1 == 0:
        return f"#{int(value) & 0xFFFFFF:06x}"
    if isinstance(value, list | tuple) and len(value) >= 3 and all(_byte(v) for v in value[:3]):
        return "#{:02x}{:02x}{:02x}".format(*map(int, value[:3]))
    return None


def _byte(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 255 and value % 1 == 0


def format_properties(spec: ObjectProperties) -> str:
    """Return properties as text that QuPath reads."""
    written: dict[str, Any] = {"objectType": spec.kind}
    if spec.name is not None:
        written["name"] = spec.name
    # QuPath takes no class whose name is blank or has a line break
    if spec.label is not None and (label := " ".join(spec.label.split())):
        written["classification"] = {"name": label}
        if spec.color is not None:
            written["classification"]["color"] = [int(spec.color[i : i + 2], 16) for i in (1, 3, 5)]
    return json.dumps(written, ensure_ascii=False, separators=(",", ":"))
