"""Compiled functions where nothing can be kept."""

import numba
import pytest

from kronos_sc._core.compiled import compiled


@pytest.mark.parametrize(
    "error", [RuntimeError("cannot cache function: no locator available"), PermissionError("read-only")]
)
def test_without_a_place_to_keep_it(monkeypatch, error):
    njit, kept = numba.njit, []

    def refusing(*given, **how):
        kept.append(how.pop("cache", False))
        if kept[-1]:
            raise error
        return njit(*given, **how)

    monkeypatch.setattr(numba, "njit", refusing)

    @compiled("int64(int64)")
    def twice(number):
        return 2 * number

    assert twice(21) == 42
    assert kept[:2] == [True, False]
