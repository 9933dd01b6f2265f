"""Of several channels of one marker, one is read, where it is clear which."""

from __future__ import annotations

import pytest

from kronos_sc.markers import Marker, Vocabulary, check, match, paper_vocabulary
from kronos_sc.markers._lost import names_left_out, stains_left_out

VOCABULARY = paper_vocabulary(mean=0.1, std=0.2)
CYCLIC = {
    "CyCIF": [f"DNA_{i}" for i in range(1, 11)],
    "Cell DIVE": ["DAPI_AF_R01", "DAPI_R01", "DAPI_R02"],
    "mIHC": ["Hoechst-2", "Hoechst-3"],
    "PhenoCycler": ["DAPI-01", "DAPI-02", "DRAQ5"],
    "CODEX": ["HOECHST1:Cyc_1_ch_1", "HOECHST2:Cyc_2_ch_1"],
    "IMC": ["DNA1", "DNA2"],
    "masses": ["191Ir_DNA1", "193Ir_DNA2"],
    "exact later": ["DNA_1", "DAPI"],
}


@pytest.mark.parametrize("stains", CYCLIC.values(), ids=CYCLIC)
def test_the_first_nuclear_stain_is_read(stains):
    panel = match([stains[0], "CD3", *stains[1:], "CD8"], VOCABULARY)
    check(panel)
    assert panel["marker"].tolist() == ["DAPI", "CD3", *[""] * (len(stains) - 1), "CD8"]
    others = panel[panel["channel"].isin(stains[1:])]
    assert set(others["note"]) == {f"nuclear stain of another cycle: {stains[0]!r} is read"}
    assert set(others["near"]) == {"DAPI"}
    assert (others["id"] == -1).all()
    told = stains_left_out(panel)
    assert told.startswith(f"{stains[0]!r} is read, and the nuclear stains of other cycles are left out: {stains[1]!r}")
    assert f"channels={{{stains[1]!r}: 'DAPI'}}" in told
    assert names_left_out(panel) is None


def test_the_user_chooses_another_cycle():
    panel = match(["DNA_1", "DNA_2", "DNA_3", "CD3"], VOCABULARY, given={"DNA_2": "DAPI"})
    assert panel["how"].tolist() == ["dropped", "given", "dropped", "exact"]
    assert panel.loc[0, "note"] == "the same marker as 'DNA_2', which you named"
    assert stains_left_out(panel) is None
    first_dropped = match(["DNA_1", "DNA_2", "DNA_3", "CD3"], VOCABULARY, given={"DNA_1": None})
    assert first_dropped["marker"].tolist() == ["", "DAPI", "", "CD3"]


def test_an_exact_name_wins_over_an_alias_whichever_comes_first():
    for channels in (["DAPI", "CD4", "CD4 Cy7"], ["CD4 Cy7", "DAPI", "CD4"]):
        panel = match(channels, VOCABULARY)
        check(panel)
        row = panel.set_index("channel").loc["CD4 Cy7"]
        assert row[["marker", "how", "near"]].tolist() == ["", "dropped", "CD4"]
        assert row["note"] == "the same marker as 'CD4', which has its very name"
        assert "Read them instead with channels={'CD4 Cy7': 'CD4'}" in names_left_out(panel)
        assert stains_left_out(panel) is None


def test_both_given_is_an_error_and_histones_are_no_counterstain():
    with pytest.raises(ValueError, match="CD4 is 'CD4', 'x'"):
        check(match(["DAPI", "CD4", "x"], VOCABULARY, given={"x": "CD4", "CD4": "CD4"}))
    panel = match(["HH3", "Histone H3"], VOCABULARY)
    assert panel["marker"].tolist() == ["HISTONE-H3"] * 2


def test_a_stain_of_a_model_s_own_name_is_one_too():
    vocabulary = Vocabulary(
        "own", (Marker("NUC", 5, 0.1, 0.2, role="nuclear", aliases=("Nuc1", "Nuc2")), Marker("CD3", 200, 0.1, 0.2))
    )
    assert match(["Nuc1", "Nuc2", "CD3"], vocabulary)["marker"].tolist() == ["NUC", "", "CD3"]
