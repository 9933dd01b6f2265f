"""Every public name exists, explains itself, and stands in the reference."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import pytest

import kronos_sc

SECTION = re.compile(r"^(?P<title>\w[\w ]*)\n-{3,}$", re.M)
SLOT = re.compile(r"(?:obs|obsm|uns|layers|varm|shapes|tables|images|labels)\[")
NUMPYDOC = {
    "Parameters",
    "Returns",
    "Yields",
    "Raises",
    "Attributes",
    "Examples",
    "Notes",
    "See Also",
    "Warns",
    "References",
}


def sections(text: str) -> dict[str, str]:
    """A numpydoc docstring by section; the part before the first is "Summary"."""
    text = inspect.cleandoc(text)
    marks = [m for m in SECTION.finditer(text) if m["title"] in NUMPYDOC]
    ends = [*(m.start() for m in marks[1:]), len(text)]
    return {"Summary": text[: marks[0].start() if marks else None]} | {
        m["title"]: text[m.end() : e] for m, e in zip(marks, ends, strict=False)
    }


def documented(part: str) -> list[str]:
    """Names of a Parameters section, `a, b` counting as two."""
    return [
        name.strip(" *`")
        for line in part.splitlines()
        if line and not line[0].isspace()
        for name in line.split(" : ")[0].split(",")
    ]


def writes_slots(function: object) -> bool:
    """Whether the docstring promises to set something in a user's object, or to return one that has slots."""
    returns = sections(function.__doc__ or "").get("Returns", "")
    return bool(SLOT.search(returns)) and ("Sets" in returns or "SpatialData" in returns)


def test_all_names_resolve(sources) -> None:
    missing = []
    for source in sources:
        module = import_module(source.module) if not source.module.endswith("__main__") else None
        missing += [f"{source.module}.{name}" for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
    assert not missing


def test_every_namespace_lists_its_names(public) -> None:
    rooms = {name.split(".")[0] for name in public}
    assert rooms == set(kronos_sc._NAMESPACES)
    assert set(kronos_sc.__all__) == rooms | {"settings", "__version__"}


def test_unknown_namespaces_are_named() -> None:
    with pytest.raises(AttributeError, match="namespaces: io"):
        _ = kronos_sc.plot


def test_every_public_name_explains_itself(public) -> None:
    silent = [
        name
        for name, thing in public.items()
        if (not inspect.isclass(thing) and not callable(thing)) or not (thing.__doc__ or "").strip()
    ]
    assert not silent


def test_every_parameter_is_explained(public) -> None:
    """Functions of the namespaces: each parameter in the docstring, in order, and none that does not exist."""
    wrong = {}
    for name, function in public.items():
        if not inspect.isfunction(function) or name.startswith(
            "patches."
        ):  # patches is a seam between rooms; its classes carry the words
            continue
        wanted = [p.name for p in inspect.signature(function).parameters.values()]
        found = documented(sections(function.__doc__).get("Parameters", ""))
        if wanted != found:
            wrong[name] = {"signature": wanted, "docstring": found}
    assert not wrong


def test_effects_name_their_slots(public) -> None:
    """`pp` and `tl` verbs that return nothing say what they set."""
    vague = [
        name
        for name, f in public.items()
        if inspect.isfunction(f)
        and name.split(".")[0] in ("pp", "tl")
        and "None" in str(inspect.signature(f).return_annotation)
        and not writes_slots(f)
    ]
    assert not vague


@pytest.fixture(scope="module")
def api_pages(repository) -> str:
    return "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((repository / "docs/reference/api").glob("*.md"))
    )


def test_every_public_name_is_in_the_reference(public, api_pages) -> None:
    listed = set(re.findall(r"^\s*(\w+\.\w+)\s*$", api_pages, re.M))
    assert not sorted(set(public) - listed), "missing in docs/reference/api"
    assert not sorted(name for name in listed - set(public) if name.split(".")[0] in kronos_sc._NAMESPACES), (
        "in docs/reference/api, but not public"
    )


def test_every_written_slot_is_in_the_outputs_table(public, repository) -> None:
    page = (repository / "docs/reference/outputs.md").read_text(encoding="utf-8")
    lost = [
        name
        for name, f in public.items()
        if inspect.isfunction(f) and not name.startswith("patches.") and writes_slots(f) and f"`{name}" not in page
    ]
    assert not lost
