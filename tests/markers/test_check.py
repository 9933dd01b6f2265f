"""A panel that cannot be embedded is refused with the call that mends it."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_sc.markers import check, match, paper_vocabulary


def panel_of(*channels, given=None, mean=0.1, std=0.2):
    return match(channels, paper_vocabulary(mean=mean, std=std), given=given)


def test_a_good_panel_passes():
    check(panel_of("DAPI", "CD3", "Au", "CD79a"))
    check(panel_of("HH3", "CD3"))


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (["DAPI", "CD4-FITC", "CD4 Cy7"], r"CD4 is 'CD4-FITC', 'CD4 Cy7'.*channels={'CD4 Cy7': None}"),
        (["DAPI", "cd4", "CD4", "CD4 Cy7"], r"CD4 is 'cd4', 'CD4', 'CD4 Cy7'.*channels={'CD4': None, 'CD4 Cy7': None}"),
        (["HH3", "Histone H3", "CD3"], r"HISTONE-H3 is 'HH3', 'Histone H3'.*channels={'Histone H3': None}"),
        (
            ["DAPI", "IgA"],
            r"'IgA' may be IGA1, IGA2. Choose with channels={'IgA': 'IGA1'} or drop with channels={'IgA': None}",
        ),
        (
            ["FITC", "Cy5"],
            r"None of the 2 channels matches a marker of the model: 'FITC', 'Cy5'.*channels={'channel': 'CD3'}",
        ),
        (["CD3", "CD4"], r"No matched channel is a nuclear stain; matched are 'CD3', 'CD4'.*require_nuclear=False"),
    ],
)
def test_errors_name_the_fix(channels, message):
    with pytest.raises(ValueError, match=message):
        check(panel_of(*channels))


def test_the_proposed_fixes_work():
    check(panel_of("DAPI", "CD4-FITC", "CD4 Cy7", given={"CD4 Cy7": None}))
    check(panel_of("DAPI-01", "DAPI-02", "CD4", "CD4 Cy7"))
    check(panel_of("DAPI", "IgA", given={"IgA": "IGA1"}))
    check(panel_of("CD3"), require_nuclear=False)


def test_statistics_are_needed_for_matched_channels_only():
    with pytest.raises(
        ValueError, match=r"2 of 2 matched channels have no mean and standard deviation: 'DAPI', 'CD3'.*pp.marker_stats"
    ):
        check(panel_of("DAPI", "CD3", mean=np.nan, std=np.nan))
    panel = panel_of("DAPI", "CD79a", given={"CD79a": "unseen"})
    with pytest.raises(ValueError, match=r"1 of 2 matched channels .*: 'CD79a'"):
        check(panel)
    panel.loc[1, ["mean", "std"]] = [0.3, 0.0]
    with pytest.raises(ValueError, match="standard deviation of 'CD79a' is not positive"):
        check(panel)
    panel.loc[1, "std"] = 0.4
    check(panel)


def test_a_frame_that_is_no_panel():
    with pytest.raises(ValueError, match="lacks the columns 'how'"):
        check(panel_of("DAPI").drop(columns="how"))
