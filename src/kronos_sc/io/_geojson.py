"""GeoJSON as QuPath writes and reads it: what its properties mean."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

OBJECT_TYPES = ("annotation", "detection", "cell")
_GZIP = b"\x1f\x8b"


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
    """Return the features of a file, plain or compressed: a collection, a single one, or a bare list of them."""
    raw = path.read_bytes()
    try:
        # utf-8-sig: some editors put a byte order mark before the first brace
        data = json.loads((gzip.decompress(raw) if raw.startswith(_GZIP) else raw).decode("utf-8-sig"))
    except (ValueError, OSError, EOFError) as error:
        msg = f"{path.name!r} is no GeoJSON: {error}. Export it again, in QuPath with File > Export objects as GeoJSON."
        raise ValueError(msg) from error
    found = data.get("features", [data]) if isinstance(data, Mapping) else data
    if not isinstance(found, list) or not all(isinstance(one, Mapping) and one.get("type") == "Feature" for one in found):
        kind = data.get("type", "no type") if isinstance(data, Mapping) else type(data).__name__
        msg = (
            f"{path.name!r} holds {kind!r}; a FeatureCollection, a Feature or a list of Features is read. "
            "Export the objects again, in QuPath with File > Export objects as GeoJSON."
        )
        raise ValueError(msg)
    return found


def words(feature: Mapping[str, Any]) -> Words:
    """Return what a feature's properties say."""
    properties = feature.get("properties") or {}
    given = properties.get("classification")
    if isinstance(given, Mapping):
        label, colour = _label(given), _colour(given)
    else:
        label, colour = (str(given) if given else None), None
    name = properties.get("name")
    kind = properties.get("objectType") or properties.get("object_type") or "annotation"
    return Words(label, None if name is None else str(name), colour or _colour(properties), str(kind).lower())


def _label(classification: Mapping[str, Any]) -> str | None:
    if name := classification.get("name"):
        return str(name)
    return ": ".join(str(part) for part in classification.get("names") or ()) or None


def _colour(said: Mapping[str, Any]) -> str | None:
    """Return a colour as #rrggbb; QuPath writes [r, g, b], its older versions one signed whole number (alpha, red, green, blue)."""
    value = said.get("color", said.get("colorRGB"))
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return f"#{value & 0xFFFFFF:06x}"
    if isinstance(value, list) and len(value) >= 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in value[:3]):
        return "#{:02x}{:02x}{:02x}".format(*value[:3])
    return None


def properties(said: Words) -> str:
    """Return properties as text that QuPath reads."""
    out: dict[str, Any] = {"objectType": said.kind}
    if said.name is not None:
        out["name"] = said.name
    if said.label is not None:
        out["classification"] = {"name": said.label}
        if said.colour is not None:
            out["classification"]["color"] = [int(said.colour[i : i + 2], 16) for i in (1, 3, 5)]
    return json.dumps(out, ensure_ascii=False, separators=(",", ":"))
