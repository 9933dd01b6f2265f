"""Wording: what was found, what exists, what to call."""

import numpy as np
import pytest

from kronos_sc._core import checks


def test_listed_shows_ten_and_counts_the_rest():
    assert checks.listed(range(3)) == "'0', '1', '2'"
    assert checks.listed(range(12)).endswith("'9' and 2 more")
    assert checks.numbers(range(12)).endswith("8, 9 and 2 more")
    assert checks.listed([]) == checks.numbers([]) == "none"
    assert checks.listed(iter("ab"), most=1) == "'a' and 1 more"


def test_known_suggests():
    assert checks.known("CD3", ["CD3"], what="channel", fix="") == "CD3"
    with pytest.raises(
        KeyError, match=r"There is no channel 'cd33'; there are: 'CD3', 'CD31'\. Did you mean 'CD3'\? Look again"
    ):
        checks.known("cd33", ["CD3", "CD31"], what="channel", fix="Look again.")


def test_numbers_are_checked():
    assert checks.positive_integer(np.int64(3), name="n") == 3
    for bad in (0, -1, 2.0, "3", None, True):
        with pytest.raises(ValueError, match="n must be a whole number of at least 1, got"):
            checks.positive_integer(bad, name="n")
    for good in (3, 0.5, np.float32(0.5), np.int64(3)):
        found = checks.positive_number(good, name="C")
        assert type(found) is float
        assert found == good
    for bad in (0, -1.0, np.inf, np.nan, "3", None, True, np.bool_(True), [1.0], np.array(1.0), 1j):
        with pytest.raises(ValueError, match="C must be a positive number, got"):
            checks.positive_number(bad, name="C")


def test_repeated():
    assert checks.repeated("abcbca") == ["a", "b", "c"]
