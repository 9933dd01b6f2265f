"""Code on the pages runs: blocks fenced as `python` are executed, page by page; those fenced as `py` are only shown."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import kronos_sc as ks

REPOSITORY = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PAGES = sorted(
    path
    for path in [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    if BLOCK.search(path.read_text(encoding="utf-8")) and "_build" not in path.parts
)
SLOW = {
    "docs/reference/cheatsheet.md": 50,
    "docs/how-to/clusters.md": 12,
    "docs/how-to/markers.md": 12,
    "docs/how-to/maps.md": 10,
}  # seconds


def pages():
    """Pages as parameters, those that take long marked so."""
    for page in PAGES:
        name = page.relative_to(REPOSITORY).as_posix()
        yield pytest.param(page, id=name, marks=[pytest.mark.slow(SLOW[name])] if name in SLOW else [])


@pytest.fixture
def settings():
    """Settings as they were, whatever a page does to them."""
    before = dict(vars(ks.settings))
    yield
    vars(ks.settings).update(before)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("page", pages())
def test_code_on_the_page_runs(
    page: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: None
) -> None:
    monkeypatch.chdir(shutil.copytree(files, tmp_path / "work"))
    monkeypatch.setattr("kronos_sc.models._registry._REGISTRY", dict(ks.models._registry._REGISTRY))
    text = page.read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "page"}
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        code = compile("\n" * line + block[1], page.name, "exec")  # line numbers of errors are those of the page
        exec(code, names)
    plt.close("all")
