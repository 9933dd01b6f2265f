"""A clock that jumps, and files from any year."""

import os
import time

import numpy as np
import pytest

from kronos_sc._store import EmbeddingStore
from kronos_sc.models import KronosModel

pytestmark = pytest.mark.slow(5)  # seconds, for the file


@pytest.mark.parametrize("jump", [-(10**8), 10**9])
def test_the_clock_jumps_at_every_look(case, monkeypatch, jump):
    now = {name: getattr(time, name) for name in ("time", "time_ns")}
    looks = iter(range(10**9))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now["time"]() + jump * next(looks))
        patch.setattr(time, "time_ns", lambda: now["time_ns"]() + jump * 10**9 * next(looks))
        table = case.embed()
    assert 0 <= table.uns["kronos"]["seconds"] < 600
    case.check(table)


def test_the_clock_jumps_between_two_calls(case, monkeypatch):
    """The second run finds files from the future and from 1970, and takes them for what they hold."""
    encode = KronosModel.encode
    turns = iter(range(100))

    def failing(self, *arguments):
        if next(turns) == 6:
            raise RuntimeError
        return encode(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(KronosModel, "encode", failing)
        with pytest.raises(RuntimeError):
            case.embed()
    assert case.check_partial() > 0
    for number, path in enumerate(sorted(case.store.rglob("*"))):
        os.utime(path, (0, 0) if number % 2 else (2_525_000_000, 2_525_000_000))  # 1970, 2050
    table = case.embed()
    case.check(table)
    for path in case.store.rglob("*"):
        os.utime(path, (1, 1))
    case.check(case.embed())


def test_stores_of_the_same_second_are_told_apart(case):
    """Same path, same time of change, other features: an array of the first does not give rows of the second."""
    lazy = case.embed().obsm["X_kronos"]
    os.utime(case.store / "zarr.json", (1, 1))
    first = case.embed().obsm["X_kronos"]
    again = case.embed(overwrite=True, patch_size=48).obsm["X_kronos"]
    os.utime(case.store / "zarr.json", (1, 1))
    assert again.name not in (lazy.name, first.name)
    assert EmbeddingStore(case.store).features("marker").name == again.name
    with pytest.raises(OSError, match="not the embedding any more"):
        lazy.compute()
    assert not np.array_equal(again.compute(), case.truth["marker"])
