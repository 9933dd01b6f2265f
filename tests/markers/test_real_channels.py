"""Channel names of published panels, each with the marker of Table S2 that it is.

Decided by biology, not by running the code.

`real_channels.csv` covers the folders of public data named in its first column. An empty marker means that none of the
175 is meant: another protein (CD79a, keratin 14), a mixture (CK-EPCAM), an element, a total, a compartment, a dye. A
name that an instrument cut off carries the marker that the publication of the panel gives, although the name alone does
not tell: such a channel may stay unresolved.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd
import pytest

from kronos_sc.markers import match, paper_vocabulary, recognise

TABLE = pd.read_csv(Path(__file__).with_name("real_channels.csv"), keep_default_na=False)
FOLDERS = sorted(TABLE["folder"].unique())
NOTHING = [
    "Na",
    "Si",
    "Au",
    "C",
    "Ca",
    "Fe",
    "Ta",
    "Background",
    "Background (128)",
    "totalIon",
    "Membrane",
    "107Ag",
    "BG1",
    "CH_7",
    "FITC",
    "Cy5",
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_channel_resolves_to_a_marker_that_it_is_not(folder):
    rows = TABLE[TABLE["folder"] == folder]
    panel = match(rows["channel"], paper_vocabulary(), single=False)
    wrong = [
        (c, got, want)
        for c, got, want in zip(rows["channel"], panel["marker"], rows["marker"], strict=True)
        if got not in ("", want)
    ]
    assert wrong == []


def test_at_least_95_percent_of_the_channels_that_are_markers_resolve():
    real = TABLE[TABLE["marker"] != ""].drop_duplicates("channel")
    got = match(real["channel"], paper_vocabulary(), single=False)["marker"]
    assert len(real) > 200
    assert (got.to_numpy() == real["marker"].to_numpy()).mean() >= 0.95


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != "cycif_lymph_48ch_100px"])
def test_every_marker_resolves_where_no_name_is_cut_off(folder):
    rows = TABLE[(TABLE["folder"] == folder) & (TABLE["marker"] != "")]
    if len(rows):
        assert match(rows["channel"], paper_vocabulary(), single=False)["marker"].tolist() == rows["marker"].tolist()


@pytest.mark.parametrize("name", NOTHING)
def test_elements_totals_and_dyes_are_no_marker(name):
    panel = match([name], paper_vocabulary())
    assert panel.loc[0, ["marker", "id", "how", "near", "note"]].tolist() == ["", -1, "dropped", "", "not a marker"]
    assert recognise(name) is None


def test_the_table_covers_every_named_channel_of_the_test_data():
    root = os.environ.get("KRONOS_SC_TEST_DATA")
    if not root:
        pytest.skip("KRONOS_SC_TEST_DATA names no folder of test data")
    import tifffile

    missing = []
    for path in sorted(Path(root).glob("*/*.ome.tif*")):
        with tifffile.TiffFile(path) as tiff:
            names = re.findall(r'<Channel [^>]*?Name="([^"]*)"', tiff.pages[0].tags["ImageDescription"].value)
        known = set(TABLE.loc[TABLE["folder"] == path.parent.name, "channel"])
        missing += [(path.name, name) for name in names if name not in known]
    assert missing == []
