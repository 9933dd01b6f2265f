"""Channel names: given as a list or a file, else as stored, else numbered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kronos_sc._core.checks import listed, repeated
from kronos_sc._core.log import info
from kronos_sc._core.paths import existing
from kronos_sc._core.warn import warn
from kronos_sc.markers._distinct import numbered
from kronos_sc.markers._panel_file import PanelFile, read_panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kronos_sc.io._open import Source


def given_names(channels: Sequence[str] | str | Path | None) -> PanelFile | None:
    """Return the names that a user gave, as a list or as the path of a file that holds them."""
    if channels is None:
        return None
    if isinstance(channels, (str, Path)):
        return read_panel(existing(channels, argument="channels"))
    names = list(channels)
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        msg = (
            f"channels must be names, got {listed(wrong)} among {len(names)}. Pass one text per channel, as in "
            "channels=['DAPI', 'CD3']."
        )
        raise TypeError(msg)
    return PanelFile("channels=", tuple(name.strip() for name in names), tuple(range(1, len(names) + 1)))


def channel_names(source: Source, given: PanelFile | None) -> list[str]:
    """Return one distinct name per channel, or raise a ValueError."""
    count = source.levels[0].shape[0]
    if given is not None:
        if count not in given.counts:
            msg = (
                f"channels names {given.told()}, but {source.path.name!r} has {count} ({_stored_names(source)}). "
                "Give one name per channel, in the order stored."
            )
            raise ValueError(msg)
        names = given.names(count)
        _warn_of_another_order(source, names)
        origin = "channels="
    elif any(source.names):
        origin = source.names_from
        names = numbered(
            [name or f"channel_{i}" for i, name in enumerate(source.names)], f"{source.path.name} ({origin})"
        )
        if missing := sum(name is None for name in source.names):
            info(
                f"{source.path.name}: {missing} of {count} channels have no name ({origin}) and are numbered; pass "
                "channels= to name them"
            )
    else:
        names = [f"channel_{i}" for i in range(count)]
        origin = ""
        info(f"{source.path.name} holds no channel names: they are numbered; pass channels= to name them")
    if duplicates := repeated(names):
        msg = (
            f"{source.path.name!r} has channels of the same name: {listed(duplicates)} ({origin}). "
            "Models find markers by name, so each must be its own. "
            f"Pass {count} distinct names with channels=[...], as in 'DAPI_1', 'DAPI_2'."
        )
        raise ValueError(msg)
    return names


def _warn_of_another_order(source: Source, names: list[str]) -> None:
    """Warn where the names given are those of the file, at other planes.

    Such is a panel sorted by hand beside files sorted by name.
    """
    plane_of = {
        name.casefold(): place for place, name in enumerate(source.names) if name and source.names.count(name) == 1
    }
    pairs = [(place, plane_of[name.casefold()]) for place, name in enumerate(names) if name.casefold() in plane_of]
    moved = [pair for pair in pairs if pair[0] != pair[1]]
    # few names in common say nothing, and a few swapped ones may well be a correction
    if 2 * len(pairs) < len(names) or 2 * len(moved) <= len(pairs):
        return
    stored = moved[0][1]
    warn(
        f"channels= gives {len(moved)} of {len(names)} channels of {source.path.name!r} another place than its "
        f"{source.names_from}: plane {stored} is {source.names[stored]!r} there and {names[stored]!r} here. The names "
        "given are taken; leave channels= out if those stored are right."
    )


def _stored_names(source: Source) -> str:
    if not source.names:
        return "no names stored"
    return f"stored: {listed(name or '?' for name in source.names)}"
