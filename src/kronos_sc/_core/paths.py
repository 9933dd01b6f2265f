"""Paths given by a user: what is there, and what is near when it is not."""

from __future__ import annotations

from pathlib import Path

from kronos_sc._core.checks import listed, near


def existing(path: str | Path, *, argument: str) -> Path:
    """Return the path, its home expanded, or raise a FileNotFoundError that names files near it."""
    try:
        full = Path(path).expanduser()
    except TypeError:
        msg = (
            f"{argument} must be a path, got {type(path).__name__}. Arrays already in memory need no reader: "
            "see spatialdata.models.Image2DModel.parse."
        )
        raise TypeError(msg) from None
    if full.exists():
        return full
    folder = full.parent
    if not folder.is_dir():
        exists = next(parent for parent in folder.parents if parent.is_dir())
        msg = (
            f"There is no {str(full)!r}: the folder {str(folder)!r} does not exist; {str(exists)!r} does. Correct "
            f"{argument}=."
        )
        raise FileNotFoundError(msg)
    names = sorted(entry.name for entry in folder.iterdir())
    close = near(full.name, names)
    content = f"close names there: {listed(close)}" if close else f"it holds: {listed(names)}"
    msg = f"There is no {full.name!r} in {str(folder)!r}; {content}. Correct {argument}=."
    raise FileNotFoundError(msg)
