"""What differs between two calls, in words."""

import pytest

from kronos_sc._store import differences


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        ({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 2]}, []),
        ({"patch_size": [64]}, {"patch_size": [32]}, ["patch_size was 64 and is 32 now"]),
        ({"mask_fill": "mean"}, {"mask_fill": "zero"}, ["mask_fill was 'mean' and is 'zero' now"]),
        ({"mpp": None}, {"mpp": 0.5}, ["mpp was missing and is 0.5 now"]),
        ({"sha256": "a" * 64}, {"sha256": "b" * 64}, ["weights differ"]),
        ({"image": {"pixels sha256": "1"}}, {"image": {"pixels sha256": "2"}}, ["weights image pixels differ"]),
        ([["CD3", 1], ["CD8", 2]], [["CD8", 2], ["CD3", 1]], ["weights is in another order"]),
        ([["CD3", 1], ["CD8", 2]], [["CD8", 2], ["CD20", 3]], ["weights had CD3 1 and has CD20 3 instead"]),
        ([["CD3", 1], ["CD8", 2]], [["CD8", 2]], ["weights lacks CD3 1 now"]),
        ([["CD8", 2]], [["CD8", 2], ["CD3", 1], ["CD4", 4]], ["weights has CD3 1, CD4 4 now, and had not"]),
        ([1, 1, 2], [1, 2], ["weights had 3 entries and has 2 now"]),
        ({}, {"new": 3}, ["new was missing and is 3 now"]),
    ],
)
def test_differences(there, here, words):
    name = "weights" if any("weights" in word for word in words) else ""
    assert differences(there, here, name=name) == words


def test_long_lists_are_cut():
    (line,) = differences([[i] for i in range(9)], [[99], [98]], name="panel")
    assert line == "panel had 0, 1, 2, 3 and 5 more and has 99, 98 instead"
