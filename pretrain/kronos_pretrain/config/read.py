"""Settings from TOML files and from `section.key=value` on the command line."""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from kronos_pretrain.config.check import check
from kronos_pretrain.config.limits import CHOICES, ORDERED, RANGES
from kronos_pretrain.config.schema import Config
from kronos_sc._core.checks import listed, near

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text in quotes"}


def load(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Config:
    """Return the settings of a file, changed by overrides, all checked.

    Parameters
    ----------
    path
        A TOML file, or the name of one that comes with the package, such as `"debug"`.
    overrides
        Texts such as `"optim.lr=0.001"` or `"data.markers=[3, 8]"`; values as in TOML, texts without quotes too.

    Raises
    ------
    ValueError
        If a section or key does not exist, a value has the wrong type or lies outside its range, or settings contradict
        each other.
    FileNotFoundError
        If there is no such file, with the names of those that come with the package.
    """
    place = find(path)
    try:
        raw = tomllib.loads(place.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = (
            f"{place} is not valid TOML: {error}. Texts need quotes; compare with one of ours: "
            f"{listed(shipped_configs())}."
        )
        raise ValueError(msg) from error
    for override in overrides:
        _apply(raw, override)
    config = from_dict(raw)
    check(config)
    return config


def find(path: str | os.PathLike[str]) -> Path:
    """Return the file of that name, or the one that comes with the package, with or without its ending."""
    place = Path(path)
    if place.is_file():
        return place
    shipped = shipped_configs()
    if len(place.parts) == 1 and place.name.removesuffix(".toml") in shipped:
        return shipped[place.name.removesuffix(".toml")]
    msg = (
        f"There is no file {str(path)!r}. Give the path of a TOML file, or the name of one that comes with the "
        f"package: {listed(shipped)}."
    )
    raise FileNotFoundError(msg)


def shipped_configs() -> dict[str, Path]:
    """Return the files that come with the package: inside it when installed, beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    folders = (package.parent / "configs", package / "configs")
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.toml"))}


def from_dict(raw: Mapping[str, Any]) -> Config:
    """Return settings from nested dicts, every value checked by itself; what is missing has its default."""
    return _build(Config, raw, "")


@cache
def kinds(cls: type = Config, prefix: str = "") -> dict[str, Any]:
    """Return the type of every setting by its key, `section.key`; sections are not among them."""
    by_key: dict[str, Any] = {}
    hints = get_type_hints(cls)
    for field in fields(cls):
        kind = hints[field.name]
        if is_dataclass(kind):
            by_key |= kinds(kind, f"{prefix}{field.name}.")
        else:
            by_key[prefix + field.name] = kind
    return by_key


def _build(cls: type, raw: Mapping[str, Any], prefix: str) -> Any:
    hints = get_type_hints(cls)
    values = {}
    for name, value in raw.items():
        key = prefix + name
        if name not in hints:
            raise ValueError(_unknown(key))
        kind = hints[name]
        if not is_dataclass(kind):
            values[name] = _convert(value, kind, key)
        elif isinstance(value, dict):
            values[name] = _build(kind, value, f"{key}.")
        else:
            raise ValueError(_unknown(key))
    return cls(**values)


def _unknown(key: str) -> str:
    """Return the error of a key that does not exist, or is that of a section."""
    tree: dict[str, list[str]] = {}  # names inside every section; the outermost is ""
    for known in kinds():
        parts = known.split(".")
        for depth, name in enumerate(parts):
            inside = tree.setdefault(".".join(parts[:depth]), [])
            if name not in inside:
                inside.append(name)
    if key in tree:
        return (
            f"{key!r} is a section, not a setting; it has: {listed(tree[key], most=20)}. Set one of them, as in "
            f"{key}.{tree[key][0]}=…"
        )
    # the name may stand in another section, be misspelt in this one, or both
    section, _, name = key.rpartition(".")
    same_name = [known for known in kinds() if known.rpartition(".")[2] == name]
    siblings = [f"{section}.{sibling}".lstrip(".") for sibling in near(name, tree.get(section, []), most=1)]
    close = (same_name or siblings or near(key, kinds(), most=1))[:1]
    hint = f" Did you mean {close[0]!r}?" if close else ""
    options = f"Sections are: {listed(tree[''], most=20)}"
    if section and section in tree:
        options = f"{section!r} has: {listed(tree[section], most=20)}"
    return f"There is no setting {key!r}.{hint} {options}."


def _convert(value: Any, kind: Any, key: str) -> Any:
    """Return `value` in the type of the setting, if it can be one, within its range."""
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if not isinstance(value, list | tuple) or len(value) != len(parts):
            msg = (
                f"{key}={value!r} must be {len(parts)} values in brackets, each {_allowed(key, parts[0])}, as in "
                f"{key}=[1, 2]."
            )
            raise ValueError(msg)
        pair = tuple(_convert(item, part, key) for item, part in zip(value, parts, strict=True))
        if key in ORDERED and pair[0] > pair[1]:
            msg = f"{key}={list(pair)} must run from the least to the largest value; did you mean {[pair[1], pair[0]]}?"
            raise ValueError(msg)
        return pair
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    allowed = type(value) is kind and (kind is not float or isfinite(value))
    if allowed and key in RANGES:
        allowed = value in RANGES[key]
    if allowed and key in CHOICES:
        allowed = value in CHOICES[key]
    if not allowed:
        msg = f"{key}={value!r} is not allowed; it must be {_allowed(key, kind)}."
        raise ValueError(msg)
    return value


def _allowed(key: str, kind: Any) -> str:
    if key in CHOICES:
        return f"one of {listed(CHOICES[key])}"
    return f"{_WORDS[kind]}, {RANGES[key]}" if key in RANGES else _WORDS[kind]


def _apply(raw: dict[str, Any], override: str) -> None:
    """Set one `section.key=value` in nested dicts."""
    # the value alone has the type of the setting: `0.001`, `[3, 8]`, or a text without quotes
    key, equals, text = (part.strip() for part in override.partition("="))
    if not equals:
        msg = f"{override!r} is not an override; write section.key=value, as in optim.lr=0.001."
        raise ValueError(msg)
    if key not in kinds():
        raise ValueError(_unknown(key))
    *sections, name = key.split(".")
    node = raw
    for section in sections:
        inner = node.setdefault(section, {})
        if not isinstance(inner, dict):
            return  # the file has a value where a section belongs: reported with the file's own key
        node = inner
    node[name] = _value(text, kinds()[key])


def _value(text: str, kind: Any) -> Any:
    """Return what a text from the command line stands for; one that is no TOML stays a text."""
    if kind is str and text[:1] not in ('"', "'"):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return _number(text) if kind is float else text


def _number(text: str) -> Any:
    """Return the number that people write and TOML does not know, such as `.2`."""
    try:
        return float(text)
    except ValueError:
        return text
