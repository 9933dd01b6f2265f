"""Channels → markers, and everything that is refused before any work."""

from __future__ import annotations

import re

import pytest

from kronos_pretrain.corpus_build import read_manifest
from kronos_pretrain.corpus_build.panel import lacking, panels, vocabulary_of
from kronos_pretrain.corpus_build.source import open_source
from kronos_sc.markers import paper_vocabulary


def _panels(path):
    checked = read_manifest(path)
    return panels(checked, {entry.name: open_source(entry) for entry in checked.images})


def _image(name: str, more: str = "") -> str:
    return f'path = "{name}.ome.tif"\nsubset = "s"\n{more}'


def test_channels_become_markers(tiff, manifest) -> None:
    tiff("a.ome.tif", ["DAPI-01", "CD3e", "CD8 - T cells:Cyc_3_ch_2", "Blank", "CD62L", "xyzzy"])
    panel = _panels(manifest(_image("a")))["a"]
    assert [(c.position, c.marker, c.role) for c in panel.channels] == [
        (0, "DAPI", "nuclear"),
        (1, "CD3", "other"),
        (2, "CD8", "other"),
    ]
    assert panel.unmatched == ("CD62L", "xyzzy")


def test_of_several_channels_of_a_marker_one_is_taken(tiff, manifest) -> None:
    """The first of the nuclear stains, one in every cycle; and of other channels the one of the marker's very name."""
    tiff("a.ome.tif", ["DNA_1", "CD3", "DNA_2", "CD3e", "CD8"])
    panel = _panels(manifest(_image("a")))["a"]
    assert [(c.name, c.marker) for c in panel.channels] == [("DNA_1", "DAPI"), ("CD3", "CD3"), ("CD8", "CD8")]
    assert list(panel.excluded) == ["DNA_2", "CD3e"]


def test_the_manifest_decides(tiff, manifest) -> None:
    tiff("a.ome.tif", ["blue", "red", "green", "CD3", "CD8", "CD4", "CD20"])
    path = manifest(
        _image(
            "a",
            'channels = { blue = "DAPI", red = "unseen", CD4 = false }\nexclude = { CD8 = "leaks" }\nkeep = ["CD3"]',
        ),
        rest='[channels]\ngreen = "FOXP3"\n[[exclude]]\nmarker = "MS4A1"\nreason = "out of focus"',
    )
    panel = _panels(path)["a"]
    assert [(c.name, c.marker, c.kept) for c in panel.channels] == [
        ("blue", "DAPI", False),
        ("red", "red", False),
        ("green", "FOXP3", False),
        ("CD3", "CD3", True),
    ]
    assert panel.excluded == {"CD20": "out of focus", "CD8": "leaks"}


def test_an_image_comes_before_the_whole_corpus(tiff, manifest) -> None:
    for name in "ab":
        tiff(f"{name}.ome.tif", ["DAPI", "dye", "CD8", "CD4"])
    by_image = _panels(
        manifest(_image("a", 'channels = { dye = "CD3" }'), _image("b"), rest='[channels]\ndye = "CD20"')
    )
    assert [by_image[name].channels[1].marker for name in "ab"] == ["CD3", "CD20"]


def test_exclusions_reach_one_subset_or_one_image(tiff, manifest) -> None:
    for name in "abc":
        tiff(f"{name}.ome.tif", ["DAPI", "CD3", "CD8", "CD4", "CD20"])
    by_image = _panels(
        manifest(
            _image("a"),
            _image("b"),
            'path = "c.ome.tif"\nsubset = "t"',
            rest='[[exclude]]\nmarker = "CD3"\nimage = "b"\n[[exclude]]\nmarker = "CD8"\nsubset = "t"',
        )
    )
    assert [list(by_image[name].excluded) for name in "abc"] == [[], ["CD3"], ["CD8"]]


def test_unseen_markers_get_ids_in_the_order_of_their_names() -> None:
    seen = {"DAPI": ("nuclear", 0.1, 0.1), "CD3": ("other", 0.1, 0.1)}
    new = {"ZETA": ("other", 0.1, 0.2), "ALPHA": ("other", 0.1, 0.2), "BLUE": ("nuclear", 0.3, 0.2)}
    free = paper_vocabulary().free_ids("other")
    for markers in (seen | new, new | seen):
        vocabulary = vocabulary_of("v", markers)
        assert [vocabulary[name].id for name in ("ALPHA", "ZETA")] == free[:2]
        assert vocabulary["BLUE"].id == paper_vocabulary().free_ids("nuclear")[0]
        assert vocabulary["CD3"].id == paper_vocabulary()["CD3"].id
    assert vocabulary["ZETA"].std == 0.2


def test_all_that_is_wrong_is_said_at_once(tiff, manifest) -> None:
    """Six images, six faults, one error, and the line that mends each."""
    tiff("nuclei.ome.tif", ["CD3", "CD8", "CD4"])
    tiff("few.ome.tif", ["DAPI", "CD3", "Blank"])
    tiff("ambiguous.ome.tif", ["DAPI", "CD3", "CD8", "CK-EPCAM"])
    tiff("twice.ome.tif", ["DAPI", "CD3d", "CD8", "CD3e"])
    tiff("small.ome.tif", ["DAPI", "CD3", "CD8"], shape=(63, 200))
    tiff("typing.ome.tif", ["DAPI", "CD3", "CD8"])
    tiff("good.ome.tif", ["DAPI", "CD3", "CD8"])
    names = ("nuclei", "few", "ambiguous", "twice", "small", "good")
    path = manifest(*map(_image, names), _image("typing", 'channels = { CD33 = "CD3" }'))
    with pytest.raises(ValueError, match="6 to correct") as error:
        _panels(path)
    text = str(error.value)
    for part in (
        "'nuclei': no marker is a nuclear stain",
        "'few': 2 usable marker(s)",
        "'ambiguous': the name of 1 channel(s) means several markers",
        'channels = {"CK-EPCAM" = "CYTOKERATIN"}',
        "'twice': several channels are one marker: CD3 is 'CD3d', 'CD3e'",
        'channels = {"CD3e" = false}',
        "'small': 63 × 200 pixels hold no patch of 64 px",
        "'typing': There is no channel 'CD33'",
    ):
        assert part in text
    assert "'good'" not in text


@pytest.mark.row(
    "image without a nuclear stain, with too few markers, ambiguous or repeated markers, or smaller than a patch"
)
@pytest.mark.parametrize(
    ("channels", "more"),
    [
        (["CD3", "CD8", "CD4"], "DAPI"),
        (["DAPI", "CD3", "new"], "MARKER"),
        (["DAPI", "CD3", "CD8", "CK-EPCAM"], ""),
        (["DAPI", "CD3-FITC", "CD8", "CD3 Cy7"], ""),
    ],
)
def test_the_line_that_is_told_mends_it(tiff, manifest, channels, more) -> None:
    tiff("a.ome.tif", channels)
    with pytest.raises(ValueError, match="1 to correct") as error:
        _panels(manifest(_image("a")))
    line = (
        re.search(r"channels = \{[^}]*\}", str(error.value))[0]
        .replace("CHANNEL", channels[-1])
        .replace("MARKER", "unseen")
    )
    _panels(manifest(_image("a", line)))


@pytest.mark.row("exclusion or channel of the manifest that no image has")
def test_the_name_that_is_close_is_accepted(tiff, manifest) -> None:
    tiff("a.ome.tif", ["DAPI", "CD3", "CD8", "CD4"])
    with pytest.raises(ValueError, match="Close: 'CD3'"):
        _panels(manifest(_image("a", 'exclude = ["CD33"]')))
    _panels(manifest(_image("a", 'exclude = ["CD3"]')))


@pytest.mark.parametrize(
    ("more", "rest", "message"),
    [
        ('exclude = ["CD33"]', "", "neither channel nor marker. Close: 'CD3'"),
        ('keep = ["CD33"]', "", "keep of 'a' names 'CD33'"),
        ('channels = { CD3 = "unseen" }', "", "declared unseen, but it is CD3"),
        ("", '[channels]\n"CD33" = "CD3"', r"\[channels\] names 'CD33', and no image has this channel. Close: 'CD3'"),
        ("", '[[exclude]]\nmarker = "CD33"', "no image has it"),
        ("", '[[exclude]]\nmarker = "CD3"\nsubset = "t"', "no image with subset = 't' has it"),
        ("", '[[exclude]]\nmarker = "CD3"\nimage = "b"', "no image with image = 'b' has it"),
    ],
)
def test_names_that_mean_nothing(tiff, manifest, more, rest, message) -> None:
    tiff("a.ome.tif", ["DAPI", "CD3", "CD8", "CD4"])
    with pytest.raises(ValueError, match=message):
        _panels(manifest(_image("a", more), rest=rest))


def test_what_an_image_needs(tiff, manifest) -> None:
    entry = read_manifest(manifest(_image("a"))).images[0] if tiff("a.ome.tif", ["DAPI"]) is not None else None
    assert not lacking(entry, ["nuclear", "other", "other"])
    assert "no marker is a nuclear stain" in lacking(entry, ["other"] * 3)[0]
    assert "2 usable" in lacking(entry, ["nuclear", "other"])[0]
