"""Named antibodies that match nothing are spoken of, and what is no antibody is not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from kronos_sc.markers import match, paper_vocabulary
from kronos_sc.markers._lost import lost

TABLE = pd.read_csv(Path(__file__).with_name("real_channels.csv"), keep_default_na=False)
VOCABULARY = paper_vocabulary()


def test_a_name_near_a_marker_s_is_lost():
    said = lost(match(["DAPI", "CD3", "CD8", "ck CD20 Cy5", "Blank", "Na", "CK14"], VOCABULARY))
    assert said.startswith(
        "1 of 5 named channels are left out, although their names are near a marker's: 'ck CD20 Cy5' (near"
    )
    assert "channels={'ck CD20 Cy5': " in said
    assert "CK14" not in said  # another protein, and rightly not read


def test_fewer_than_half_are_found():
    said = lost(match(["DAPI", "CD3", "ER", "AR", "xyzzy", "Blank", "Au", "totalIon"], VOCABULARY))
    assert said.startswith(
        "Of 5 named channels, 2 match a marker; these are left out: 'ER' (known protein ER, not in this vocabulary)"
    )
    assert "channels={'ER': 'unseen', 'AR': 'unseen', 'xyzzy': 'unseen'}" in said
    assert lost(match(["DAPI", "CD3", "ER", "AR"], VOCABULARY)) is None  # half


@pytest.mark.parametrize(
    "channels",
    [
        ["DAPI", "Blank", "Na", "Au", "FITC", "rb IgG"],
        ["DNA_1", "DNA_2", "DNA_3"],
        ["DAPI", "CD4", "CD4 Cy7", "CD4-FITC"],
    ],
)
def test_blanks_and_second_channels_are_not_lost(channels):
    assert lost(match(channels, VOCABULARY)) is None


def test_what_the_user_left_out_is_not_lost():
    given = {"AR": None, "ER": "unseen", "ck CD20 Cy5": None}
    assert lost(match(["DAPI", "AR", "ER", "ck CD20 Cy5"], VOCABULARY, given=given)) is None


@pytest.mark.parametrize("folder", TABLE["folder"].unique())
def test_real_panels_are_quiet_but_for_those_of_other_proteins(folder):
    """Of the breast panel the model knows 6 of 13, of the IMC test data 2 of 8."""
    channels = TABLE.loc[TABLE["folder"] == folder, "channel"]
    said = lost(match(channels, VOCABULARY)) or ""
    assert "near a marker's" not in said
    assert bool(said) == (folder in ("celldive_breast_13ch", "imc_mcd_testdata"))
