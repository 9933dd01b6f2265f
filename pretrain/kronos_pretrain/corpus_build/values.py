"""Values of a TOML table, checked against the types of a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def value(kind: str, raw: Any, where: str) -> Any:
    """Return `raw` as what a field's annotation asks for, or raise a TypeError."""
    read, words = _READERS[kind]
    result = read(raw)
    if result is None:
        msg = f"{where} is {raw!r}; it must be {words}. Correct it in the manifest."
        raise TypeError(msg)
    return result


def _text(raw: object) -> str | None:
    return raw if isinstance(raw, str) else None


def _whole(raw: object) -> int | None:
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else None


def _number(raw: object) -> float | None:
    return float(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else None


def _path(raw: object) -> Path | None:
    return Path(raw) if isinstance(raw, str) and raw else None


def _texts(raw: object) -> tuple[str, ...] | None:
    return tuple(raw) if isinstance(raw, list) and all(isinstance(item, str) for item in raw) else None


def _reasons(raw: object) -> dict[str, str] | None:
    """Return name → reason of a table, or of a list of names without reasons."""
    if isinstance(raw, list) and _texts(raw) is not None:
        return dict.fromkeys(raw, "")
    valid = isinstance(raw, Mapping) and all(isinstance(item, str) for item in raw.values())
    return dict(raw) if valid else None


def _channels(raw: object) -> dict[str, str | None] | None:
    """Return channel → marker; None for those to drop."""
    valid = isinstance(raw, Mapping) and all(isinstance(item, str) or item is False for item in raw.values())
    return {key: item or None for key, item in raw.items()} if valid else None


_READERS = {
    "str": (_text, "text"),
    "int": (_whole, "a whole number"),
    "float": (_number, "a number"),
    "Path": (_path, "a path"),
    "tuple[str, ...]": (_texts, "a list of texts"),
    "Mapping[str, str]": (_reasons, "a list of names, or a table of name = reason"),
    "Mapping[str, str | None]": (_channels, 'a table of channel = marker, "unseen" or false'),
}
