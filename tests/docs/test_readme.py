"""The newcomer's commands, and the promises around them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DEMO = "pip install -c constraints.txt -e . && python -m kronos_sc demo"
TEST = 'pip install -c constraints.txt -e ".[test]" && pytest'


@pytest.mark.parametrize("command", [DEMO, TEST])
def test_set_up_commands_are_there_word_for_word(command: str) -> None:
    assert f"```bash\n{command}\n```" in README
    assert command in (REPOSITORY / "docs/getting-started.md").read_text(encoding="utf-8")


def test_ci_runs_the_command_of_the_readme() -> None:
    script = REPOSITORY / ".ci/run"
    assert TEST in script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("command", ["demo", "embed", "doctor"])
def test_commands_exist(command: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "kronos_sc", command, "--help"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert command in result.stdout


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "pretrain/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = REPOSITORY / page
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    assert not [target for target in targets if not (path.parent / target).exists()]


def test_the_readme_is_honest_about_weights() -> None:
    assert "No trained open weights ship yet" in README


def test_pictures_are_small() -> None:
    pictures = list((REPOSITORY / "docs/_static").glob("*.png"))
    assert pictures
    assert not [p.name for p in pictures if p.stat().st_size > 400_000]


@pytest.mark.parametrize(("name", "torch"), [("constraints.txt", "2.13.0"), ("constraints-3.12.txt", "2.14.1")])
def test_constraints_are_exact_and_hold_on_every_system(name: str, torch: str) -> None:
    lines = [line for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    assert f"torch=={torch}" in lines
    assert not [line for line in lines if re.match(r"(?i)nvidia|triton|cuda", line)], "torch pins those itself"
    assert not [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)], (
        "no local versions, no ranges, no addresses"
    )


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-3.12.txt"])
def test_everything_asked_for_is_constrained(name: str) -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [
        requirement for name in ("docs", "pretrain", "test") for requirement in project["optional-dependencies"][name]
    ]
    wanted = [*project["dependencies"], *extras]
    normal = lambda name: re.sub(r"[-_.]+", "-", name).lower()  # noqa: E731
    pinned = {normal(line.split("==")[0]) for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines()}
    names = {normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in wanted} - {"kronos-sc"}
    assert names <= pinned
