"""Markers as rows of a table and as plain records: the forms in which models carry them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from kronos_sc._core.checks import listed, near, numbers
from kronos_sc.markers._concepts import lookup
from kronos_sc.markers._marker import IDS, Marker

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

COLUMNS = ("marker_name", "marker_id", "marker_mean", "marker_std")


def read(path: Path) -> pd.DataFrame:
    """Read a marker table, all of it as text: `NA` may be a marker, and 1.5 is no id."""
    if not path.is_file():
        msg = (
            f"There is no file {str(path)!r}; a marker table has the columns {listed(COLUMNS)}. Check the path, or use "
            "paper_vocabulary()."
        )
        raise FileNotFoundError(msg)
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return pd.DataFrame(columns=[])


def markers_of(frame: pd.DataFrame, *, source: str) -> tuple[Marker, ...]:
    """Return the markers of a table; `source` begins the messages."""
    _require_columns(frame, source)
    if not len(frame):
        msg = f"{source} has no rows; a vocabulary needs at least one marker. Fill it, or use paper_vocabulary()."
        raise ValueError(msg)
    names = [str(name).strip() for name in frame["marker_name"]]
    if blank := [str(row) for row, name in enumerate(names) if not name]:
        msg = (
            f"{source} has no marker_name in row {numbers(blank)}; every marker needs a name. Fill them in, or drop "
            "these rows."
        )
        raise ValueError(msg)
    ids = _integers(frame["marker_id"], names, source)
    means = _floats(frame["marker_mean"], names, source)
    stds = _floats(frame["marker_std"], names, source)
    roles = _roles(frame, names, ids)
    return tuple(Marker(*row) for row in zip(names, ids, means, stds, roles, strict=True))


def _roles(frame: pd.DataFrame, names: list[str], ids: list[int]) -> list[str]:
    """Return the role of each marker: as the table says, or by its id and name."""
    if "role" in frame:
        return list(frame["role"])
    return [role_of(name, marker_id) for name, marker_id in zip(names, ids, strict=True)]


def role_of(name: str, marker_id: int) -> str:
    """Return "nuclear" for ids 1 … 127 and for the names of nuclear stains and Histone H3, else "other"."""
    concept = lookup(name)
    if marker_id in IDS["nuclear"] or (concept and concept.kind == "nuclear"):
        return "nuclear"
    return "other"


def to_frame(markers: Iterable[Marker]) -> pd.DataFrame:
    """Return name, id, mean, std and role of every marker."""
    rows = [(marker.name, marker.id, marker.mean, marker.std, marker.role) for marker in markers]
    return pd.DataFrame(rows, columns=[*COLUMNS, "role"])


def to_record(marker: Marker) -> dict[str, object]:
    """Return a marker in types that JSON can hold."""
    # JSON knows no NaN
    mean, std = (None if math.isnan(value) else value for value in (marker.mean, marker.std))
    return {
        "name": marker.name,
        "id": marker.id,
        "mean": mean,
        "std": std,
        "role": marker.role,
        "aliases": list(marker.aliases),
    }


def from_record(row: dict) -> Marker:
    """Return the marker of a record of :func:`to_record`."""
    if "name" not in row:
        msg = (
            f"A marker of this vocabulary has no name; it has {listed(row)}. Write vocabularies with "
            "Vocabulary.to_dict()."
        )
        raise ValueError(msg)
    mean, std = (math.nan if row.get(key) is None else float(row[key]) for key in ("mean", "std"))
    return Marker(row["name"], row.get("id"), mean, std, row.get("role", "other"), tuple(row.get("aliases", ())))


def _require_columns(frame: pd.DataFrame, source: str) -> None:
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        close = [match for column in missing for match in near(column, map(str, frame.columns), most=1)]
        hint = f" Rename {listed(close)}?" if close else ""
        msg = (
            f"{source} lacks the columns {listed(missing)}; it has {listed(frame.columns)}.{hint} It needs "
            f"{listed(COLUMNS)}."
        )
        raise ValueError(msg)


def _floats(column: pd.Series, names: list[str], source: str) -> list[float]:
    """Return a column as floats; empty cells are unknown, hence NaN."""
    empty = column.isna() | column.astype(str).str.strip().str.lower().isin(["", "nan"])
    values = pd.to_numeric(column.where(~empty), errors="coerce").astype(float)
    if (values.isna() & ~empty).any() or (values.abs() == math.inf).any():
        rows = zip(names, column, values, strict=True)
        bad = [f"{name}: {cell!r}" for name, cell, value in rows if not math.isfinite(value)]
        msg = (
            f"{source} has values in {column.name} that are not numbers ({numbers(bad)}). Write plain numbers, or "
            "leave the cell empty."
        )
        raise ValueError(msg)
    return values.tolist()


def _integers(column: pd.Series, names: list[str], source: str) -> list[int]:
    values = pd.to_numeric(column, errors="coerce").astype(float)
    rows = zip(names, column, values, strict=True)
    if bad := [f"{name}: {cell!r}" for name, cell, value in rows if not value.is_integer()]:
        msg = (
            f"{source} has values in marker_id that are not whole numbers ({numbers(bad)}); ids are rows 0 … 511. "
            "Correct these rows."
        )
        raise ValueError(msg)
    return [int(value) for value in values]
