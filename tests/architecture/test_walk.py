"""The page "Where does what live" names files and functions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs/architecture.md"
CODE = re.compile(r"`([^`]+)`")
# A path, whole or from a package on: `src/kronos_sc/io/_tiff.py`, `tl/_retrieve.py`, `_sim/`, `vendor_spellings.csv`
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*(?:\.(?:py|md|csv|toml)|/)")
ROOTS = (REPOSITORY, REPOSITORY / "src/kronos_sc", REPOSITORY / "pretrain/kronos_pretrain")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def paths(text: str) -> list[str]:
    """Return what is written as code and looks like a file or a folder."""
    return [code for code in CODE.findall(text) if PATH.fullmatch(code)]


def stops(text: str) -> list[tuple[str, str]]:
    """Return (file, function) of the rows of the two walks: their second and third column."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.match(r"\d+ ", cells[0]) and len(cells) == 5:
            found += [(cells[1].strip("`"), name) for name in CODE.findall(cells[2])]
    return found


def defined(tree: ast.AST, within: str = "") -> set[str]:
    """Return the names of functions and classes, those of methods with their class before them."""
    names = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, DEFINITIONS):
            names |= {within + node.name} | defined(node, f"{within}{node.name}.")
    return names


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_what_the_page_is_read_for() -> None:
    row = "| 2 reader | `a/_b.py` | `read`, `Block.of` | `c/d.py` and `e/` | `x` |"
    assert stops(row) == [("a/_b.py", "read"), ("a/_b.py", "Block.of")]
    assert paths(row) == ["a/_b.py", "c/d.py", "e/"]
    assert defined(ast.parse("class A:\n    def b(self): ...\ndef c(): ...")) == {"A", "A.b", "c"}


def test_every_path_on_the_page_exists(page: str) -> None:
    named = paths(page)
    assert len(named) > 60, "is the page written in another way? This would pass on nothing"
    assert not [path for path in named if not any((root / path).exists() for root in ROOTS)]


def test_the_walks_have_eleven_stops_each(page: str) -> None:
    numbers = re.findall(r"^\| (\d+) ", page, re.M)
    assert numbers == [str(i) for i in (*range(1, 12), *range(1, 12))]


def test_every_function_of_the_walks_exists(page: str) -> None:
    named = stops(page)
    assert len(named) > 25
    names = {file: defined(ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))) for file, _ in named}
    assert not [f"{file}: {name}" for file, name in named if name not in names[file]]


def test_every_room_has_its_paragraph(page: str) -> None:
    rooms = sorted(path.parent.name for path in (REPOSITORY / "src/kronos_sc").glob("*/__init__.py"))
    assert not [room for room in rooms if f"**`{room}/`**" not in page]


def test_other_functions_on_the_page_exist(page: str) -> None:
    """`file.py`: `name`, wherever that is written."""
    named = re.findall(r"`([\w/.]+\.py)`: `([\w.]+)`", page)
    assert named
    names = {file: _names(ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))) for file, _ in named}
    assert not [f"{file}: {name}" for file, name in named if name not in names[file]]


def _names(tree: ast.Module) -> set[str]:
    """Return functions and classes, and the constants of a file."""
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return defined(tree) | {target.id for target in targets if isinstance(target, ast.Name)}
