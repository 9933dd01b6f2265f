"""Values of a TOML table, checked against the types of a dataclass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def value(kind: str, raw: Any, setting: str) -> Any:
    """Return `raw` as what a field's annotation asks for, or raise a TypeError."""
    is_valid, convert, words = _KINDS[kind]
    if not is_valid(raw):
        msg = f"{setting} is {raw!r}; it must be {words}. Correct it in the manifest."
        raise TypeError(msg)
    return convert(raw)


def _is_text(raw: object) -> bool:
    return isinstance(raw, str)


def _is_whole(raw: object) -> bool:
    return isinstance(raw, int) and not isinstance(raw, bool)


def _is_number(raw: object) -> bool:
    return isinstance(raw, int | float) and not isinstance(raw, bool)


def _is_path(raw: object) -> bool:
    return isinstance(raw, str) and bool(raw)


def _is_texts(raw: object) -> bool:
    return isinstance(raw, list) and all(isinstance(item, str) for item in raw)


def _is_reasons(raw: object) -> bool:
    """A table of name = reason, or a list of names without reasons."""
    return _is_texts(raw) or (isinstance(raw, Mapping) and all(isinstance(item, str) for item in raw.values()))


def _reasons(raw: Any) -> dict[str, str]:
    return dict.fromkeys(raw, "") if isinstance(raw, list) else dict(raw)


def _is_channels(raw: object) -> bool:
    return isinstance(raw, Mapping) and all(isinstance(item, str) or item is False for item in raw.values())


def _channels(raw: Mapping[str, str | bool]) -> dict[str, str | bool | None]:
    """Return channel → marker; None for those to drop."""
    return {channel: marker or None for channel, marker in raw.items()}


# By annotation: what passes, what it becomes, and how a message says it.
_KINDS: dict[str, tuple[Callable[[object], bool], Callable[[Any], Any], str]] = {
    "str": (_is_text, str, "text"),
    "int": (_is_whole, int, "a whole number"),
    "float": (_is_number, float, "a number"),
    "Path": (_is_path, Path, "a path"),
    "tuple[str, ...]": (_is_texts, tuple, "a list of texts"),
    "Mapping[str, str]": (_is_reasons, _reasons, "a list of names, or a table of name = reason"),
    "Mapping[str, str | None]": (_is_channels, _channels, 'a table of channel = marker, "unseen" or false'),
}
