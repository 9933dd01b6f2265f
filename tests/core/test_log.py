"""Log lines and warnings go where the user looks."""

import logging
import warnings

import kronos_sc as ks
from kronos_sc._core import log
from kronos_sc._core.warn import warn


def test_verbosity(capsys, monkeypatch):
    monkeypatch.setattr(log._LOGGER, "hasHandlers", lambda: False)
    monkeypatch.setattr(ks.settings, "verbosity", 2)
    log.info("here")
    log.detail("not here")
    assert capsys.readouterr().err == "kronos_sc: here\n"
    monkeypatch.setattr(ks.settings, "verbosity", 0)
    log.info("nothing")
    assert capsys.readouterr() == ("", "")


def test_loggers_of_the_user_are_used(caplog):
    with caplog.at_level(logging.INFO, logger="kronos_sc"):
        log.info("here")
    assert caplog.messages == ["here"]


def test_warnings_point_at_the_caller():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn("careful")
    assert caught[0].filename == __file__
