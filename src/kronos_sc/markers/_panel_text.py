"""Panel files of any program → records of cells: encodings, separators, comments, quoted line ends, JSON."""

from __future__ import annotations

import codecs
import csv
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kronos_sc._core.log import info

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_SEPARATORS = "\t;,|"
_HEADER_WITHIN = 10  # records: titles and dates stand above a header, not half a table
_MOST_BYTES = 50_000_000
_NO_TEXT = {
    b"PK\x03\x04": "a workbook (xlsx, ods) or another zip file",
    b"\xd0\xcf\x11\xe0": "an Excel workbook of the old kind (xls)",
    b"\x1f\x8b": "compressed",
    b"II*\x00": "a TIFF",
    b"MM\x00*": "a TIFF",
    b"II+\x00": "a TIFF",
    b"\x89PNG": "a picture",
    b"%PDF": "a PDF",
    b"<": "a web page or XML",
}
# What programs write into a cell without a value; without case.
_EMPTY = {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "-", "--"}
_LISTS = {"channelnames", "channelnamesarray", "markernames", "markers", "channels", "targets", "panel", "names"}


@dataclass(frozen=True)
class Record:
    """One row of a file.

    Parameters
    ----------
    row
        Its number, counted from 1 as spreadsheets do.
    cells
        Without surrounding blanks and line ends.
    """

    row: int
    cells: tuple[str, ...]

    def cell(self, column: int | None) -> str:
        """Return one cell; empty where the row is shorter."""
        if column is None or column >= len(self.cells):
            return ""
        return self.cells[column]


@dataclass(frozen=True)
class Records:
    """What a file holds.

    Parameters
    ----------
    header
        The row that names columns; None where there is none.
    rows
        Those below it, empty ones left out.
    """

    header: Record | None
    rows: tuple[Record, ...]


def squeezed(text: str) -> str:
    """Return a column's name without case, blanks and punctuation."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def is_empty(cell: str) -> bool:
    """Whether a cell holds no value, or what a program writes for none; "Na" is sodium."""
    return cell.lower() in _EMPTY and cell != "Na"


def read_records(path: Path, is_header: Callable[[Sequence[str]], bool]) -> Records:
    """Read a file of names, or raise a ValueError that says what it is instead.

    Parameters
    ----------
    path
        Exists.
    is_header
        Says whether squeezed cells name the columns of a panel.
    """
    text = re.sub(r"\r\n?", "\n", _decoded(path))
    if from_json := _from_json(text, is_header):
        return from_json

    # Excel's own way to say which separator follows
    declared = re.match(r'\s*"?sep=(.)"?[,;\t ]*(?=\n|$)', text, re.IGNORECASE)
    if declared:
        text = text[declared.end() :]
    separators = declared.group(1) if declared else _SEPARATORS
    for separator in separators:
        records = _split(text, separator, path)
        for position, record in enumerate(records[:_HEADER_WITHIN]):
            cells = _without_mark(record.cells)
            if is_header([squeezed(cell) for cell in cells]) and _names_columns(cells, position):
                return Records(Record(record.row, cells), _rows(records[position + 1 :]))
    return Records(None, _headless(text, path))


def _names_columns(cells: Sequence[str], position: int) -> bool:
    """Whether cells that could be a header are more than a title, and not a row that another separator would part."""
    filled = [cell for cell in cells if cell]
    return len(filled) > 1 or (position == 0 and not any(separator in filled[0] for separator in _SEPARATORS))


def _decoded(path: Path) -> str:
    """Return the text of a file as UTF-8, UTF-16 or, failing that, Windows' Western European."""
    if path.is_dir():
        msg = f"{str(path)!r} is a folder, not a file of channel names. Pass the file, or channels=[...]."
        raise ValueError(msg)
    if path.stat().st_size > _MOST_BYTES:
        msg = (
            f"{str(path)!r} has {path.stat().st_size:,} bytes: too many for channel names. Pass the panel, or "
            "channels=[...]."
        )
        raise ValueError(msg)
    raw = path.read_bytes()
    kind = next((what for start, what in _NO_TEXT.items() if raw.lstrip().startswith(start)), None)
    encoding = _encoding(raw)
    if kind is None and encoding is not None:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            pass
        try:
            text = raw.decode("cp1252")
        except UnicodeDecodeError:
            pass
        else:
            info(
                f"{path.name} is not in UTF-8 and is read as Windows' Western European (cp1252); save it as CSV UTF-8 "
                "to be sure"
            )
            return text
    msg = (
        f"{str(path)!r} is {kind or 'not in UTF-8, UTF-16 or cp1252'}, not a text file that can be read. "
        "Save it as CSV UTF-8 (in Excel: Save As, CSV UTF-8) and pass that, or pass the names as channels=[...]."
    )
    raise ValueError(msg)


def _encoding(raw: bytes) -> str | None:
    """Return the encoding to try first; None for what is no text."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" not in raw:
        return "utf-8-sig"
    # without a mark: letters of Western names leave every other byte zero
    half = max(1, len(raw) // 2)
    if raw[1::2].count(0) > 0.6 * half:
        return "utf-16-le"
    return "utf-16-be" if raw[0::2].count(0) > 0.6 * half else None


def _split(text: str, separator: str, path: Path) -> list[Record]:
    """Return the records of a table, comments and empty ones left out."""
    lines = (line + "\n" for line in text.split("\n"))
    try:
        rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=separator != "\t"))
    except csv.Error as error:
        msg = (
            f"{str(path)!r} cannot be read as a table ({error}). Save it as CSV UTF-8 and pass that, or pass "
            "channels=[...]."
        )
        raise ValueError(msg) from error
    records = [Record(row, tuple(_clean(cell) for cell in cells)) for row, cells in enumerate(rows, 1)]
    return [
        record
        for position, record in enumerate(records)
        if any(record.cells) and not _is_comment(record, position, records)
    ]


def _is_comment(record: Record, position: int, records: Sequence[Record]) -> bool:
    """Whether a row is a remark; "#" also marks the header of some tables, which is as wide as the row below it."""
    following = (other for other in records[position + 1 :] if any(other.cells))
    below = next((other for other in following if not other.cells[0].startswith("#")), None)
    is_header = len(record.cells) > 1 and below is not None and len(below.cells) == len(record.cells)
    return record.cells[0].startswith("#") and not is_header


def _without_mark(cells: tuple[str, ...]) -> tuple[str, ...]:
    return (cells[0].lstrip("# "), *cells[1:])


def _clean(cell: str) -> str:
    """Return a cell without line ends, unbreakable blanks and marks that nobody sees."""
    return " ".join(re.sub("[\ufeff\u200b\u200e\u200f]", "", cell).split())


def _rows(records: Sequence[Record]) -> tuple[Record, ...]:
    return tuple(record for record in records if not record.cells[0].startswith("#"))


def _headless(text: str, path: Path) -> tuple[Record, ...]:
    """Return the rows of a file whose columns have no names.

    They have cells where each row has several, else one name per line.
    """
    for separator in _SEPARATORS:
        records = _rows(_split(text, separator, path))
        if records and all(len(record.cells) > 1 for record in records):
            return records
    names = [Record(row, (_clean(line).strip('"'),)) for row, line in enumerate(text.split("\n"), 1)]
    return _rows([record for record in names if any(record.cells)])


def _from_json(text: str, is_header: Callable[[Sequence[str]], bool]) -> Records | None:
    """Return the names in JSON, as the instruments of CODEX write beside their images; None for anything else."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        content = json.loads(text)
    except ValueError:
        return None  # a name may start with a bracket
    return _listed(content, is_header, named=True)


def _listed(value: Any, is_header: Callable[[Sequence[str]], bool], *, named: bool) -> Records | None:
    """Return the first list of names, or of objects that have names, under a key that says so."""
    if isinstance(value, list) and value and named:
        if all(isinstance(one, str) for one in value):
            return Records(None, tuple(Record(row, (_clean(one),)) for row, one in enumerate(value, 1)))
        if all(isinstance(one, dict) for one in value):
            columns = list(dict.fromkeys(str(key) for one in value for key in one))
            cells = [tuple(_clean(str(one.get(key, ""))) for key in columns) for one in value]
            if not is_header([squeezed(key) for key in columns]):
                return None
            rows = tuple(Record(row, each) for row, each in enumerate(cells, 1))
            return Records(Record(0, tuple(columns)), rows)
    if isinstance(value, dict):
        inside = sorted(value.items(), key=lambda item: squeezed(item[0]) not in _LISTS)
        lists = (_listed(each, is_header, named=squeezed(key) in _LISTS) for key, each in inside)
        return next((records for records in lists if records), None)
    return None
