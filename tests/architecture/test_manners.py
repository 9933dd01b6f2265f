"""What a library does not do to its user."""

from __future__ import annotations

import ast
import re
import subprocess

import pytest

COMMAND_LINE = "kronos_sc.__main__"
TEXT = {
    ".py",
    ".md",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
    ".cff",
    ".csv",
    ".json",
    ".ipynb",
    ".bib",
    ".css",
    ".rst",
    ".html",
    ".cfg",
    "",
}


def _calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """Calls of a plain or dotted name."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]


def _at(source, nodes) -> list[str]:
    return [f"{source.name}:{node.lineno}" for node in nodes]


def test_only_the_command_line_prints(sources) -> None:
    found = [
        at
        for s in sources
        if not s.module.startswith(COMMAND_LINE) and not s.module.startswith("kronos_sc._cli")
        for at in _at(s, _calls(s.tree, "print"))
    ]
    assert not found


def test_no_assert(sources) -> None:
    found = [at for s in sources for at in _at(s, [n for n in ast.walk(s.tree) if isinstance(n, ast.Assert)])]
    assert not found, "asserts vanish under -O; raise an error that says what to do"


def test_no_bare_except(sources) -> None:
    found = [
        at
        for s in sources
        for at in _at(s, [n for n in ast.walk(s.tree) if isinstance(n, ast.ExceptHandler) and n.type is None])
    ]
    assert not found


@pytest.mark.parametrize(
    "call",
    [
        "torch.set_num_threads",
        "torch.manual_seed",
        "np.random.seed",
        "random.seed",
        "logging.basicConfig",
        "warnings.simplefilter",
        "warnings.filterwarnings",
        "plt.show",
        "exec",
        "eval",
        "locals",
    ],
)
def test_no_global_state_is_touched(sources, call: str) -> None:
    found = [
        at for s in sources if s.module.startswith("kronos_sc") for at in _at(s, _outside_catch_warnings(s.tree, call))
    ]
    assert not found


def _outside_catch_warnings(tree: ast.AST, name: str) -> list[ast.Call]:
    """Calls that last: filters set under `with warnings.catch_warnings():` are taken back."""
    guarded = [
        node for node in ast.walk(tree) if isinstance(node, ast.With) and "catch_warnings" in ast.unparse(node.items[0])
    ]
    inside = {id(call) for node in guarded for call in _calls(node, name)}
    return [call for call in _calls(tree, name) if id(call) not in inside]


def _imported(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and dotted name of every import."""
    plain = [
        (node.lineno, alias.name) for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    ]
    parts = [
        (node.lineno, f"{node.module}.{alias.name}")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    return plain + parts


# Memory that torch writes into must be the array itself; all that it reads passes `writable`.
OUTPUTS = {("kronos_sc._methods.neighbours", "out.view(np.int16)")}


def test_arrays_reach_torch_by_one_gate(sources) -> None:
    """torch warns of read-only arrays once per process: a test that looks at one call would miss most places."""
    calls = [(s, call) for s in sources for call in _calls(s.tree, "torch.from_numpy")]
    assert len(calls) > 20, "is it called by another name?"
    direct = [(s, call) for s, call in calls if not ast.unparse(call.args[0]).startswith("writable(")]
    assert {(s.module, ast.unparse(call.args[0])) for s, call in direct} == OUTPUTS, [
        f"{s.name}:{c.lineno}" for s, c in direct
    ]
    others = [
        at
        for s in sources
        for name in ("torch.as_tensor", "torch.asarray", "torch.from_dlpack")
        for at in _at(s, _calls(s.tree, name))
    ]
    assert not others, "use torch.from_numpy(writable(array)), or torch.tensor for a copy"


def test_no_pickle(sources) -> None:
    """The error by which torch refuses a pickle may be named; nothing that loads or writes one."""
    modules = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
    harmless = {"pickle.UnpicklingError"}
    found = [
        f"{s.name}:{line} {name}"
        for s in sources
        for line, name in _imported(s.tree)
        if name.split(".")[0] in modules and name not in harmless
    ]
    found += [
        at for s in sources for call in ast.walk(s.tree) if isinstance(call, ast.Call) for at in _allows_pickle(s, call)
    ]
    assert not found


def test_nothing_that_unpickles_under_another_name(sources) -> None:
    """Readers of other packages that unpickle, or run code of the file; `numpy.load` does not unless told to."""
    readers = {"read_pickle", "to_pickle", "unsafe_load", "full_load"}
    whole = {"torch.hub.load", "torch.jit.load", "torch.package.PackageImporter", "torch.export.load", "yaml.load"}
    found = [
        f"{s.name}:{call.lineno} {name}"
        for s in sources
        for call in ast.walk(s.tree)
        if isinstance(call, ast.Call)
        and ((name := ast.unparse(call.func)) in whole or name.rpartition(".")[2] in readers)
    ]
    assert not found


def _allows_pickle(source, call: ast.Call) -> list[str]:
    return [
        f"{source.name}:{call.lineno} allow_pickle"
        for k in call.keywords
        if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"
    ]


def test_checkpoints_are_loaded_as_weights_only(sources) -> None:
    calls = [(s, call) for s in sources for call in _calls(s.tree, "torch.load")]
    assert calls, "no torch.load found: is it called by another name?"
    unsafe = [
        f"{s.name}:{c.lineno}"
        for s, c in calls
        if not any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in c.keywords)
    ]
    assert not unsafe


def _tracked(repository) -> list:
    """Files that belong to the repository, new ones included."""
    command = ["git", "-C", str(repository), "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listed if (path := repository / name).is_file() and path.suffix in TEXT]


def test_no_path_of_any_machine(repository) -> None:
    pattern = re.compile(r"(?<![\w.~$}/-])/(?:work|opt|tmp|root|home|Users)/\w")
    found = [
        f"{path.relative_to(repository)}:{number} {line.strip()[:100]}"
        for path in _tracked(repository)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)
