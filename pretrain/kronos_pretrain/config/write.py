"""Settings as TOML."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kronos_pretrain.config.schema import Config


def dump(config: Config) -> str:
    """Return every setting as TOML that :func:`kronos_pretrain.config.load` reads back to the same settings."""
    return "\n".join(_sections(config, "")).lstrip("\n") + "\n"


def _sections(section: Any, name: str) -> Iterator[str]:
    values = {field.name: getattr(section, field.name) for field in fields(section)}
    if name:
        yield f"\n[{name}]"
        yield from (f"{key} = {_literal(value)}" for key, value in values.items() if not is_dataclass(value))
    for key, value in values.items():
        if is_dataclass(value):
            yield from _sections(value, f"{name}.{key}" if name else key)


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)  # TOML writes texts, whole numbers and truth values as JSON does
