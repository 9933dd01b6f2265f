"""What two sets of settings differ in, and whether a run may go on with the new ones."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from kronos_pretrain.config.schema import Config
from kronos_sc._core.log import info

if TYPE_CHECKING:
    from collections.abc import Mapping


class Difference(NamedTuple):
    """A setting that two runs do not share.

    Parameters
    ----------
    key
        `section.key`.
    old, new
        Its values; `None` where the setting does not exist.
    free
        Whether it may differ when a run is resumed, because it changes how the run goes and not what it computes.
    """

    key: str
    old: Any
    new: Any
    free: bool

    def __str__(self) -> str:
        return f"{self.key}: {self.old!r} → {self.new!r}"


def differences(old: Config | Mapping[str, Any], new: Config | Mapping[str, Any]) -> list[Difference]:
    """Return the settings that differ, in the order of the schema.

    Settings that one of the two does not mention have their default.
    """
    default = _flat(Config())
    before = default | _flat(old)
    after = default | _flat(new)
    free = _free(Config())
    keys = {**after, **before}
    return [
        Difference(key, before.get(key), after.get(key), key in free)
        for key in keys
        if before.get(key) != after.get(key)
    ]


def require_same(old: Config | Mapping[str, Any], new: Config | Mapping[str, Any], *, override: bool = False) -> None:
    """Raise a ValueError if settings differ that decide what is computed, naming each.

    Those that may differ are logged.

    Parameters
    ----------
    old
        Of the run that is resumed.
    new
        Those asked for.
    override
        Accept every difference.
    """
    changes = differences(old, new)
    fixed = [change for change in changes if not change.free]
    if fixed and not override:
        lines = "".join(f"\n- {change}" for change in fixed)
        msg = (
            f"The run in run.folder was started with other settings:{lines}\nResuming would continue it as something "
            "else. Take these settings back, give run.folder another name, or pass --override to accept them."
        )
        raise ValueError(msg)
    for change in changes:
        info(f"resuming with {change}")


def _flat(section: Any, prefix: str = "") -> dict[str, Any]:
    """Return values by their keys, pairs as tuples."""
    items = section
    if is_dataclass(section):
        items = {field.name: getattr(section, field.name) for field in fields(section)}
    values: dict[str, Any] = {}
    for name, value in items.items():
        if is_dataclass(value) or isinstance(value, dict):
            values |= _flat(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = tuple(value) if isinstance(value, list) else value
    return values


def _free(section: Any, prefix: str = "") -> set[str]:
    """Return the keys that are marked as free to change."""
    keys = {prefix + field.name for field in fields(section) if field.metadata.get("free")}
    for field in fields(section):
        value = getattr(section, field.name)
        if is_dataclass(value):
            keys |= _free(value, f"{prefix}{field.name}.")
    return keys
