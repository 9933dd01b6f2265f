"""The panel: one row per channel, what the user says first, and nothing guessed."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_sc.markers import Marker, Vocabulary, match, paper_vocabulary

COLUMNS = [
    "channel",
    "marker",
    "how",
    "note",
    "near",
    "id",
    "role",
    "mean",
    "std",
]  # what decides first, to be seen in 80 columns
CHANNELS = ["DAPI-01", "CD3", "pd-1", "Au", "CD79a", "IgA", "vimentni", "Collagen-1"]


@pytest.fixture
def vocabulary():
    return paper_vocabulary(mean=0.1, std=0.2)


def test_a_panel_by_hand(vocabulary):
    panel = match(CHANNELS, vocabulary)
    assert list(panel.columns) == COLUMNS
    assert panel["channel"].tolist() == CHANNELS
    assert panel["marker"].tolist() == ["DAPI", "CD3", "PD1", "", "", "", "", ""]
    assert panel["how"].tolist() == ["alias", "exact", "alias", "dropped", "dropped", "ambiguous", "dropped", "dropped"]
    assert panel["role"].tolist() == ["nuclear", "other", "other", "", "", "", "", ""]
    assert panel["near"].tolist() == ["", "", "", "", "", "IGA1, IGA2", "VIMENTIN", "COLLAGEN"]
    assert panel["note"].tolist()[3:7] == [
        "not a marker",
        "known protein CD79A, not in this vocabulary",
        "name of several proteins",
        "unknown name",
    ]
    assert panel["id"].tolist() == [4, vocabulary["CD3"].id, vocabulary["PD1"].id, -1, -1, -1, -1, -1]
    assert panel[["id", "mean", "std"]].dtypes.tolist() == [np.int64, np.float64, np.float64]
    assert panel["mean"].tolist()[:3] == [0.1] * 3
    assert panel["mean"].isna().tolist() == [False] * 3 + [True] * 5


def test_what_the_user_says_comes_first(vocabulary):
    given = {"CD3": None, "vimentni": "Vim", "Au": "unseen", "CD79a": "unseen", "IgA": "IGA2", "pd-1": "unseen"}
    panel = match([*CHANNELS, "DNA2"], vocabulary, given={**given, "DNA2": "unseen"}).set_index("channel")
    assert panel.loc["CD3", ["marker", "id", "how", "note"]].tolist() == ["", -1, "dropped", "dropped by you"]
    assert panel.loc["vimentni", ["marker", "how", "mean"]].tolist() == ["VIMENTIN", "given", 0.1]
    assert panel.loc["IgA", ["marker", "how"]].tolist() == ["IGA2", "given"]
    assert panel.loc["pd-1", ["marker", "id", "how", "role"]].tolist() == ["PD1", 133, "unseen", "other"]
    assert panel.loc["Au", ["marker", "id", "how", "role"]].tolist() == ["Au", 129, "unseen", "other"]
    assert panel.loc["CD79a", ["marker", "id", "how"]].tolist() == ["CD79A", 131, "unseen"]
    assert panel.loc["DNA2", ["marker", "id", "how", "role"]].tolist() == ["DAPI", 1, "unseen", "nuclear"]
    assert np.isnan(panel.loc["CD79a", "mean"])
    backwards = match(["DNA2", *CHANNELS[::-1]], vocabulary, given={**given, "DNA2": "unseen"}).set_index("channel")
    assert backwards.loc[panel.index, "id"].tolist() == panel["id"].tolist()  # ids go by name, not by order


def test_order_of_channels_does_not_matter(vocabulary):
    forwards = match(CHANNELS, vocabulary).set_index("channel")
    backwards = match(CHANNELS[::-1], vocabulary).set_index("channel")
    assert forwards.equals(backwards.loc[CHANNELS])


def test_two_channels_of_one_marker_are_shown_where_asked_for(vocabulary):
    panel = match(["CD4", "CD4 Cy7", "DAPI-01", "DAPI-02"], vocabulary, single=False)
    assert panel["marker"].tolist() == ["CD4", "CD4", "DAPI", "DAPI"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mCD45", "CD45"),  # a mouse's, in a xenograft
        ("CD3_AF", "CD3"),
        ("EGFR L858R", "EGFR"),
        ("STAT3 (phospho Y705)", ""),
        ("pEGFRx", ""),
        ("vimentni", "VIMENTIN"),
    ],
)
def test_an_unknown_name_is_near_the_markers_that_it_holds(vocabulary, name, near):
    assert match([name], vocabulary).loc[0, "near"].split(", ")[0] == near


def test_a_name_of_several_proteins_is_dropped_where_the_vocabulary_has_none_of_them():
    panel = match(["IgA"], Vocabulary("small", (Marker("CD3", 200),)))
    assert panel.loc[0, ["how", "near", "note"]].tolist() == [
        "dropped",
        "",
        "name of several proteins (IGA1, IGA2), none of them in this vocabulary",
    ]


def test_a_vocabulary_may_hold_what_the_table_calls_ambiguous_or_nothing():
    panel = match(["iga", "Nuc"], Vocabulary("odd", (Marker("IGA", 200), Marker("NUC", 5, role="nuclear"))))
    assert panel["marker"].tolist() == ["IGA", "NUC"]


def test_a_marker_without_an_id_has_none_in_the_panel():
    assert match(["CD3"], Vocabulary("own", (Marker("CD3"),))).loc[0, "id"] == -1


def test_no_channels_make_an_empty_panel(vocabulary):
    panel = match([], vocabulary)
    assert list(panel.columns) == COLUMNS
    assert len(panel) == 0


@pytest.mark.parametrize(
    ("channels", "given", "error", "message"),
    [
        (["CD3", "CD4", "CD3"], None, ValueError, "channels 'CD3' occur more than once among 3"),
        ("CD3", None, TypeError, "must be a list of names, got the single name 'CD3'"),
        (["CD3"], {"CD33": None}, KeyError, "no channel 'CD33'; there are: 'CD3'. Did you mean 'CD3'"),
        (["x"], {"x": "CD79A"}, KeyError, r"cannot be 'CD79A': 'paper' has no such marker \(known protein CD79A"),
        (
            ["x"],
            {"x": "vimentni"},
            KeyError,
            r"\(unknown name\). Close: 'VIMENTIN'. For a marker .*channels={'x': 'unseen'}",
        ),
        (["x"], {"x": "IgA"}, KeyError, r"\(name of several proteins\). Close: 'IGA1', 'IGA2'"),
        (["x"], {"x": 4}, TypeError, r"channels={'x': 4} is no marker"),
        (["x"], ["CD3"], TypeError, "must map channel names to markers, got list"),
    ],
)
def test_errors_say_what_was_found_what_exists_and_what_to_call(vocabulary, channels, given, error, message):
    with pytest.raises(error, match=message):
        match(channels, vocabulary, given=given)


def test_running_out_of_ids():
    full = Vocabulary("full", tuple(Marker(f"M{i}", i) for i in range(128, 512)))
    with pytest.raises(ValueError, match="No id is left for the unseen marker 'CD79A': every other id is taken"):
        match(["CD79A"], full, given={"CD79A": "unseen"})
