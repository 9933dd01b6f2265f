"""Lists of channels that say what some of them are."""

from __future__ import annotations

import pytest

from kronos_sc.markers import match, paper_vocabulary
from kronos_sc.markers._selection import require_used, selected

NAMES = ["DAPI", "Androgen Receptor", "A=B", "A", "A=B=C", "CD3e"]


@pytest.mark.parametrize(
    ("items", "chosen"),
    [
        (["DAPI", "Androgen Receptor=unseen"], {"DAPI": "", "Androgen Receptor": "unseen"}),
        (["A=B"], {"A=B": ""}),  # the channel of that name
        (["A=B=CD3"], {"A=B": "CD3"}),  # the longest channel
        (["A=B=C=CD3", "A=CD8"], {"A=B=C": "CD3", "A": "CD8"}),
        ([" A = CD3 ".strip()], {"A": "CD3"}),
        ("DAPI", {"DAPI": ""}),
        (["DAPI", "DAPI"], {"DAPI": ""}),
    ],
)
def test_items(items, chosen):
    assert selected(items, NAMES) == chosen


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        (["DAPI", "AR=unseen"], KeyError, "no channel 'AR=unseen'; it has: 'DAPI', 'Androgen Receptor'"),
        (["DAPI="], KeyError, "no channel 'DAPI='"),
        (["A=CD3", "A=CD8"], ValueError, "channels names 'A' as 'CD3' and as 'CD8'"),
        (["A=CD3", "A"], ValueError, "channels names 'A' as 'CD3' and as 'A'"),
    ],
)
def test_items_that_name_nothing_or_two_things(items, error, message):
    with pytest.raises(error, match=message):
        selected(items, NAMES)


def test_the_advice_followed_to_the_letter_works():
    channels = ["DNA_1", "DNA_2", "AR", "ck CD8 x", "xyzzy", "Blank", "CD3"]
    vocabulary = paper_vocabulary()
    chosen = selected(channels, channels)
    with pytest.raises(
        ValueError, match=r"5 of 7 channels listed .*'AR' \(known protein AR.*'Blank' \(not a marker\)"
    ) as error:
        require_used(match(channels, vocabulary), chosen)
    assert "channels=['DNA_1', 'AR=unseen', 'ck CD8 x=CYTOKERATIN', 'xyzzy=unseen', 'CD3']" in str(error.value)
    again = selected(["DNA_1", "AR=unseen", "ck CD8 x=CYTOKERATIN", "xyzzy=unseen", "CD3"], channels)
    given = {name: again.get(name, None) for name in channels if again.get(name, None) != ""}
    require_used(match(channels, vocabulary, given=given), again)
