"""Memory or disk, when nobody says which."""

import logging

import numpy as np
import pytest

from kronos_sc import settings

from .conftest import contents, features_of

pytestmark = pytest.mark.slow(5)  # seconds, for the file


@pytest.fixture
def lines(caplog, monkeypatch):
    """Return a function that gives the lines of the log so far."""
    monkeypatch.setattr(settings, "verbosity", 2)
    caplog.set_level(logging.DEBUG)
    return lambda: caplog.text


def test_large_features_go_beside_the_tissue(case, monkeypatch, lines, capsys):
    size = sum(values.nbytes for values in (case.truth["marker"], case.truth["cls"]))
    monkeypatch.setattr(settings, "memory", size - 1)
    table = case.embed(store=None)
    case.store = case.folder / "tissue.table.kronos.zarr"
    case.check(table)
    said = lines() + capsys.readouterr().err
    assert f"They go to {case.store}" in said
    assert "settings.memory" in said


def test_small_features_stay_in_memory(case, monkeypatch):
    size = sum(values.nbytes for values in (case.truth["marker"], case.truth["cls"]))
    for memory in (size, None):
        monkeypatch.setattr(settings, "memory", memory)
        before = contents(case.folder)
        table = case.embed(store=None)
        assert isinstance(table.obsm["X_kronos"], np.ndarray)
        assert contents(case.folder) == before


def test_nothing_at_all_fits(case, monkeypatch):
    monkeypatch.setattr(settings, "memory", 0)
    assert not isinstance(case.embed(store=None).obsm["X_kronos"], np.ndarray)


def test_memory_whatever_the_size(case, monkeypatch):
    monkeypatch.setattr(settings, "memory", 1)
    before = contents(case.folder)
    table = case.embed(store=False)
    assert isinstance(table.obsm["X_kronos"], np.ndarray)
    np.testing.assert_array_equal(features_of(table)["cls"], case.truth["cls"])
    assert contents(case.folder) == before


@pytest.mark.parametrize("store", [None, True])
def test_a_tissue_that_lies_nowhere(case, make, monkeypatch, store):
    monkeypatch.setattr(settings, "memory", 1)
    sdata = make()
    with pytest.raises(
        ValueError,
        match=r"not on disk.* Write it first with sdata\.write\(.*name a folder with store=, or keep .* with "
        r"store=False",
    ) as caught:
        case.embed(sdata, store=store)
    assert ("settings.memory" in str(caught.value)) == (store is None)
    assert "X_kronos" not in sdata["table"].obsm
