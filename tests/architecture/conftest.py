"""The source tree, parsed once."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NAMESPACES = ("io", "datasets", "markers", "patches", "pp", "models", "tl", "pl", "get")


@dataclass(frozen=True)
class Source:
    """One Python file of the two packages."""

    path: Path
    root: Path

    @property
    def name(self) -> str:
        """Path as a person would write it."""
        return self.path.relative_to(REPOSITORY).as_posix()

    @property
    def module(self) -> str:
        """Dotted name."""
        return ".".join(self.path.relative_to(self.root).with_suffix("").parts).removesuffix(".__init__")

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.name)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def sources() -> list[Source]:
    """Every file of `kronos_sc` and `kronos_pretrain`."""
    roots = (REPOSITORY / "src", REPOSITORY / "pretrain")
    found = [Source(path, root) for root in roots for path in sorted(root.rglob("*.py"))]
    assert len(found) > 50, "the tree moved: these tests would pass on nothing"
    return found


@pytest.fixture(scope="session")
def public() -> dict[str, object]:
    """Every name that a user may call, by its dotted name."""
    named = {}
    for room in NAMESPACES:
        module = import_module(f"kronos_sc.{room}")
        named |= {f"{room}.{name}": getattr(module, name) for name in module.__all__}
    return named
