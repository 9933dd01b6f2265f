"""Vocabularies: the built-in one, a model's own file, records, free ids, and the errors of a bad table."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError

import pandas as pd
import pytest

from kronos_sc.markers import Marker, Vocabulary, match, paper_vocabulary

HEADER = "marker_name,marker_id,marker_mean,marker_std\n"
OFFICIAL = HEADER + (
    "DAPI,4,0.05,0.06\nHISTONE-H3,240,0.02,0.03\nHOECHST,6,0.04,0.05\nCD3,200,0.01,0.02\nHLA-1,244,0.1,0.1\nHLA1,246,0.2,0.2\n"
    "LYVE-1,290,0.1,0.11\nLYVE1,292,0.2,0.21\nSIGELC-3,330,0.3,0.31\n"
)


@pytest.fixture
def official(tmp_path):
    path = tmp_path / "marker_metadata.csv"
    path.write_text(OFFICIAL)
    return Vocabulary.from_csv(path)


def test_paper_vocabulary_follows_the_id_scheme():
    vocabulary = paper_vocabulary()
    ids = [marker.id for marker in vocabulary]
    assert len(vocabulary) == 175
    assert ids == [4, *range(128, 128 + 2 * 174, 2)]
    assert vocabulary.names[0] == "DAPI"
    assert list(vocabulary.names[1:]) == sorted(vocabulary.names[1:], key=str.upper)
    assert [marker.name for marker in vocabulary if marker.role == "nuclear"] == ["DAPI", "HISTONE-H3"]
    assert not vocabulary.has_statistics
    assert paper_vocabulary(mean=0.1, std=0.2).has_statistics


def test_every_paper_name_resolves_to_itself_exactly():
    vocabulary = paper_vocabulary()
    panel = match(vocabulary.names, vocabulary)
    assert panel["marker"].tolist() == list(vocabulary.names)
    assert panel["id"].tolist() == [marker.id for marker in vocabulary]
    assert set(panel["how"]) == {"exact"}


def test_lookup(official):
    assert official.name == "marker_metadata"
    assert "CD3" in official
    assert "cd3" not in official
    assert official["CD3"] == official.get_by_id(200) == Marker("CD3", 200, 0.01, 0.02)
    with pytest.raises(KeyError, match=r"no marker in 'marker_metadata' 'CD33'.*Did you mean 'CD3'"):
        official["CD33"]
    with pytest.raises(KeyError, match=r"No marker of 'marker_metadata' has id 5; its ids are 4, 240"):
        official.get_by_id(5)


def test_roles_come_from_the_id_or_the_stain(official):
    assert {marker.name: marker.role for marker in official if marker.role == "nuclear"} == dict.fromkeys(
        ["DAPI", "HISTONE-H3", "HOECHST"], "nuclear"
    )


def test_a_protein_that_stands_twice_is_found_by_its_spelling_else_first(official):
    panel = match(
        ["LYVE1", "LYVE-1", "lyve 1", "XLKD1", "HLA_1", "MHC-I", "CD33", "SIGLEC-3", "Draq5", "hoechst"],
        official,
        single=False,
    )
    assert panel["marker"].tolist() == [
        "LYVE1",
        "LYVE-1",
        "LYVE-1",
        "LYVE-1",
        "HLA-1",
        "HLA-1",
        "SIGELC-3",
        "SIGELC-3",
        "DAPI",
        "HOECHST",
    ]
    assert panel["mean"].tolist()[:2] == [0.2, 0.1]


def test_frame_csv_and_record_round_trips(official, tmp_path):
    vocabulary = Vocabulary("own", (*official, Marker("CD79A", None, role="other", aliases=("MB1x",))))
    assert Vocabulary.from_dict(json.loads(json.dumps(official.to_dict(), allow_nan=False))) == official
    again = Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict(), allow_nan=False)))
    assert again["CD79A"].aliases == ("MB1x",)
    assert math.isnan(again["CD79A"].mean)
    assert Vocabulary.from_frame(official.to_frame(), name="marker_metadata") == official
    paper_vocabulary().to_frame().to_csv(tmp_path / "paper.csv", index=False)
    unknown = Vocabulary.from_csv(tmp_path / "paper.csv", name="paper")
    assert unknown.names == paper_vocabulary().names
    assert not unknown.has_statistics


def test_aliases_of_a_marker_are_spellings_of_it():
    vocabulary = Vocabulary("own", (Marker("LAB-1", 130, aliases=("clone X99",)),))
    assert match(["Clone-X99"], vocabulary).loc[0, "marker"] == "LAB-1"


def test_free_ids_are_the_unused_ones_odd_first(official):
    nuclear, other = official.free_ids("nuclear"), official.free_ids("other")
    assert nuclear[:3] == [1, 3, 5]
    assert other[:2] == [129, 131]
    assert set(nuclear) == set(range(1, 128)) - {4, 6}
    assert not set(other) & {marker.id for marker in official}
    assert [i % 2 for i in other] == sorted((i % 2 for i in other), reverse=True)
    with pytest.raises(ValueError, match="role='cytoplasmic' is not a choice"):
        official.free_ids("cytoplasmic")


def test_vocabularies_do_not_change(official):
    with pytest.raises(FrozenInstanceError):
        official.name = "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the columns 'marker_name'"),
        (
            "marker_name,id,marker_mean,marker_std\nCD3,1,1,1\n",
            "lacks the columns 'marker_id'; it has .* Rename 'id'|lacks the columns 'marker_id'",
        ),
        (HEADER, "has no rows"),
        (HEADER + "CD3,200,low,1\n", "values in marker_mean that are not numbers .CD3: 'low'"),
        (HEADER + "CD3,200,1,inf\n", "values in marker_std that are not numbers .CD3: 'inf'"),
        (HEADER + "CD3,1.5,1,1\n", "marker_id that are not whole numbers .CD3: '1.5'"),
        (HEADER + "CD3,,1,1\n", "marker_id that are not whole numbers"),
        (HEADER + "CD3,512,1,1\n", r"ids outside 0 … 511 \(CD3: 512\)"),
        (HEADER + "CD3,-1,1,1\n", r"ids outside 0 … 511 \(CD3: -1\)"),
        (HEADER + "CD3,200,1,0\n", r"standard deviations that are not positive \(CD3: 0.0\)"),
        (HEADER + "CD3,200,1,1\ncd3,202,1,1\n", "names 'CD3' more than once"),
        (HEADER + "CD3,200,1,1\nCD4,200,1,1\n", r"gives id 200 to several markers \('CD3', 'CD4'\)"),
        (HEADER + ",200,1,1\n", "no marker_name in row 0"),
    ],
)
def test_errors_of_a_bad_file_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_csv(path)


def test_errors_of_missing_file_and_empty_vocabulary(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        Vocabulary.from_csv(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match="holds no marker"):
        Vocabulary("none", ())
    with pytest.raises(ValueError, match="role='membrane' is not a choice"):
        Vocabulary("odd", (Marker("CD3", 200, role="membrane"),))
    with pytest.raises(ValueError, match="lacks 'markers'"):
        Vocabulary.from_dict({"name": "x"})
    with pytest.raises(ValueError, match="has no name"):
        Vocabulary.from_dict({"name": "x", "markers": [{"id": 3}]})


def test_frames_may_hold_numbers_and_gaps():
    frame = pd.DataFrame(
        {"marker_name": ["CD3", "CD4"], "marker_id": [200, 202], "marker_mean": [0.1, None], "marker_std": [0.2, None]}
    )
    vocabulary = Vocabulary.from_frame(frame, name="own")
    assert vocabulary["CD3"].has_statistics
    assert not vocabulary["CD4"].has_statistics
