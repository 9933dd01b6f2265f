"""Ids of markers stay what they are: when a corpus grows, when it is built again, and when a model is trained on."""

from __future__ import annotations

import json

import pytest

from kronos_pretrain.corpus_build import build, read_manifest
from kronos_pretrain.corpus_build.ids import assigned
from kronos_pretrain.corpus_build.panel import vocabulary_of
from kronos_pretrain.export import export
from kronos_pretrain.init_weights import check_vocabulary, starting_model
from kronos_pretrain.network import Network
from kronos_sc.markers import Vocabulary, paper_vocabulary

BETA = ["DAPI", "CD3", "CD8", "BETA"]
ALPHA = ["DAPI", "CD3", "ALPHA", "GAMMA"]
FREE = paper_vocabulary().free_ids("other")


def _image(name: str, *unseen: str) -> str:
    new = ", ".join(f'{each} = "unseen"' for each in unseen)
    return f'path = "{name}.ome.tif"\nsubset = "s"\nchannels = {{ {new} }}'


def _ids(out) -> dict[str, int]:
    return {row["name"]: row["id"] for row in json.loads((out / "corpus.json").read_text())["vocabulary"]["markers"]}


@pytest.fixture
def two(tiff):
    """One image with an unseen marker, and one with others, the first of which sorts before it."""
    tiff("a.ome.tif", BETA)
    tiff("b.ome.tif", ALPHA, seed=1)
    return _image("a", "BETA"), _image("b", "ALPHA", "GAMMA")


def test_a_corpus_that_grows_keeps_its_ids(two, manifest, tmp_path) -> None:
    out = tmp_path / "out"
    build(manifest(two[0]), out)
    before = _ids(out)
    assert before["BETA"] == FREE[0]
    build(manifest(*two), out)
    assert _ids(out) == before | {"ALPHA": FREE[1], "GAMMA": FREE[2]}
    images = json.loads((out / "corpus.json").read_text())["images"]
    assert [marker["id"] for marker in images[0]["markers"]] == [before[name] for name in BETA]
    build(manifest(*two), tmp_path / "new")
    assert _ids(tmp_path / "new")["ALPHA"] == FREE[0], "of a new corpus, in the order of names"


def test_an_interrupted_rebuild_keeps_them_too(two, manifest, tmp_path, monkeypatch) -> None:
    out = tmp_path / "out"
    build(manifest(two[0]), out)

    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kronos_pretrain.corpus_build.builder.build_image", broken)
    with pytest.raises(OSError, match="No space"):
        build(manifest(*two), out, resume=False)
    assert not (out / "corpus.json").exists()
    monkeypatch.undo()
    build(manifest(*two), out)
    assert _ids(out)["BETA"] == FREE[0]
    assert not list(out.glob(".*")), "what was set aside is gone"


@pytest.mark.row(
    "corpus and start model give a marker different ids, or one id to two markers",
    "`vocabulary` of `[corpus]` that names no export, corpus or marker table",
)
def test_from_an_export_to_a_grown_corpus(two, manifest, tmp_path, small) -> None:
    """Continued pretraining: a new corpus has the ids of the start model, and new markers take none of them."""
    build(manifest(two[0]), tmp_path / "old")
    vocabulary = Vocabulary.from_dict(json.loads((tmp_path / "old/corpus.json").read_text())["vocabulary"])
    config = small.settings()
    export(Network(config).state_dict(), config, vocabulary, tmp_path / "model", step=1, name="old")
    start = starting_model(str(tmp_path / "model")).vocabulary

    build(manifest(*two), tmp_path / "alone")
    alone = Vocabulary.from_dict(json.loads((tmp_path / "alone/corpus.json").read_text())["vocabulary"])
    with pytest.raises(
        ValueError, match=r"ALPHA: 129 in the corpus, where the model has BETA.*vocabulary = .* under \[corpus\]"
    ):
        check_vocabulary(start, alone)

    for number, place in enumerate(
        ("model", "model/model", "model/official", "model/official/marker_metadata.csv", "old")
    ):
        out = tmp_path / f"grown-{number}"
        build(manifest(*two, settings=f'vocabulary = "{place}"'), out)
        grown = Vocabulary.from_dict(json.loads((out / "corpus.json").read_text())["vocabulary"])
        check_vocabulary(start, grown)
        assert (grown["BETA"].id, grown["ALPHA"].id) == (FREE[0], FREE[1])
        assert grown["CD3"].mean != start["CD3"].mean, "statistics are measured anew"


def test_what_the_vocabulary_knows_needs_no_line(two, manifest, tmp_path) -> None:
    """BETA is known from the earlier corpus; GAMMA is not, and is left out unless it is declared."""
    build(manifest(two[0]), tmp_path / "old")
    summary = build(
        manifest('path = "a.ome.tif"\nsubset = "s"', _image("b", "ALPHA"), settings='vocabulary = "old"'),
        tmp_path / "out",
    )
    assert summary.unmatched == {"GAMMA": 1}
    assert _ids(tmp_path / "out") == _ids(tmp_path / "old") | {"ALPHA": FREE[1]}


def test_names_and_ids_of_another_scheme(tiff, manifest, tmp_path) -> None:
    """A marker table with spellings and ids of its own keeps them; the paper's other markers get free ids."""
    rows = [
        "marker_name,marker_id,marker_mean,marker_std",
        "HOECHST1,7,,",
        f"CD3E,{paper_vocabulary()['CD8'].id},,",
        "BETA,301,,",
    ]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    tiff("a.ome.tif", BETA)
    build(manifest(_image("a"), settings='vocabulary = "table.csv"'), tmp_path / "out")
    ids = _ids(tmp_path / "out")
    assert (ids["CD3E"], ids["BETA"]) == (paper_vocabulary()["CD8"].id, 301)
    assert len(set(ids.values())) == len(ids) == 4
    assert ids["CD8"] == FREE[0]


def test_the_vocabulary_given_comes_before_the_corpus_that_was_there() -> None:
    roles = dict.fromkeys(("A", "B", "C", "D", "CD3"), "other")
    ids = assigned(roles, given={"A": 200, "Z": 129}, earlier={"A": 131, "B": 200, "C": 131, "D": 129})
    assert ids == {"A": 200, "C": 131, "CD3": paper_vocabulary()["CD3"].id, "B": 133, "D": 135}


@pytest.mark.row("more unseen markers than free ids")
def test_no_id_is_left() -> None:
    with pytest.raises(ValueError, match="No id is left for the unseen marker 'N383'"):
        assigned({f"N{number:03d}": "other" for number in range(384)})
    every = vocabulary_of("v", {f"N{number:03d}": ("other", 0.1, 0.1) for number in range(383)})
    assert len({marker.id for marker in every}) == 383


def test_places_without_a_vocabulary(two, manifest, tmp_path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("")
    for place, there in (("nowhere", "no such folder"), ("runs", "'notes.txt'")):
        with pytest.raises(
            FileNotFoundError, match=rf"vocabulary of corpus.toml \[corpus\] is '{place}'.*{there}.*Name a folder"
        ):
            read_manifest(manifest(two[0], settings=f'vocabulary = "{place}"'))
