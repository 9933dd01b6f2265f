"""The page for manual review: every marker is on it, and so is the line that excludes it."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from kronos_pretrain.corpus_build import build
from kronos_pretrain.corpus_build.pictures import Masks, enlarged, overview, stretched
from kronos_pretrain.corpus_build.plane import Plane


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def built(tiff, manifest, tmp_path, noise):
    pixels = noise((96, 128), 5)
    pixels[3] = 0
    tiff("a & b.ome.tif", ["DAPI", "CD3e", "CD8", "CD4", "xyzzy"], pixels=pixels)
    tiff("c.ome.tif", ["DAPI", "CD3", "CD8", "CD20"], shape=(170, 224))
    images = (
        'path = "a & b.ome.tif"\nsubset = "s <1>"',
        'path = "c.ome.tif"\nsubset = "t"\nexclude = { CD20 = "leaks > all" }',
    )
    path = manifest(*images)
    build(path, tmp_path / "out")
    return path, tmp_path / "out"


def test_every_marker_is_on_the_page(built) -> None:
    _, out = built
    text = (out / "review.html").read_text()
    tags = _Tags()
    tags.feed(text)
    cards = [attributes for tag, attributes in tags.found if tag == "figure" and attributes["class"] == "card"]
    assert [(attributes["data-marker"], attributes["data-verdict"]) for attributes in cards] == [
        ("DAPI", "ok"),
        ("CD3e", "ok"),
        ("CD8", "ok"),
        ("CD4", "empty"),
        ("DAPI", "ok"),
        ("CD3", "ok"),
        ("CD8", "ok"),
    ]
    assert all(attributes["src"].startswith("data:image/png;base64,") for tag, attributes in tags.found if tag == "img")
    assert [attributes["data-name"] for tag, attributes in tags.found if tag == "section"] == ["a & b", "c"]
    assert "<b>CD20</b> leaks &gt; all" in text
    assert "without a marker: xyzzy" in text
    assert "s &lt;1&gt;" in text
    assert not re.search(r"<!--[A-Z]+-->", text)
    assert not re.search(r'(src|href)="http', text)


def test_brightness_and_colours_are_explained(built) -> None:
    """Each picture is stretched on its own, so that the page says from where to where.

    And it names only colours that are there.
    """
    _, out = built
    text = (out / "review.html").read_text()
    stretches = re.findall(r"stretched ([\d.e+]+) – ([\d.e+]+)<", text)
    assert len(stretches) == 7
    assert stretches[3] == ("0", "0"), "the empty marker"
    assert 0 < float(stretches[0][0]) < float(stretches[0][1]) <= 40_000
    assert text.count('<i class="blue">') == 1, "the last ten of 170 rows are in no patch of 64 px at multiples of 32"
    assert '<i class="red">' not in text


def test_the_table_says_the_same(built) -> None:
    _, out = built
    with (out / "quality.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["channel"], row["verdict"], row["used"]) for row in rows[:4]] == [
        ("DAPI", "ok", "yes"),
        ("CD3e", "ok", "yes"),
        ("CD8", "ok", "yes"),
        ("CD4", "empty", "no"),
    ]
    assert (rows[-1]["channel"], rows[-1]["verdict"], rows[-1]["reason"]) == ("CD20", "excluded", "leaks > all")
    assert float(rows[0]["signal"]) > 1


def test_many_markers_go_on_several_pages(built, monkeypatch) -> None:
    path, out = built
    monkeypatch.setattr("kronos_pretrain.corpus_build.review.CARDS", 5)
    build(path, out)
    assert '<a href="review-2.html">2</a>' in (out / "review.html").read_text()
    assert '<a href="review.html">1</a>' in (out / "review-2.html").read_text()
    monkeypatch.undo()
    build(path, out)
    assert not (out / "review-2.html").exists()


def test_pictures_are_stretched() -> None:
    ramp = np.linspace(100, 300, 10_000).reshape(100, 100)
    picture = stretched(ramp)
    assert (picture.min(), picture.max()) == (0, 255)
    assert abs(int(picture[50, 0]) - 127) < 4
    assert not stretched(np.zeros((4, 4))).any()
    dots = np.zeros((100, 100))
    dots[5, 5] = 3
    assert stretched(dots)[5, 5] == 255


def test_masks_are_drawn_where_they_are() -> None:
    np.testing.assert_array_equal(
        enlarged(np.eye(2, dtype=bool), 2, (5, 4))[:4], np.kron(np.eye(2), np.ones((2, 2))) > 0
    )
    plane = Plane((64, 96), np.dtype("uint8"), 255.0, 32)
    plane.add(np.full((64, 96), 80, np.uint8), 0, 0)
    nothing = np.zeros((2, 3), bool)
    saturated = nothing.copy()
    saturated[0, 2] = True
    covered = ~nothing
    covered[1, 0] = False
    picture = overview(plane, Masks(~nothing, saturated, nothing, covered))
    assert picture.shape == (64, 96, 3)
    red = picture[5, 70]
    blue = picture[40, 5]
    grey = picture[5, 5]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert grey[0] == grey[1] == grey[2]
