"""Channel names: given as a list or a file, else as stored, else numbered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kronos_sc._core.checks import listed, repeated
from kronos_sc._core.log import info
from kronos_sc.io._paths import existing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kronos_sc.io._open import Source

# A panel file often has several of these; those that can only be a marker's name go first.
_COLUMNS = ("marker_name", "marker", "target", "channel_name", "name", "label", "antibody", "biomarker", "channel")


def given_names(channels: Sequence[str] | str | Path | None) -> list[str] | None:
    """Return the names that a user gave, as a list or as the path of a file that holds them."""
    if channels is None:
        return None
    names = _from_file(existing(channels, argument="channels")) if isinstance(channels, (str, Path)) else list(channels)
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        msg = f"channels must be names, got {listed(wrong)} among {len(names)}. Pass one text per channel, as in channels=['DAPI', 'CD3']."
        raise TypeError(msg)
    return [name.strip() for name in names]


def _from_file(path: Path) -> list[str]:
    """Read one name per row from the column that holds names, or one name per line."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not lines:
        msg = f"{str(path)!r} holds no channel names. Write one name per line, or a table with a column 'marker'."
        raise ValueError(msg)
    separator = next((mark for mark in "\t;," if mark in lines[0]), None)
    header = [column.strip().strip('"').lower().replace(" ", "_").replace("-", "_") for column in lines[0].split(separator or "\n")]
    column = next((name for name in _COLUMNS if name in header), None)
    if separator is None:
        return [line.strip('"') for line in lines[column is not None :]]
    if column is not None:
        table = pd.read_csv(path, sep=separator, dtype=str, encoding="utf-8-sig")
        return table.iloc[:, header.index(column)].fillna("").tolist()
    msg = (
        f"{str(path)!r} has the columns {listed(lines[0].split(separator))}, none of them known to hold names. "
        "Name one of them 'marker', or pass channels=[...]."
    )
    raise ValueError(msg)


def channel_names(source: Source, given: list[str] | None) -> list[str]:
    """Return one distinct name per channel, or raise a ValueError."""
    count = source.levels[0].shape[0]
    if given is not None:
        if len(given) != count:
            msg = (
                f"channels names {len(given)} channels, but {source.path.name!r} has {count} ({_stored(source)}). "
                "Give one name per channel, in the order stored."
            )
            raise ValueError(msg)
        names, origin = given, "channels="
    elif any(source.names):
        names, origin = [name or f"channel_{i}" for i, name in enumerate(source.names)], source.names_from
        if missing := sum(name is None for name in source.names):
            info(f"{source.path.name}: {missing} of {count} channels have no name ({origin}) and are numbered; pass channels= to name them")
    else:
        names, origin = [f"channel_{i}" for i in range(count)], ""
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
