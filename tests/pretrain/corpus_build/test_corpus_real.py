"""Real images of eight technologies and panels, from their manifest to a corpus."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kronos_pretrain.corpus_build import build
from kronos_sc.markers import Vocabulary

MANIFEST = Path(__file__).with_name("real.toml")


@pytest.fixture(scope="module")
def corpus(real, tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus") / "real"
    return build(MANIFEST, out), out


def test_every_image_can_be_used(corpus) -> None:
    summary, out = corpus
    assert len(summary.origins) == 13
    assert min(summary.origins.values()) >= 1
    assert summary.origins["lymph-56"] == 9
    assert summary.origins["FIHC4__0929309_HP_IM3_2_component_data"] == 1
    assert summary.subsets["lung · PhenoCycler"] > 140
    index = json.loads((out / "corpus.json").read_text())
    vocabulary = Vocabulary.from_dict(index["vocabulary"])
    assert vocabulary.has_statistics
    for image in index["images"]:
        ids = [marker["id"] for marker in image["markers"]]
        assert len(set(ids)) == len(ids) >= 3
        assert any(vocabulary.get_by_id(each).role == "nuclear" for each in ids)


def test_glass_between_the_cores_of_an_array_is_left_out(corpus) -> None:
    _, out = corpus
    record = json.loads(next(out.glob("images/*level1*/image.json")).read_text())
    assert 0.4 < record["tissue"] < 0.65, "two round cores on a slide"
    assert record["origins"] < 9 * 20


def test_verdicts_of_ion_counts(corpus) -> None:
    """Channels that hold next to no ion are left out; all else that looks like noise is for people to look at."""
    summary, out = corpus
    assert {each.split(":")[0] for each in summary.dropped} == {"granuloma"}
    assert summary.verdicts["ok"] > 150
    quality = (out / "quality.csv").read_text()
    assert "granuloma,granuloma · MIBI,CD56,CD56,empty,no" in quality


def test_pixels_are_those_of_the_file(corpus, real) -> None:
    import tifffile
    import zarr

    _, out = corpus
    image = json.loads((out / "corpus.json").read_text())["images"][0]
    stored = zarr.open_array(out / image["folder"] / "pixels.zarr", mode="r")
    raw = tifffile.imread(real / "codex_lymph_56ch_labelled" / "crop512.image.ome.tif")
    np.testing.assert_array_equal(stored[0], raw[0])
    np.testing.assert_array_equal(stored[-1], raw[-1])


def test_building_again_reads_no_image(corpus, monkeypatch) -> None:
    _, out = corpus

    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr("kronos_pretrain.corpus_build.source.Source.read", never)
    again = build(MANIFEST, out)
    assert again.built == ()
    assert len(again.reused) == 13


def test_unnamed_channels_are_refused_with_the_image(real, tmp_path) -> None:
    """Five channels named after their cycle: nobody can tell which is the nuclear stain."""
    path = real / "codex_hubmap_5ch_expert_masks" / "R001_X003_Y004.channels.ome.tif"
    (tmp_path / "m.toml").write_text(f'[[image]]\npath = "{path}"\nsubset = "lymph node · CODEX"')
    with pytest.raises(ValueError, match=r"'R001_X003_Y004.channels': no marker is a nuclear stain"):
        build(tmp_path / "m.toml", tmp_path / "out")
    assert not list((tmp_path / "out" / "images").iterdir())
