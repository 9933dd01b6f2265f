"""How much air the code has: one statement for one thing, 120 columns, a line of why where a block begins.

Only the width of lines is a test. The other figures are for people, who see whether a number was met or a reader
served; `python tests/architecture/test_air.py [PATH …]` prints them for the whole tree or for the paths given.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("src", "pretrain", "tests", "benchmarks")
COLUMNS = 120
# What a checker is told at the end of a line cannot stand on a line of its own.
PRAGMA = re.compile(r"\s*# (?:noqa|type: ignore|fmt: skip)\b.*$")
MOST_FILES = 12


@dataclass(frozen=True)
class Air:
    """Counts of one file, or the sum of several."""

    code: int = 0
    packed: int = 0
    conditional: int = 0
    comments: int = 0
    wide: tuple[int, ...] = ()

    def __add__(self, other: Air) -> Air:
        return Air(
            self.code + other.code,
            self.packed + other.packed,
            self.conditional + other.conditional,
            self.comments + other.comments,
            self.wide + other.wide,
        )

    def __str__(self) -> str:
        per_thousand = 1000 / max(1, self.code)
        share = 100 * self.comments / max(1, self.code + self.comments)
        return (
            f"{self.code:6,} lines of code; per 1,000: {self.packed * per_thousand:4.1f} packed assignments, "
            f"{self.conditional * per_thousand:4.1f} conditional expressions; {share:3.1f} % comments, "
            f"{len(self.wide)} lines over {COLUMNS}"
        )


def measure(text: str) -> Air:
    """Count what a file holds; docstrings and blank lines are no code."""
    nodes = list(ast.walk(ast.parse(text)))
    lines = text.splitlines()
    in_docstrings = {number for node in nodes if _is_text(node) for number in range(node.lineno, node.end_lineno + 1)}
    written = [line.strip() for number, line in enumerate(lines, 1) if line.strip() and number not in in_docstrings]
    comments = sum(line.startswith("#") for line in written)
    return Air(
        code=len(written) - comments,
        packed=sum(_is_packed(node) for node in nodes),
        conditional=sum(isinstance(node, ast.IfExp) for node in nodes),
        comments=comments,
        wide=tuple(number for number, line in enumerate(lines, 1) if _is_wide(line)),
    )


def _is_wide(line: str) -> bool:
    """Whether a line could be shorter: a single word, such as a row of a table in a test, cannot (E501 agrees)."""
    return len(PRAGMA.sub("", line)) > COLUMNS and len(line.split()) > 1


def _is_text(node: ast.AST) -> bool:
    """A string that stands by itself: a docstring, or one below an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_packed(node: ast.AST) -> bool:
    """`a, b = f(x), g(y)`. Values that belong together are counted, too: a person sees the difference, a parser not."""
    if not isinstance(node, ast.Assign) or len(node.targets) > 1:
        return False
    return isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)


def python_files(*paths: Path) -> list[Path]:
    """Return the Python files of folders, and the files themselves."""
    every = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    assert every, "the tree moved: this would pass on nothing"
    return every


def test_a_case_counted_by_hand() -> None:
    text = '"""Says\nnothing."""\n# why\na, b = f(x), g(y)\n\na, b = pair\nc = 1 if a else 2  # noqa: E501\n'
    assert measure(text) == Air(code=3, packed=1, conditional=1, comments=1)


def test_a_wide_line_is_seen_and_a_pragma_does_not_make_one() -> None:
    fits = f'a = "{"x" * (COLUMNS - 6)}"'
    assert measure(f"{fits}\n{fits}  # noqa: S105 - not a password\n").wide == ()
    assert measure(f"b = 1\n{fits};\n").wide == (2,)
    assert measure(f"'{'x' * COLUMNS}'\n").wide == ()  # a single word


def test_no_line_is_wider_than_a_page() -> None:
    wide = [
        f"{path.relative_to(REPOSITORY).as_posix()}:{number}"
        for path in python_files(*(REPOSITORY / room for room in ROOMS))
        for number in measure(path.read_text(encoding="utf-8")).wide
    ]
    assert not wide, f"{len(wide)} lines over {COLUMNS} columns:\n" + "\n".join(wide)


def report(paths: list[Path]) -> str:
    """Return the figures of each path, and of the files where a reader has most to untangle."""
    by_file = {file: measure(file.read_text(encoding="utf-8")) for file in python_files(*paths)}
    lines = []
    for path in paths:
        within = [air for file, air in by_file.items() if file == path or path in file.parents]
        lines.append(f"{sum(within, Air())}  {_name(path)}")
    dense = sorted(by_file, key=lambda file: by_file[file].packed + by_file[file].conditional, reverse=True)
    lines.append("\nmost packed assignments and conditional expressions:")
    lines += [f"{by_file[file]}  {_name(file)}" for file in dense[:MOST_FILES]]
    return "\n".join(lines)


def _name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix() if path.is_relative_to(REPOSITORY) else str(path)


if __name__ == "__main__":
    print(report([Path(text).resolve() for text in sys.argv[1:]] or [REPOSITORY / room for room in ROOMS]))
