"""Putting what is finished in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def swap(new: Path, target: Path, *, aside: Path) -> None:
    """Put a finished folder in its place; an old one goes only afterwards, and comes back if that fails."""
    if target.exists():
        target.rename(aside)
    try:
        new.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise
