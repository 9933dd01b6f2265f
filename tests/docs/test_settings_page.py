"""The page of the trainer's settings says what the dataclasses say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


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
