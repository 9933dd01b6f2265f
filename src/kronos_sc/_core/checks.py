"""Wording of errors: what was found, what exists, what to call."""

from __future__ import annotations

from difflib import get_close_matches
from math import inf, nan
from numbers import Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable


def listed(items: Iterable[object], *, most: int = 10) -> str:
    """Return up to `most` items in quotes, and how many more there are."""
    return _first(items, lambda item: repr(str(item)), most)


def numbers(items: Iterable[object], *, most: int = 10) -> str:
    """Return up to `most` numbers, unquoted, and how many more there are."""
    return _first(items, str, most)


def _first(items: Iterable[object], spell: Callable[[object], str], most: int) -> str:
    entries = list(items)
    if not entries:
        return "none"
    shown = ", ".join(spell(entry) for entry in entries[:most])
    if len(entries) > most:
        return f"{shown} and {len(entries) - most} more"
    return shown


def near(name: str, options: Iterable[str], *, most: int = 3) -> list[str]:
    """Return the options spelt most like `name`, whatever the case."""
    folded = {str(option).lower(): str(option) for option in options}
    return [folded[hit] for hit in get_close_matches(str(name).lower(), list(folded), n=most, cutoff=0.6)]


def known(name: str, options: Collection[str], *, what: str, fix: str) -> str:
    """Return `name` if it is one of `options`, else raise a KeyError that names what exists and what to call."""
    if name in options:
        return name
    close = near(name, options)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    msg = f"There is no {what} {name!r}; there are: {listed(options)}.{hint} {fix}"
    raise KeyError(msg)


def one_of(value: object, options: Collection[object], *, name: str) -> None:
    """Raise a ValueError unless `value` is one of `options`."""
    if value not in options:
        msg = f"{name}={value!r} is not a choice; {name} can be {', '.join(repr(o) for o in options)}."
        raise ValueError(msg)


def positive_integer(value: object, *, name: str) -> int:
    """Return `value` as an int if it is a whole number of at least 1."""
    import operator

    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        msg = f"{name} must be a whole number of at least 1, got {value!r}."
        raise ValueError(msg)
    return number


def positive_number(value: object, *, name: str) -> float:
    """Return `value` as a float if it is a finite number above 0."""
    # to Python, True is the number 1; to a user it is a mistake
    number = float(value) if not isinstance(value, bool) and isinstance(value, Real) else nan
    if not 0 < number < inf:
        msg = f"{name} must be a positive number, got {value!r}."
        raise ValueError(msg)
    return number


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once, in order of first appearance."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return [name for name, count in counts.items() if count > 1]
