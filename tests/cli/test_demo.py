import re
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from kronos_sc._cli import _demo_steps

FIGURES = ("tissue", "types", "clusters", "baseline", "tsne_types", "tsne_clusters", "patches", "panel")


class Page(HTMLParser):
    """Sources and texts of a page, and whether every tag is closed."""

    void = ("meta", "img", "source", "link", "br")

    def __init__(self):
        super().__init__()
        self.sources = []
        self.alts = []
        self.open = []
        self.text = []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.sources += [attrs[name] for name in ("src", "srcset") if name in attrs]
        self.alts += [attrs["alt"]] if tag == "img" else []
        self.open += [] if tag in self.void else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def shown(checkpoint, tmp_path_factory):
    from kronos_sc._cli import app

    folder = tmp_path_factory.mktemp("demo") / "page"
    before = dict(mpl.rcParams)
    done = CliRunner().invoke(app, ["demo", "--out", str(folder), "--model", str(checkpoint), "--size", "144"])
    assert done.exit_code == 0, done.exception
    assert dict(mpl.rcParams) == before
    page = Page()
    html = (folder / "index.html").read_text(encoding="utf-8")
    page.feed(html)
    page.close()
    return folder, done.stdout, page, html


def test_the_page_is_whole_and_needs_nothing_else(shown):
    _, _, page, html = shown
    assert page.open == []
    assert len(page.sources) == 2 * len(FIGURES)
    assert all(source.startswith("data:image/webp;base64,") for source in page.sources)
    assert all(page.alts)
    assert not re.findall(r"(?:src|href)=\"(?!data:|https://huggingface\.co/MahmoodLab/kronos)", html)
    assert "<script" not in html
    assert "prefers-color-scheme: dark" in html


def test_figures_are_written_too(shown):
    from matplotlib import image

    for name in FIGURES:
        pixels = image.imread(shown[0] / f"{name}.png")
        assert pixels[..., :3].std() > 0.05


def test_untrained_weights_cannot_be_overlooked(shown):
    _, stdout, page, _ = shown
    text = " ".join("".join(page.text).split())
    assert "Untrained weights." in text
    assert "UNTRAINED: for demonstrations only" in text
    assert "UNTRAINED weights" in stdout


def test_numbers_on_the_page_are_those_printed(shown):
    folder, stdout, page, _ = shown
    scores = re.findall(r"ARI of clusters and true cell types, .*: (-?\d\.\d{3})", stdout)
    assert len(scores) == 2
    assert [text for text in page.text if text in scores] == scores or scores[0] == scores[1]
    assert str(folder / "index.html") in stdout


def test_cells_and_time_are_said_before_the_long_step(shown):
    _, stdout, page, _ = shown
    announcement = re.search(
        r"(\d+) cells × 14 markers go through '[^']+': about \d+ s in (float32|bfloat16) on \w+", stdout
    )
    assert announcement
    assert announcement[1] in page.text  # the tile of the page
    assert stdout.index(announcement[0]) < stdout.index("ARI of clusters")


def test_no_figure_of_pyplot_is_left(shown):
    from matplotlib import pyplot as plt

    assert plt.get_fignums() == []


def test_clusters_are_named_after_the_types_they_overlap_most():
    types = pd.Series(pd.Categorical(["A"] * 3 + ["B"] * 3 + ["C"] * 2))
    labels = np.array([2, 2, 0, 0, 0, 0, 1, 1])
    assert list(_demo_steps.named_after(labels, types)) == ["c1", "c1", "c2", "c2", "c2", "c2", "c3", "c3"]


def test_a_size_too_small_says_so(call, tmp_path):
    done = call("demo", "--out", tmp_path / "page", "--size", 20)
    assert done.exit_code == 1
    assert "too small for tissue" in done.stderr
