"""Channel names as vendors, antibody lists and instruments write them.

`vendor_spellings.csv` was compiled by hand from public conventions: COMET's "host antibody dye", Cell DIVE's
"marker-dye-vendor", barcodes of PhenoCycler, isotopes of mass cytometry, clones and catalogue numbers of data sheets.
An empty marker means that none of the 175 of Table S2 is meant: another protein, a form of one, or no protein at all.
The last rows were written down after the patterns; of their 90 names 74 were read at once, and none as another marker.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from kronos_sc.markers import match, paper_vocabulary
from kronos_sc.markers._concepts import concepts, find
from kronos_sc.markers._match import _row
from kronos_sc.markers._spelling import spellings

TABLE = pd.read_csv(Path(__file__).with_name("vendor_spellings.csv"), keep_default_na=False)
VOCABULARY = paper_vocabulary()
# One of each kind; "@" is the marker.
AFFIXES = [
    "rb @ Cy5",
    "ms_@_TRITC",
    "@-AF488-CST",
    "BD @",
    "R01_@_100ms",
    "@(Er170)Di",
    "@ #9661",
    "@-BX047",
    "rb anti-@ (SP7)",
]
# Names that an affix makes the name of another protein, as their letters stand.
READ_TOGETHER = {("BD @", "CA1"), ("BD @", "CA2"), ("BD @", "CA4")}


@pytest.fixture(scope="module")
def found():
    return pd.DataFrame([_row(channel, VOCABULARY) for channel in TABLE["channel"]])  # each by itself, not as one image


@pytest.mark.parametrize("convention", TABLE["convention"].unique())
def test_a_convention_is_read(found, convention):
    rows = TABLE["convention"] == convention
    assert (
        found.loc[rows, ["channel", "marker"]].to_numpy().tolist()
        == TABLE.loc[rows, ["channel", "marker"]].to_numpy().tolist()
    )


def test_the_table_is_large_and_holds_what_must_not_be_found():
    assert len(TABLE.drop_duplicates("channel")) == len(TABLE) > 500
    assert (TABLE["marker"] == "").sum() > 140
    assert set(TABLE["marker"]) - {""} <= set(VOCABULARY.names)


def test_blanks_controls_dyes_and_elements_are_no_lost_antibodies(found):
    """They are called what they are, so that no warning speaks of them."""
    rows = TABLE[(TABLE["convention"] == "no marker") & (TABLE["marker"] == "")]
    unknown = found.loc[rows.index][found.loc[rows.index, "note"] == "unknown name"]
    assert set(unknown["channel"]) == {"cell_id:cell_id", "CST", "5-T4", "SP7"}  # a clone, and osterix


@pytest.mark.parametrize("turn", range(len(AFFIXES)))
def test_no_affix_makes_a_protein_another_one(turn):
    """Every protein of the table, also those that no model knows, with three of the affixes."""
    wrong = []
    affix = AFFIXES[turn]
    for name, concept in list(concepts().items())[turn % 3 :: 3]:
        got = find(affix.replace("@", name))
        if got and got.is_marker and got != concept and (affix, name) not in READ_TOGETHER:
            wrong.append((name, got.name))
    assert wrong == []


@pytest.mark.parametrize("host", ["rb", "rat", "Ms", "mouse", "gt", "goat", "hu", "sh", "gp", "guinea pig"])
def test_a_host_in_front_never_hides_a_marker(host):
    """Where "ms RB" and "rat IgM" could be controls, the user is asked."""
    asked = {"RB", "IGM"}
    panel = match([f"{host} {name} Cy5" for name in VOCABULARY.names], VOCABULARY)
    lost = [name for name, got in zip(VOCABULARY.names, panel["marker"], strict=True) if got != name]
    assert set(lost) <= asked
    assert set(panel.loc[panel["marker"] == "", "how"]) <= {"ambiguous"}


@pytest.mark.parametrize(
    ("channel", "near"),
    [("rb Cy5", "RB"), ("anti-rb AF488", "RB"), ("rb 12345", "RB"), ("ms Rb TRITC", "RB"), ("rat IgM Cy5", "IGM")],
)
def test_what_may_be_a_control_or_a_protein_is_asked_for(channel, near):
    assert match([channel], VOCABULARY).loc[0, ["how", "near"]].tolist() == ["ambiguous", near]


@pytest.mark.parametrize("name", ["rb", "RB-AF488", "CD45-RB", "Nov", "ab", "5-T4", "4-1BB"])
def test_a_word_that_is_all_there_is_stays(name):
    assert name.split("-AF")[0] in spellings(name)
    assert "" not in spellings(name)
