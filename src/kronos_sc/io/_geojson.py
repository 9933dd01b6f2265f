"""GeoJSON as QuPath writes and reads it: what its properties mean."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kronos_sc.io._packed import unpacked

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
class Words:
    """What is said of one object.

    Parameters
    ----------
    label
        Its class, None where it has none; derived classes as QuPath shows them ("Tumor: Positive").
    name
        Its own name, or None.
    colour
        #rrggbb of the class, else of the object, or None.
    kind
        "annotation", "detection", "cell", "tile", …
    """

    label: str | None
    name: str | None
    colour: str | None
    kind: str


def features(path: Path) -> list[Mapping[str, Any]]:
    """Return the features of a file, plain, gzip or the only one in a zip: a collection, a single one, or a bare list of them."""
    raw = unpacked(path, suffixes=(".geojson", ".json"), what="GeoJSON", advice=_EXPORT)
    try:
        # of bytes, json tells UTF-8, UTF-16 and byte order marks apart itself
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        reason = "its brackets are nested too deep" if isinstance(error, RecursionError) else error
        msg = f"{path.name!r} is no GeoJSON: {reason}. {_EXPORT}"
        raise ValueError(msg) from error
    found = data.get("features", [data]) if isinstance(data, Mapping) else data
    if not isinstance(found, list) or not all(
        isinstance(one, Mapping) and one.get("type") == "Feature" for one in found
    ):
        kind = data.get("type", "no type") if isinstance(data, Mapping) else type(data).__name__
        msg = (
            f"{path.name!r} holds {kind!r}; a FeatureCollection, a Feature or a list of Features is read. "
            "Export the objects again, in QuPath with File > Export objects as GeoJSON."
        )
        raise ValueError(msg)
    return found


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
        reason = "it is nested too deep" if isinstance(error, RecursionError) else error
        msg = (
            f"Object {number} of {path.name!r} has {what} that cannot be read: {reason}. Remove or mend it, and export "
            "again."
        )
        raise ValueError(msg) from error


def words(feature: Mapping[str, Any]) -> Words:
    """Return what a feature's properties say; a TypeError says what is no property of QuPath's."""
    properties = _as_object(feature.get("properties") or {})
    if not isinstance(properties, Mapping):
        msg = f"its properties are of the kind {type(properties).__name__}, not an object"
        raise TypeError(msg)
    given = _as_object(properties.get("classification"))
    label = _label(given)
    colour = _colour(given) if isinstance(given, Mapping) else None
    name = properties.get("name")
    kind = (
        properties.get("objectType")
        or properties.get("object_type")
        or _OLD_IDS.get(str(feature.get("id")), "annotation")
    )
    return Words(label, None if name is None else str(name), colour or _colour(properties), str(kind).lower())


def _as_object(value: Any) -> Any:
    """Return text that is an object or a list, as tables hold what is nested, as what it is.

    Anything else unchanged.
    """
    text = value.strip() if isinstance(value, str) else ""
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


def _label(said: Any) -> str | None:
    """Return a class: a text, a list of the parts of a derived class, or an object with either."""
    if isinstance(said, Mapping):
        return _label(said.get("name")) or _label(said.get("names"))
    if isinstance(said, list | tuple):
        return ": ".join(str(part) for part in said) or None
    if said is None or isinstance(said, str):
        return said or None
    msg = f"its class is {said!r}, of the kind {type(said).__name__}, not a text"
    raise TypeError(msg)


def _colour(said: Mapping[str, Any]) -> str | None:
    """Return a colour as #rrggbb.

    QuPath writes [r, g, b], its older versions one signed whole number (alpha, red, green, blue).
    """
    value = _as_object(said.get("color", said.get("colorRGB")))
    if isinstance(value, str):
        if value.strip().lstrip("-").isdecimal():
            value = int(value)
        elif found := _HEX.fullmatch(value.strip()):
            return f"#{found[1].lower()}"
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float) and value % 1 == 0:
        return f"#{int(value) & 0xFFFFFF:06x}"
    if isinstance(value, list | tuple) and len(value) >= 3 and all(_byte(v) for v in value[:3]):
        return "#{:02x}{:02x}{:02x}".format(*map(int, value[:3]))
    return None


def _byte(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 255 and value % 1 == 0


def properties(said: Words) -> str:
    """Return properties as text that QuPath reads."""
    out: dict[str, Any] = {"objectType": said.kind}
    if said.name is not None:
        out["name"] = said.name
    # QuPath takes no class whose name is blank or has a line break
    if said.label is not None and (label := " ".join(said.label.split())):
        out["classification"] = {"name": label}
        if said.colour is not None:
            out["classification"]["color"] = [int(said.colour[i : i + 2], 16) for i in (1, 3, 5)]
    return json.dumps(out, ensure_ascii=False, separators=(",", ":"))
