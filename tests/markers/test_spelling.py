"""What an instrument adds to a name is removed, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronos_sc.markers import match, paper_vocabulary, recognise
from kronos_sc.markers._spelling import fold, isotope, shorten, spellings

VOCABULARY = paper_vocabulary()
CYCLES = st.integers(1, 40)
# "@" is the marker, "#" a number.
AFFIXES = [
    "@:Cyc_#_ch_2",
    "@ - AF647",
    "@-Cy5",
    "@_AF555",
    "@_142Nd",
    "@(Nd142Di)",
    "@_1841((3177))Nd142",
    "@ (Opal 570)",
    "@ (142)",
    "@.tif",
]
AFFIXES += [
    "R#_@",
    "cycle#_@",
    "Cyc_#_ch_3_@",
    "Nd142Di_@",
    "142Nd-@",
    "reg001_cyc00#_@",
    "anti-@",
    "S00#_@",
    "9876Nd142Di @",
    "AF647 - @",
]
WHOLE = [
    "CD45RO",
    "TCR-Va7.2",
    "H3K27AC",
    "CD1A",
    "IL-1b",
    "S100",
    "b2M",
    "P53",
    "RB",
    "CS",
    "RAS",
    "IDH",
    "CD106",
    "CA9",
    "C4A",
    "C1Q",
    "HLA-1",
]
WHOLE += ["CD107A", "HSP27", "MCT"]


@pytest.mark.parametrize(
    ("channel", "marker"),
    [
        ("DAPI-01", "DAPI"),
        ("DAPI_R2", "DAPI"),
        ("R1_DAPI", "DAPI"),
        ("DAPI (Round 3)", "DAPI"),
        ("(Ir193)", "DAPI"),
        ("HOECHST1:Cyc_1_ch_1", "DAPI"),
        ("CD4 - AF647", "CD4"),
        ("AF647 - CD4", "CD4"),
        ("CD4 Cy7", "CD4"),
        ("CD8-Cy5", "CD8"),
        ("FOXP3 (Opal 570)", "FOXP3"),
        ("Opal 570 FOXP3", "FOXP3"),
        ("CD20_AF555", "CD20"),
        ("CD20 Alexa Fluor 555", "CD20"),
        ("CD3 [SP7]", "CD3"),
        ("CD4 APC REA623", "CD4"),
        ("ArgoFluor 572L CD8", "CD8"),
        ("rb a-PD-1 Cy5", "PD1"),
        ("rb hCD45", "CD45"),
        ("CD20 (L26)", "CD20"),
        ("CD8 (C8/144B)", "CD8"),
        ("CD163 clone 10D6", "CD163"),
        ("PD-1 EPR4877(2)", "PD1"),
        ("CD44 - stroma:Cyc_2_ch_2", "CD44"),
        ("CD194 - CCR4 chemokine R:Cyc_14_ch_3", "CCR4"),
        ("CD3(Er170Di)", "CD3"),
        ("170Er_CD3", "CD3"),
        ("CD8aDy162", "CD8"),
        ("HistoneH3In113Di", "HISTONE-H3"),
        ("8001752Sm152Di CD3epsi", "CD3"),
        ("H3K27Ac_1977((2242))Yb172(Yb172Di)", "H3K27AC"),
        ("HH3 (89)", "HISTONE-H3"),
        ("CD 163 AF488", "CD163"),
        ("S100_AF488", "S100"),
        ("HLA.DR", "HLA-DR"),
        ("CD45 (RO)", "CD45RO"),
        ("TCR Vα7.2", "TCR-Va7.2"),
        ("CD8.tif", "CD8"),
    ],
)
def test_affixes_are_stripped(channel, marker):
    assert match([channel], VOCABULARY).loc[0, "marker"] == marker


@pytest.mark.parametrize("name", WHOLE)
def test_names_are_not_stripped_further(name):
    assert spellings(name) == [name]
    assert match([name], VOCABULARY).loc[0, ["marker", "how"]].tolist() == [name, "exact"]


@pytest.mark.parametrize(
    "name",
    [
        "STAT3 (phospho Y705)",
        "Histone H3 - K9me3",
        "RB (phospho S807)",
        "EGFR (pY1068)",
        "H2AX (S139)",
        "EGFR - phospho",
    ],
)
def test_a_form_is_not_taken_for_a_remark_or_clone(name):
    assert match([name], VOCABULARY).loc[0, "marker"] == ""


@pytest.mark.parametrize("name", ["CRB", "RB5X", "CS2", "KRAS2", "MCTX", "ARX", "ERX", "TRAS"])
def test_short_names_match_only_as_whole_names(name):
    assert match([name], VOCABULARY).loc[0, "marker"] == ""


@pytest.mark.parametrize(
    ("text", "is_metal"), [("Pr141", True), ("107Ag", True), ("Sm(147)", True), ("(Ir193)", True), ("ER (142)", False)]
)
def test_isotopes(text, is_metal):
    assert isotope(text) is is_metal


@pytest.mark.parametrize("name", ["CD106", "CD112", "Y204", "CA9", "p53", "Er", "PR"])
def test_proteins_are_no_isotopes(name):
    assert not isotope(name)


def test_fold_and_shorten():
    assert fold("β-Catenin_1 ") == "BCATENIN1"
    assert fold("CD3-1") == "CD3.1" != fold("CD31")
    assert fold("TCR Va7-2.") == fold("TCR-Va7.2")
    assert shorten(fold("TGF-beta")) == fold("TGFβ")


@given(st.sampled_from(VOCABULARY.names), st.sampled_from(AFFIXES), CYCLES)
def test_affixes_never_change_the_match_of_a_table_s2_name(name, affix, cycle):
    panel = match([affix.replace("#", str(cycle)).replace("@", name)], VOCABULARY)
    assert panel.loc[0, ["marker", "how"]].tolist() == [name, "alias"]


@given(st.sampled_from(VOCABULARY.names), st.sampled_from([str.lower, str.upper, str.title, str.swapcase]))
def test_case_never_matters(name, change):
    assert match([change(name)], VOCABULARY).loc[0, ["marker", "how"]].tolist() == [name, "exact"]


@given(st.text(max_size=40))
def test_any_text_is_a_channel_name(text):
    assert recognise(text) is None or recognise(text) == recognise(text.strip())
    assert len(match([text], VOCABULARY)) == 1
