"""Tables of cycles and channels: a row per cycle and a column per channel, or the other way round."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kronos_sc._core.checks import listed
from kronos_sc.markers._panel_text import is_empty, squeezed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kronos_sc.markers._panel_text import Record

# Titles of a column that numbers cycles.
CYCLE_TITLES = (
    *("cycle", "cycles", "cyclenumber", "cycleno", "cyclenr", "cyclenum", "cycleid", "cyc"),
    *("round", "roundnumber", "roundno", "imaginground", "staininground"),
)
_CHANNEL = {"", "channel", "channels", "ch", "filter", "dye", "fluorophore", "fluor", "wavelength"}
_CYCLES = re.compile(r"(?:cycle|cyc|round|r)0*\d+")
_CHANNELS = re.compile(
    r"(?:channel|chan|ch|c)\d{1,2}|dapi|hoechst\d*|draq5|fitc|gfp|rfp|tritc|cy[2357](?:5)?|txred|texasred|pe|apc"
    r"|(?:alexafluor|alexa|af|a|atto|opal|dylight|cf)\d{3}|\d{3}(?:nm)?"
)


def is_wide(cells: Sequence[str]) -> bool:
    """Whether squeezed cells are the header of such a table: a cycle and two channels, or a channel and two cycles."""
    if not cells:
        return False
    rest = [cell for cell in cells[1:] if cell]
    by_cycle = cells[0] in CYCLE_TITLES and sum(bool(_CHANNELS.fullmatch(cell)) for cell in rest) > 1
    by_channel = cells[0] in _CHANNEL and sum(bool(_CYCLES.fullmatch(cell)) for cell in rest) > 1
    return by_cycle or by_channel


def unfolded(header: Record, rows: Sequence[Record], path: Path) -> tuple[list[str], list[int]]:
    """Return the names, cycle by cycle, and the row of each; empty where a cell is."""
    pattern = _CHANNELS if squeezed(header.cells[0]) in CYCLE_TITLES else _CYCLES
    columns = [place for place, cell in enumerate(header.cells) if place and pattern.fullmatch(squeezed(cell))]
    if pattern is _CHANNELS:
        cells = [(record, column) for record in _in_order(rows, path) for column in columns]
    else:
        columns.sort(key=lambda column: int(re.sub(r"\D", "", header.cells[column])))
        cells = [(record, column) for column in columns for record in rows]
    names = [record.cell(column) for record, column in cells]
    if all(re.fullmatch(r"[\d.,]*", name) for name in names):
        msg = (
            f"{str(path)!r} is a table of cycles and channels that holds numbers ({listed(names, most=4)}), not names. "
            "Pass the panel."
        )
        raise ValueError(msg)
    return ["" if is_empty(name) else name for name in names], [record.row for record, _ in cells]


def _in_order(rows: Sequence[Record], path: Path) -> list[Record]:
    """Return rows by the number of their cycle."""
    matches = [re.search(r"\d+", record.cell(0)) for record in rows]
    cycles = [int(match.group()) for match in matches if match]
    if len(cycles) < len(rows) or len(set(cycles)) < len(cycles):
        msg = (
            f"{str(path)!r} is a table of cycles and channels, but its first column does not number each cycle once: "
            f"{', '.join(repr(record.cell(0)) for record in rows)}. Correct it, or pass channels=[...]."
        )
        raise ValueError(msg)
    return [record for _, record in sorted(zip(cycles, rows, strict=True), key=lambda pair: pair[0])]
