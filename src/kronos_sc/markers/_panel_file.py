"""Panel files: which row names which channel, which rows are in the image, and in which order.

Tables of steinbock, MCMICRO, CODEX, HTAN and of people's own spreadsheets come in here and leave as names in the order
of the planes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kronos_sc._core.checks import listed, numbers
from kronos_sc._core.log import info
from kronos_sc._core.paths import existing
from kronos_sc._core.warn import warn
from kronos_sc.markers._distinct import numbered
from kronos_sc.markers._panel_order import channel_order
from kronos_sc.markers._panel_text import Record, is_empty, read_records, squeezed
from kronos_sc.markers._panel_wide import CYCLE_TITLES, is_wide, unfolded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# A file often has several of these; those that can only be a marker's name go first. All without case, blanks and
# punctuation.
_NAMES = (
    *(
        "markername",
        "marker",
        "markers",
        "targetname",
        "target",
        "cleantarget",
        "targets",
        "channelname",
        "channelnames",
        "name",
    ),
    *(
        "label",
        "antibody",
        "antibodyname",
        "antibodies",
        "biomarker",
        "biomarkers",
        "protein",
        "antigen",
        "stain",
        "channel",
        "channels",
    ),
)
_CHANNELS = {"channel", "channels"}
# What names a channel whose name is left empty.
_INSTEAD = (
    *_NAMES,
    "metaltag",
    "metal",
    "isotope",
    "metalisotope",
    "channelid",
    "fluorophore",
    "fluor",
    "dye",
    "filter",
)
_KEEP = ("keep", "use", "used", "include", "included", "selected", "full", "passedqc", "channelpassedqc")
_REMOVE = ("remove", "removed", "exclude", "excluded", "drop", "skip", "ignore", "discard")
_YES = {"1", "1.0", "true", "t", "yes", "y", "x", "keep"}
_NO = {"0", "0.0", "false", "f", "no", "n", "", "nan", "na", "none", "-"}
_MONTH = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = re.compile(rf"\d{{1,2}}-(?:{_MONTH})|(?:{_MONTH})-\d{{2}}", re.IGNORECASE)


@dataclass(frozen=True)
class Selection:
    """A column that says which rows are channels of the image.

    Parameters
    ----------
    words
        What it says of the others, as in "keep=0".
    rows
        Positions of those it keeps.
    """

    words: str
    rows: tuple[int, ...]


@dataclass(frozen=True)
class PanelFile:
    """The names of a file, or of a list, in the order of the planes.

    Parameters
    ----------
    source
        Name of the file, or the argument they were given as.
    all_names
        All names, empty where a row has none.
    rows
        Their rows in the file, counted from 1.
    selections
        Which of them may be all there is in the image, the likeliest first.
    cyclic
        Whether names come from cycles, each of which has a nuclear stain.
    """

    source: str
    all_names: tuple[str, ...]
    rows: tuple[int, ...]
    selections: tuple[Selection, ...] = ()
    cyclic: bool = False

    @property
    def counts(self) -> set[int]:
        """How many planes an image may have that these names belong to."""
        return {len(self.all_names), *(len(selection.rows) for selection in self.selections)}

    def names(self, count: int | None = None) -> list[str]:
        """Return the names of an image of `count` planes; without it those that the file keeps."""
        chosen: Sequence[int] = range(len(self.all_names))
        fitting = [selection for selection in self.selections if count in (None, len(selection.rows))]
        if fitting and count != len(self.all_names):
            selection = fitting[0]
            chosen = selection.rows
            others = self._others(selection)
            info(
                f"{self.source}: {len(others)} of {len(self.all_names)} rows are left out ({selection.words}): "
                f"{self.described(others)}"
            )
        elif self.selections and count is not None and count == len(self.all_names):
            selection = self.selections[0]
            info(
                f"{self.source}: the image has all {count} channels, so those marked {selection.words} are "
                f"named too: {self.described(self._others(selection))}"
            )

        names = [self.all_names[position] for position in chosen]
        if unnamed := [self.rows[position] for position in chosen if not self.all_names[position]]:
            info(f"{self.source}: rows {numbers(unnamed)} have no name and are numbered")
        filled = [name or f"channel_{place}" for place, name in enumerate(names)]
        return numbered(filled, self.source, cyclic=self.cyclic)

    def _others(self, selection: Selection) -> list[int]:
        """Return the positions of the rows that a selection does not keep."""
        return sorted(set(range(len(self.all_names))) - set(selection.rows))

    def described(self, positions: Sequence[int]) -> str:
        """Return rows with their names, for messages."""
        return listed(f"row {self.rows[position]}: {self.all_names[position] or 'no name'}" for position in positions)

    def told(self) -> str:
        """Return how many names there are, and which are not kept, for messages."""
        told = f"{len(self.all_names)} channels"
        for selection in self.selections[:1]:
            others = self._others(selection)
            told += f" ({len(selection.rows)} without {selection.words}: {self.described(others)})"
        return told


def read_channel_names(path: str | Path, *, argument: str = "channels") -> list[str]:
    """Read the channel names of a panel file, in the order of the planes.

    Rows that the file marks as not used (`keep` 0, `remove` TRUE) are left out; blanks that repeat are numbered.

    Parameters
    ----------
    path
        A text file of one name per line; a CSV or TSV, of any program, with a column such as `marker`; a table of
        cycles and channels; or JSON with a list of names.
    argument
        How the caller names the path, for errors.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It holds no names, or is no text; its channel numbers contradict each other.
    """
    return read_panel(existing(path, argument=argument)).names()


def read_panel(path: Path) -> PanelFile:
    """Read a panel file, or raise a ValueError that says what is wrong with it."""
    records = read_records(path, _is_header)
    if not records.rows:
        msg = f"{str(path)!r} holds no channel names. Write one name per line, or a table with a column 'marker'."
        raise ValueError(msg)
    if records.header is None:
        return _without_header(records.rows, path)
    header = [squeezed(cell) for cell in records.header.cells]
    if is_wide(header) and not set(header) & (set(_NAMES) - _CHANNELS):
        names, rows = unfolded(records.header, records.rows, path)
        used = tuple(position for position, name in enumerate(names) if name)
        selections: tuple[Selection, ...] = ()
        if len(used) < len(names):
            selections = (Selection("an empty cell", used),)
        return PanelFile(path.name, tuple(name or "Blank" for name in names), tuple(rows), selections, cyclic=True)
    return _table(records.header, _fitted(records.header, records.rows, path), path)


def _is_header(cells: Sequence[str]) -> bool:
    return any(cell in _NAMES for cell in cells) or is_wide(cells)


def _fitted(header: Record, rows: tuple[Record, ...], path: Path) -> tuple[Record, ...]:
    """Return rows no longer than the header.

    What separators at the ends of lines leave goes, as do the row names that R writes.
    """
    width = len(header.cells)
    filled = [max(place for place, cell in enumerate(record.cells, 1) if cell) for record in rows]
    longer = [record.row for record, length in zip(rows, filled, strict=True) if length > width]
    if not longer:
        return rows

    counted = [str(number) for number in range(1, len(rows) + 1)]
    one_more = all(len(record.cells) == width + 1 for record in rows)
    if one_more and [record.cell(0) for record in rows] == counted:
        return tuple(Record(record.row, record.cells[1:]) for record in rows)
    msg = (
        f"Rows {numbers(longer)} of {str(path)!r} have more cells than its header ({width}: {listed(header.cells)}). "
        'Put names that hold the separator in quotes, as in "Ki-67, clone B56", or save the table anew as CSV UTF-8.'
    )
    raise ValueError(msg)


def _table(header: Record, rows: tuple[Record, ...], path: Path) -> PanelFile:
    """Return the panel of a table of one row per channel."""
    # of two columns of one name the first counts
    columns = {squeezed(cell): place for place, cell in reversed(list(enumerate(header.cells)))}
    texts = [name for name in _NAMES if name in columns and not _is_number_column(rows, columns[name])]
    if not texts:
        msg = (
            f"{str(path)!r} has the columns {listed(header.cells)}, none of them known to hold names. "
            "Name one of them 'marker', or pass channels=[...]."
        )
        raise ValueError(msg)
    selections = _selections(header, rows, columns)
    order = channel_order(header, rows, columns, [selection.rows for selection in selections], path)
    place = {old: new for new, old in enumerate(order)}
    moved = [Selection(one.words, tuple(sorted(place[position] for position in one.rows))) for one in selections]

    names, borrowed = _named(rows, columns, texts)
    if borrowed:
        info(
            f"{path.name}: rows {numbers(borrowed)} have no {header.cells[columns[texts[0]]]!r} and are called as "
            "another column calls them"
        )
    _warn_of_dates(names, [record.row for record in rows], path)
    cyclic = any(name in columns for name in CYCLE_TITLES)
    ordered = tuple(names[old] for old in order)
    return PanelFile(path.name, ordered, tuple(rows[old].row for old in order), tuple(moved), cyclic)


def _is_number_column(rows: Sequence[Record], column: int) -> bool:
    cells = [record.cell(column) for record in rows]
    return all(re.fullmatch(r"\d+(\.0)?", cell) or is_empty(cell) for cell in cells)


def _named(rows: Sequence[Record], columns: dict[str, int], texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the name of each row, and the rows that took it from another column."""
    others = [name for name in (*texts[1:], *_INSTEAD) if name in columns]
    names = []
    borrowed = []
    for record in rows:
        name = record.cell(columns[texts[0]])
        if is_empty(name):
            cells = (record.cell(columns[other]) for other in others)
            name = next((cell for cell in cells if not is_empty(cell) and not re.fullmatch(r"[\d.]+", cell)), "")
            if name:
                borrowed.append(record.row)
        names.append(name)
    return names, borrowed


def _selections(header: Record, rows: Sequence[Record], columns: dict[str, int]) -> list[Selection]:
    """Return which rows each column of yes and no keeps; the likeliest first, all of them together last."""
    selections = []
    for name in (name for name in (*_KEEP, *_REMOVE) if name in columns):
        cells = [record.cell(columns[name]).lower() for record in rows]
        # a column of other words, or of none at all, decides nothing
        if not set(cells) & _YES or not set(cells) <= _YES | _NO:
            continue
        is_kept = [(cell in _YES) != (name in _REMOVE) for cell in cells]
        kept = tuple(position for position, keeps in enumerate(is_kept) if keeps)
        if 0 < len(kept) < len(rows):
            title = header.cells[columns[name]]
            selections.append(Selection(f"{title}={cells[is_kept.index(False)]}", kept))
    if len(selections) > 1:
        common = set.intersection(*(set(one.rows) for one in selections))
        selections.append(Selection(" or ".join(one.words for one in selections), tuple(sorted(common))))
    return [one for one in selections if one.rows]


def _without_header(rows: Sequence[Record], path: Path) -> PanelFile:
    """Return the panel of a file that names no column.

    It holds names alone, or names beside numbers, or all names in one line.
    """
    width = max(len(record.cells) for record in rows)
    used = [column for column in range(width) if any(record.cell(column) for record in rows)]
    flags = [column for column in used if {record.cell(column).lower() for record in rows} <= _YES | _NO]
    texts = [column for column in used if column not in flags and not _is_number_column(rows, column)]
    if width == 1:
        rows = _unlisted(rows)
    if len(rows) == 1 and len(texts) > 1:
        names = tuple(cell for cell in rows[0].cells if cell)
        return PanelFile(path.name, names, (rows[0].row,) * len(names))
    if len(texts) != 1:
        first = rows[0].cells
        msg = (
            f"{str(path)!r} has the columns {listed(first)}, none of them known to hold names. "
            "Name one of them 'marker', or pass channels=[...]."
        )
        raise ValueError(msg)

    # one column of numbers beside the names may be those of the planes
    beside = [column for column in used if column not in texts and _is_number_column(rows, column)]
    columns = {"channelnumber": beside[0]} if len(beside) == 1 else {}
    header = Record(0, tuple("channel_number" if [column] == beside else "" for column in range(width)))
    order = channel_order(header, rows, columns, [], path)
    cells = [rows[old].cell(texts[0]) for old in order]
    names = tuple("" if is_empty(cell) else cell for cell in cells)
    return PanelFile(path.name, names, tuple(rows[old].row for old in order))


def _unlisted(rows: Sequence[Record]) -> Sequence[Record]:
    """Return rows without the numbers in front of a list's items, as in "1. DAPI"; they count up by one."""
    numbered_item = re.compile(r"(?:channel\s*)?(\d+)\s*[.):\s]\s*(\S.*)", re.IGNORECASE)
    matches = [numbered_item.fullmatch(record.cells[0]) for record in rows]
    counted = [int(match.group(1)) for match in matches if match]
    if len(counted) < 2 or counted not in (list(range(len(rows))), list(range(1, len(rows) + 1))):
        return rows
    return [Record(record.row, (match.group(2),)) for record, match in zip(rows, matches, strict=True) if match]


def _warn_of_dates(names: Sequence[str], rows: Sequence[int], path: Path) -> None:
    """Warn of names that a spreadsheet took for dates: OCT4 comes back as 4-Oct."""
    dates = [f"row {row}: {name}" for name, row in zip(names, rows, strict=True) if _DATE.fullmatch(name)]
    if dates:
        warn(
            f"{path.name!r} has names that a spreadsheet made dates of ({listed(dates)}): OCT4 becomes 4-Oct. Write "
            "them anew, as text."
        )
