"""Reading messages as advice: what a user would copy out of them, and what provokes them."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from .elements import embed

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread):
    """For every module of this folder."""


def message_of(call, kind=Exception) -> str:
    """Return what a call says when it fails."""
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value.args[0])


# where a sentence goes on behind code that it quotes
_GOES_ON = re.compile(
    r""", |\. | or | and | for [a-z]+\b(?! in)|; (?:else|or|pass)\b| first\b| to\b| \((?!['"])|\)|\.?$"""
)


def code(message: str, start: str) -> str:
    """Return the code of a message that begins with `start`; it ends where the sentence goes on."""
    assert start in message, f"{start!r} is not in: {message}"
    rest = message[message.index(start) :]
    depth = 0
    for position, letter in enumerate(rest):
        depth += (letter in "([{") - (letter in ")]}")
        if depth < 0:  # the code stands in brackets of the sentence
            return rest[:position]
        if depth == 0 and _GOES_ON.match(rest[position + 1 :]):
            return rest[: position + 1]
    return rest


def keyword(message: str, name: str) -> Any:
    """Return the value of an argument that a message writes out, as in channels={'CD4 Cy7': None}."""
    rest = message[re.search(rf"\b{name}=(?=[\[({{'\"\d])", message).end() :]
    if number := re.match(r"[\d.]*\d", rest):
        return ast.literal_eval(number[0])
    for end in range(1, len(rest) + 1):
        try:
            return ast.literal_eval(rest[:end])
        except (SyntaxError, ValueError):
            continue
    raise AssertionError(f"no value of {name}= in: {message}")


_REPLACED = re.compile(
    r"There (?:is|are) no .*?'(?P<bad>[^']*)'(?: in obs)?; (?:there are:|names look like|it has:) '(?P<first>[^']*)'"
)
_CHOICE = re.compile(r"(?P<name>\w+)=(?P<bad>.+?) is not a choice; (?P=name) can be (?P<first>'[^']*'|\d+)")
_NUMBER = re.compile(r"(?P<name>\w+) must be (?:a whole number of at least 1|a positive number|at least 0)")
_ANOTHER = re.compile(r"(?:such as|Choose another name,|pass) '(?P<new>\w+)'")


def corrected(message: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as a message corrects them.

    That is the name it means, a choice it lists, a number it allows, or one argument less.
    """
    if match := _CHOICE.search(message):
        return arguments | {match["name"]: ast.literal_eval(match["first"])}
    if match := _REPLACED.search(message):
        meant = re.search(r"Did you mean '([^']*)'", message)
        good = meant[1] if meant else match["first"]
        return {key: _replaced(value, match["bad"], good) for key, value in arguments.items()}
    if match := _NUMBER.search(message):
        return arguments | {match["name"]: 1}
    if "key_added" in arguments and (match := _ANOTHER.search(message)):
        return arguments | {"key_added": match["new"]}
    for name in re.findall(r"\b[Ll]eave (\w+) out", message):
        if name in arguments:
            return {key: value for key, value in arguments.items() if key != name}
    raise AssertionError(f"nothing to follow in: {message}")


def _replaced(value: Any, bad: str, good: str) -> Any:
    if isinstance(value, str):
        return good if value == bad else value
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, bad, good) for item in value)
    if isinstance(value, dict):
        return {_replaced(key, bad, good): item for key, item in value.items()}
    return value


@pytest.fixture(scope="session")
def advice() -> SimpleNamespace:
    """What a user does with a message."""
    return SimpleNamespace(of=message_of, code=code, keyword=keyword, corrected=corrected)


@pytest.fixture(scope="session")
def bad() -> dict[str, Any]:
    """Name → builder of each case of tests/embedding/test_bad_input.py."""
    spec = importlib.util.spec_from_file_location("bad_input_cases", TESTS / "embedding" / "test_bad_input.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {build.__name__: build for build, *_ in module.CASES}


@pytest.fixture
def fails(make, bad, advice):
    """Build a case, and return its SpatialData, its arguments and what tl.embed says of them."""

    def build(name, **more):
        sdata, how = bad[name](make)
        how = how | more
        return sdata, how, advice.of(lambda: embed(sdata, **how))

    return build
