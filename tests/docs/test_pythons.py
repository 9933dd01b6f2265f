"""Which Pythons are promised stands in four places, and they agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [
    found[1]
    for line in PROJECT["classifiers"]
    if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
]
SETS = {"3.11": "constraints.txt", "3.12": "constraints-3.12.txt"}
WORKFLOW = yaml.safe_load((REPOSITORY / ".github/workflows/test.yml").read_text(encoding="utf-8"))
JOBS = WORKFLOW["jobs"]


def commands(job: str) -> list[str]:
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def test_the_oldest_is_the_floor() -> None:
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md"])
def test_pages_say_so(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in text
    for python, name in SETS.items():
        assert re.search(rf"`{re.escape(name)}`[^.]*{re.escape(python)}", text.replace("\n", " ")), (
            f"{name} and its Python {python}"
        )


def test_every_python_is_tested_and_no_other() -> None:
    matrix = JOBS["test"]["strategy"]["matrix"]["include"]
    assert {case["python"] for case in matrix} == set(PYTHONS)
    constrained = {case["python"]: case["set"] for case in matrix if case["set"] != "newest"}
    assert constrained == SETS
    assert {case["python"] for case in matrix if case["set"] == "newest"} == set(PYTHONS[1:])
    assert all(case["options"] == f"-c {case['set']}" for case in matrix if case["set"] != "newest")


def test_prereleases_are_tried_weekly() -> None:
    triggers = WORKFLOW[True]  # YAML reads "on" as a truth
    assert re.fullmatch(r"\d+ \d+ \* \* \d", triggers["schedule"][0]["cron"])
    assert any("--pre" in command for command in commands("prereleases"))
    assert "schedule" in JOBS["prereleases"]["if"]


def test_the_jobs_run_what_ci_runs() -> None:
    script = (REPOSITORY / ".ci/run").read_text(encoding="utf-8")
    everything = 'pytest -m "not network" -n auto --dist loadfile --max-worker-restart=0'
    for command in [everything, "ruff check .", "ruff format --check .", "\nmypy\n", "sphinx-build -W --keep-going -q"]:
        assert command in script
    assert commands("test")[-1] == commands("prereleases")[-1] == everything
    assert commands("style")[1:] == [
        "ruff check . && ruff format --check . && mypy",
        "sphinx-build -W --keep-going -q -b html docs docs/_build",
    ]


def test_nothing_can_be_written_or_read_by_a_job() -> None:
    text = (REPOSITORY / ".github/workflows/test.yml").read_text(encoding="utf-8")
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    assert all("timeout-minutes" in job for job in JOBS.values())
    assert all(
        re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
        for job in JOBS.values()
        for step in job["steps"]
        if "uses" in step
    )
