"""Files and functions that a reader can hold in mind."""

from __future__ import annotations

import ast
import inspect

FILE_LINES = 400
BODY_LINES = 60
PARAMETERS = 12

# Public functions with more parameters than the budget, and why.
MANY_PARAMETERS = {
    "tl.embed": "the one call of the package; its parameters are promised one by one in the reference",
    "pl.spatial": "thirteen: what, on what and how units are drawn; a dataclass for one of them would hide it",
}


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the end."""
    body = function.body[ast.get_docstring(function) is not None :]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_no_file_is_longer_than_a_reader_wants(sources) -> None:
    long = {source.name: n for source in sources if (n := len(source.text.splitlines())) > FILE_LINES}
    assert not long


def test_no_function_is_longer_than_a_page(sources) -> None:
    long = {
        f"{source.name}:{node.lineno} {node.name}": n
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (n := _body_lines(node)) > BODY_LINES
    }
    assert not long


def _count(function: object) -> int:
    return len(inspect.signature(function).parameters)


def test_no_public_function_takes_more_than_a_dozen_parameters(public) -> None:
    many = {
        name: _count(f)
        for name, f in public.items()
        if inspect.isfunction(f) and _count(f) > PARAMETERS and name not in MANY_PARAMETERS
    }
    assert not many


def test_the_allow_list_is_needed(public) -> None:
    idle = [name for name in MANY_PARAMETERS if name not in public or _count(public[name]) <= PARAMETERS]
    assert not idle, "within the budget again; take them off the list"


def test_data_first_then_at_most_one_more_positional(public) -> None:
    """Style: the data, at most one more positional argument, then keywords."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rooms = ("io", "datasets", "pp", "tl", "pl", "get")
    wide = {
        name: count
        for name, f in public.items()
        if inspect.isfunction(f) and name.split(".")[0] in rooms
        if (count := sum(p.kind in kinds for p in inspect.signature(f).parameters.values())) > 2
    }
    assert not wide
