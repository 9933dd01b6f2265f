"""The order of the rows of a panel file: that of their channel numbers, where there are any."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from kronos_sc._core.checks import numbers
from kronos_sc._core.log import info
from kronos_sc._core.warn import warn
from kronos_sc.markers._panel_wide import CYCLE_TITLES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kronos_sc.markers._panel_text import Record

# Columns that can only mean the number of the plane; "channel" where it holds numbers, "channel index" counts within a
# cycle at times.
_NUMBERS = (
    *(
        "channelnumber",
        "channelno",
        "channelnr",
        "channelnum",
        "channelid",
        "channel",
        "channelindex",
        "channelidx",
        "ch",
    ),
    *("plane", "planenumber", "page", "pagenumber"),
)
# Columns that may number planes, or rows of a table as it was before somebody sorted it; "" is pandas' index, or "#".
_PERHAPS = ("", "index", "idx", "id", "no", "nr", "num", "number", "position", "pos", "order", "row")
_NUMBER = re.compile(r"(?:channel|chan|ch|plane|page)?[\s_:.\-#]*(\d+)(?:\.0)?", re.IGNORECASE)
_OME = re.compile(r"channel:(\d+):(\d+)", re.IGNORECASE)
_IN_CYCLE = re.compile(r"cyc(?:le)?[\s_\-]*(\d+)[\s_:\-]*ch(?:annel)?[\s_\-]*(\d+)", re.IGNORECASE)

Key = tuple[int, ...]


def channel_order(
    header: Record, rows: Sequence[Record], columns: dict[str, int], kept: Sequence[Sequence[int]], path: Path
) -> list[int]:
    """Return the positions of rows in the order of the planes, or raise a ValueError where numbers leave it open.

    Parameters
    ----------
    header
        Names the columns, for messages.
    rows
        Of the file.
    columns
        Place of each column by its squeezed name.
    kept
        Positions that may be all there is in the image.
    path
        For messages.
    """
    as_stored = list(range(len(rows)))
    column_and_keys = _keys(rows, columns)
    if column_and_keys is None:
        _warn_of_another_order(header, rows, columns, path)
        return as_stored
    column, keys = column_and_keys
    key_of = {position: key for position, key in enumerate(keys) if key is not None}
    values = list(key_of.values())
    if values == sorted(values) or _starts_over(values):
        return as_stored

    distinct = len(set(values)) == len(values)
    # the rows of the image carry the numbers of its planes, from 0 or from 1; or each cycle its own
    whole = any(_counts_up([keys[position] for position in part]) for part in (as_stored, *kept))
    if distinct and (whole or len(values[0]) > 1):
        info(f"{path.name}: rows are put in the order of their {header.cells[columns[column]] or column!r}")
        without_number = [position for position in as_stored if position not in key_of]
        return [*sorted(key_of, key=key_of.__getitem__), *without_number]
    said = numbers([".".join(map(str, value)) for value in values])
    msg = (
        f"The rows of {str(path)!r} are not in the order of their column {header.cells[columns[column]]!r} ({said}), "
        "and these numbers do not count the channels once each, from 0 or 1. "
        "Sort the rows as the channels are stored and correct or delete that column, or pass channels=[...]."
    )
    raise ValueError(msg)


def _keys(rows: Sequence[Record], columns: dict[str, int]) -> tuple[str, list[Key | None]] | None:
    """Return the first column that numbers channels one by one, else within a cycle, and what it says."""
    cycle = next((columns[name] for name in CYCLE_TITLES if name in columns), None)
    repeating = None
    for name in (name for name in _NUMBERS if name in columns):
        keys = [_key(record.cell(columns[name])) for record in rows]
        told = [key for key in keys if key is not None]
        if not told or any(key is None and record.cell(columns[name]) for key, record in zip(keys, rows, strict=True)):
            continue
        if len(set(told)) == len(told):
            return name, keys
        if repeating is None:
            repeating = name, _within(keys, rows, cycle)
    return repeating


def _warn_of_another_order(header: Record, rows: Sequence[Record], columns: dict[str, int], path: Path) -> None:
    """Warn where a column that may number the planes counts the rows in another order than theirs."""
    for name in (name for name in _PERHAPS if name in columns):
        keys = [_key(record.cell(columns[name])) for record in rows]
        values = [key for key in keys if key is not None]
        if _counts_up(keys) and values != sorted(values):
            warn(
                f"Column {header.cells[columns[name]]!r} of {path.name!r} numbers the rows "
                f"{numbers([value[0] for value in values])}, which is not their order. "
                "They are taken as they stand; if these are the numbers of the planes, call the "
                "column 'channel_number'."
            )
            return


def _key(cell: str) -> Key | None:
    """Return a channel number, or cycle and number, as something that can be sorted."""
    for pattern in (_NUMBER, _OME, _IN_CYCLE):
        if match := pattern.fullmatch(cell):
            return tuple(int(number) for number in match.groups())
    return None


def _within(keys: list[Key | None], rows: Sequence[Record], cycle: int | None) -> list[Key | None]:
    """Return the numbers with their cycle in front."""
    if cycle is None:
        return keys
    cycles = [re.search(r"\d+", record.cell(cycle)) for record in rows]
    if not all(cycles):
        return keys
    return [key and (int(match.group()), *key) for key, match in zip(keys, cycles, strict=True) if match]


def _counts_up(keys: Sequence[Key | None]) -> bool:
    """Whether numbers are all there, from 0 or 1, whatever their order."""
    if any(key is None or len(key) > 1 for key in keys):
        return False
    values = sorted(key[0] for key in keys if key is not None)
    return values == list(range(values[0], values[0] + len(values))) and values[0] in (0, 1)


def _starts_over(values: Sequence[Key]) -> bool:
    """Whether numbers count up again and again from the same one, as within cycles that nothing names."""
    falls = [after for before, after in pairwise(values) if after < before]
    repeats = len(set(values)) < len(values)
    return repeats and len(values[0]) == 1 and all(first == min(values) for first in (values[0], *falls))
