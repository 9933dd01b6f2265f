"""Log lines for people; the root logger and its handlers are never touched."""

from __future__ import annotations

import logging
import sys

from kronos_sc._core.settings import settings

_LOGGER = logging.getLogger("kronos_sc")


def _emit(level: int, needed: int, message: str) -> None:
    """Hand `message` to whatever logging the user set up; without any, write it to standard error."""
    if settings.verbosity < needed:
        return
    if _LOGGER.hasHandlers():
        _LOGGER.log(level, message)
    else:
        sys.stderr.write(f"kronos_sc: {message}\n")


def info(message: str) -> None:
    """Say what was found, chosen or added."""
    _emit(logging.INFO, 2, message)


def detail(message: str) -> None:
    """Say what only someone looking for it wants to know."""
    _emit(logging.DEBUG, 3, message)
