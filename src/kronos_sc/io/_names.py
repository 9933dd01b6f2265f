"""Channel names: given as a list or a file, else as stored, else numbered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kronos_sc._core.checks import listed, repeated
from kronos_sc._core.log import info
from kronos_sc._core.paths import existing
from kronos_sc.markers._distinct import numbered
from kronos_sc.markers._panel_file import Panel, read_panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kronos_sc.io._open import Source


def given_names(channels: Sequence[str] | str | Path | None) -> Panel | None:
    """Return the names that a user gave, as a list or as the path of a file that holds them."""
    if channels is None:
        return None
    if isinstance(channels, (str, Path)):
        return read_panel(existing(channels, argument="channels"))
    names = list(channels)
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        msg = f"channels must be names, got {listed(wrong)} among {len(names)}. Pass one text per channel, as in channels=['DAPI', 'CD3']."
        raise TypeError(msg)
    return Panel("channels=", tuple(name.strip() for name in names), tuple(range(1, len(names) + 1)))


def channel_names(source: Source, given: Panel | None) -> list[str]:
    """Return one distinct name per channel, or raise a ValueError."""
    count = source.levels[0].shape[0]
    if given is not None:
        if count not in given.counts:
            msg = (
                f"channels names {given.told()}, but {source.path.name!r} has {count} ({_stored(source)}). "
                "Give one name per channel, in the order stored."
            )
            raise ValueError(msg)
        names = given.names(count)
        origin = "channels="
    elif any(source.names):
        origin = source.names_from
        names = numbered([name or f"channel_{i}" for i, name in enumerate(source.names)], f"{source.path.name} ({origin})")
        if missing := sum(name is None for name in source.names):
            info(f"{source.path.name}: {missing} of {count} channels have no name ({origin}) and are numbered; pass channels= to name them")
    else:
        names = [f"channel_{i}" for i in range(count)]
        origin = ""
        info(f"{source.path.name} holds no channel names: they are numbered; pass channels= to name them")
    if twice := repeated(names):
        msg = (
            f"{source.path.name!r} has channels of the same name: {listed(twice)} ({origin}). "
            "Models find markers by name, so each must be its own. "
            f"Pass {count} distinct names with channels=[...], as in 'DAPI_1', 'DAPI_2'."
        )
        raise ValueError(msg)
    return names


def _stored(source: Source) -> str:
    return f"stored: {listed(name or '?' for name in source.names)}" if source.names else "no names stored"
