"""What is written about the trainer's settings and commands is what there is."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from kronos_pretrain.cli import COMMANDS
from kronos_pretrain.config import Config
from kronos_pretrain.config.read import shipped_configs

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
NAMING = [
    *(
        REPOSITORY / name
        for name in ("README.md", "pretrain/README.md", "pretrain/slurm/train.sbatch", "notebooks/08-pretraining.ipynb")
    ),
    *(DOCS / name for name in ("how-to/pretraining.md", "reference/bad-input.md")),
]
SECTIONS = "|".join(vars(Config()))
OTHERS = {"model.safetensors", "watch.read"}  # a file, a function


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch):
    """The script that writes the page."""
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.delitem(sys.modules, "make_settings", raising=False)
    import make_settings

    return make_settings


def test_the_page_is_up_to_date(maker) -> None:
    assert maker.PAGE.read_text(encoding="utf-8") == maker.render(), "run python docs/make_settings.py"


def test_every_setting_has_one_row(maker) -> None:
    page = maker.PAGE.read_text(encoding="utf-8")
    cells = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    found = [part.removesuffix(" ↻").strip("`| ") for cell in cells for part in cell.split("<br>")]
    assert sorted(found) == sorted(maker.settings())


@pytest.mark.parametrize("path", NAMING, ids=lambda path: path.name)
def test_settings_that_pages_name_exist(maker, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = set(re.findall(rf"(?<![\w./])((?:{SECTIONS})(?:\.[a-z_]+)+)(?:=|`)", text)) - OTHERS
    assert found
    assert found <= set(maker.settings())


@pytest.mark.parametrize("path", NAMING, ids=lambda path: path.name)
def test_commands_that_pages_name_exist(path: Path) -> None:
    words = re.findall(r"-m kronos_pretrain ([a-z]\w*)", path.read_text(encoding="utf-8"))
    assert set(words) <= COMMANDS | set(shipped_configs())
