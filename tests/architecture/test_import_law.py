"""Who may import whom (contributing guide, "The rooms").

The law is about what happens when code runs: imports inside functions count, those under `if TYPE_CHECKING:` do not,
because they only name types for readers and type checkers.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

FLOOR = {"_core", "_storage"}
DATA = FLOOR | {"markers", "patches"}
MAY_IMPORT = {
    "_core": set(),
    "_storage": {"_core"},
    "_methods": {"_core"},
    "_store": FLOOR,
    "markers": {"_core"},
    "patches": FLOOR,
    "models": FLOOR | {"markers"},
    "io": DATA | {"_store"},
    "datasets": DATA,
    "get": DATA,
    "pp": DATA | {"get"},
    "pl": {"_core", "get"},
    "_embedding": DATA | {"_store", "models", "pp"},
    "_analysis": {"_core", "_methods", "_store", "models", "get", "_embedding"},
    "_dense": DATA | {"_methods", "_store", "models", "pp", "_embedding", "_analysis"},
    "tl": DATA | {"_methods", "_store", "models", "io", "datasets", "get", "pp", "_embedding", "_analysis", "_dense"},
    "_cli": DATA | {"_store", "_embedding", "models", "io", "datasets", "get", "pp", "tl", "pl"},
}
NEVER = {
    "_core": {"torch", "spatialdata", "matplotlib"},
    "_storage": {"torch", "anndata", "spatialdata", "matplotlib"},
    "_methods": {"anndata", "scanpy", "squidpy", "spatialdata", "matplotlib"},
    "_store": {"torch", "scanpy", "spatialdata", "matplotlib"},
    "markers": {"torch", "spatialdata", "matplotlib"},
    "patches": {"torch"},
    "models": {"anndata", "spatialdata", "matplotlib"},
    "io": {"torch"},
    "datasets": {"torch"},
    "get": {"torch"},
    "pp": {"torch"},
    "_embedding": {"scanpy", "squidpy", "matplotlib"},
    "_analysis": {"spatialdata", "matplotlib"},
    "_dense": {"scanpy", "squidpy", "matplotlib"},
    "tl": {"matplotlib"},
    "pl": {"torch"},
}
EVERYONE = {"__version__", "settings"}
PRETRAIN_MAY_IMPORT = {"_core", "_storage", "models", "markers", "patches"}
# Files of the trainer that meet people's images, or simulate some; training itself does without them.
PRETRAIN_IMAGES = {
    "kronos_pretrain.corpus_build": {"io"},
    "kronos_pretrain.data.simulated": {"datasets"},
    "kronos_pretrain.evaluate.cut": {"datasets", "io"},
}
# What a machine that trains may lack.
TRAINING_NEVER = {"anndata", "spatialdata", "scanpy", "squidpy", "sklearn", "matplotlib", "dask", "zarr"}


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def runtime_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of what is imported when code runs; `from a import b` gives `a.b`."""
    for node in ast.iter_child_nodes(tree):
        if _is_type_checking(node):
            for other in node.orelse:
                yield from runtime_imports(ast.Module([other], []))
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute in this project"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        else:
            yield from runtime_imports(node)


def rooms_of(source) -> str:
    parts = source.module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_the_parser_sees_lazy_imports_and_skips_types() -> None:
    code = "if TYPE_CHECKING:\n    import a\nelse:\n    import b\ndef f():\n    from c import d\n    import e.g\n"
    assert [name for _, name in runtime_imports(ast.parse(code))] == ["b", "c.d", "e.g"]


def test_every_room_has_a_law(sources) -> None:
    rooms = {rooms_of(s) for s in sources if s.module.startswith("kronos_sc.") and s.module.count(".") > 1}
    assert rooms <= set(MAY_IMPORT), (
        f"rooms without a law: {rooms - set(MAY_IMPORT)}; add them to the table and to the contributing guide"
    )


def test_rooms_import_only_what_they_may(sources) -> None:
    broken = []
    for source in sources:
        room = rooms_of(source)
        if not source.module.startswith("kronos_sc.") or room not in MAY_IMPORT:  # `__main__` stands outside the rooms
            continue
        for line, name in runtime_imports(source.tree):
            parts = name.split(".")
            if parts[0] == "kronos_sc" and parts[1] not in {room, *MAY_IMPORT[room], *EVERYONE}:
                broken.append(f"{source.name}:{line} {room} imports {parts[1]}")
    assert not broken, "\n".join(broken)


def test_rooms_keep_away_from_heavy_packages(sources) -> None:
    broken = [
        f"{source.name}:{line} {rooms_of(source)} imports {name}"
        for source in sources
        if source.module.startswith("kronos_sc.")
        for line, name in runtime_imports(source.tree)
        if name.split(".")[0] in NEVER.get(rooms_of(source), ())
    ]
    assert not broken, "\n".join(broken)


def test_the_top_level_imports_namespaces_only_on_demand(sources) -> None:
    top = next(s for s in sources if s.module == "kronos_sc")
    assert {name.split(".")[1] for _, name in runtime_imports(top.tree) if name.startswith("kronos_sc.")} == {"_core"}


def test_only_the_entry_point_knows_the_command_line(sources) -> None:
    knowing = {
        s.module
        for s in sources
        for _, n in runtime_imports(s.tree)
        if n.startswith("kronos_sc._cli") and rooms_of(s) != "_cli"
    }
    assert knowing <= {"kronos_sc.__main__"}


def test_the_library_does_not_know_the_trainer(sources) -> None:
    knowing = [
        s.name
        for s in sources
        if s.module.startswith("kronos_sc")
        for _, n in runtime_imports(s.tree)
        if "kronos_pretrain" in n
    ]
    assert not knowing


def _images_of(source) -> str:
    """The entry of `PRETRAIN_IMAGES` that a file belongs to, or ""."""
    return next((name for name in PRETRAIN_IMAGES if f"{source.module}.".startswith(f"{name}.")), "")


def _trainer(sources) -> list:
    found = [s for s in sources if s.module.split(".")[0] == "kronos_pretrain"]
    assert {name for s in found if (name := _images_of(s))} == set(PRETRAIN_IMAGES), "a file moved: bring the law along"
    return found


def test_the_trainer_imports_the_rooms_it_may(sources) -> None:
    broken = [
        f"{s.name}:{line} {name}"
        for s in _trainer(sources)
        for line, name in runtime_imports(s.tree)
        if name.split(".")[0] == "kronos_sc"
        and name.split(".")[1] not in PRETRAIN_MAY_IMPORT | PRETRAIN_IMAGES.get(_images_of(s), set())
    ]
    assert not broken, "\n".join(broken)


def test_training_keeps_away_from_packages_that_its_machine_may_lack(sources) -> None:
    broken = [
        f"{s.name}:{line} {name}"
        for s in _trainer(sources)
        if not _images_of(s)
        for line, name in runtime_imports(s.tree)
        if name.split(".")[0] in TRAINING_NEVER
    ]
    assert not broken, "\n".join(broken)


def test_importing_the_trainer_loads_none_of_them_on_the_way() -> None:
    code = (
        f"import sys, kronos_pretrain.trainer, kronos_pretrain.export; print(*sorted({TRAINING_NEVER!r} & "
        "set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_the_law_has_no_circle(room: str) -> None:
    seen, todo = set(), set(MAY_IMPORT[room])
    while todo:
        one = todo.pop()
        seen.add(one)
        todo |= MAY_IMPORT[one] - seen
    assert room not in seen


def imported_files(sources) -> dict[str, set[str]]:
    """Which modules of this repository each module imports when code runs; a package that holds it does not count."""
    modules = {source.module: source for source in sources}
    return {
        name: {
            full
            for _, dotted in runtime_imports(source.tree)
            for full in (dotted if dotted in modules else dotted.rpartition(".")[0],)
            if full in modules and not f"{name}.".startswith(f"{full}.")
        }
        for name, source in modules.items()
    }


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the modules that reach themselves, each with one way back."""
    found = []
    for start in sorted(graph):
        came_from: dict[str, str] = {}
        todo = [start]
        while todo and start not in came_from:
            here = todo.pop()
            for there in graph[here] - set(came_from):
                came_from[there] = here
                todo.append(there)
        if start in came_from:
            way = [start]
            while (before := came_from[way[-1]]) != start:
                way.append(before)
            found.append([start, *reversed(way)])
    return found


def test_circles_are_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c", "b"], ["c", "b", "c"]]


def test_no_file_imports_itself_by_way_of_others(sources) -> None:
    found = circles(imported_files(sources))
    assert not found, "\n".join(" → ".join(way) for way in found)
