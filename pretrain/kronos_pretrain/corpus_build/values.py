"""Values of a TOML table, checked against the types of a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def value(kind: str, found: Any, where: str) -> Any:
    """Return `found` as what a field's annotation asks for, or raise a TypeError."""
    read, words = _READERS[kind]
    result = read(found)
    if result is None:
        msg = f"{where} is {found!r}; it must be {words}. Correct it in the manifest."
        raise TypeError(msg)
    return result


def _text(found: object) -> str | None:
    return found if isinstance(found, str) else None


def _whole(found: object) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _number(found: object) -> float | None:
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _path(found: object) -> Path | None:
    return Path(found) if isinstance(found, str) and found else None


def _texts(found: object) -> tuple[str, ...] | None:
    return tuple(found) if isinstance(found, list) and all(isinstance(each, str) for each in found) else None


def _reasons(found: object) -> dict[str, str] | None:
    """Return name → reason of a table, or of a list of names without reasons."""
    if isinstance(found, list) and _texts(found) is not None:
        return dict.fromkeys(found, "")
    good = isinstance(found, Mapping) and all(isinstance(each, str) for each in found.values())
    return dict(found) if good else None


def _channels(found: object) -> dict[str, str | None] | None:
    """Return channel → marker; None for those to drop."""
    good = isinstance(found, Mapping) and all(isinstance(each, str) or each is False for each in found.values())
    return {key: each or None for key, each in found.items()} if good else None


_READERS = {
    "str": (_text, "text"),
    "int": (_whole, "a whole number"),
    "float": (_number, "a number"),
    "Path": (_path, "a path"),
    "tuple[str, ...]": (_texts, "a list of texts"),
    "Mapping[str, str]": (_reasons, "a list of names, or a table of name = reason"),
    "Mapping[str, str | None]": (_channels, 'a table of channel = marker, "unseen" or false'),
}
