"""Vocabularies as tables and as plain records: the forms in which models carry them."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from kronos_sc._core.checks import listed, near, numbers
from kronos_sc.markers._concepts import lookup
from kronos_sc.markers._vocabulary import IDS, Marker, Vocabulary

COLUMNS = ("marker_name", "marker_id", "marker_mean", "marker_std")


def read(path: str | Path, *, name: str | None) -> Vocabulary:
    """Read a vocabulary from a CSV file; its name is the file's, unless given."""
    path = Path(path)
    if not path.is_file():
        msg = (
            f"There is no file {str(path)!r}; a marker table has the columns {listed(COLUMNS)}. Check the path, or use paper_vocabulary()."
        )
        raise FileNotFoundError(msg)
    # As text, so that "NA" could be a marker and 1.5 is seen to be no id.
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame(columns=[])
    return build(frame, name=name or path.stem, source=f"The marker table {str(path)!r}")


def build(frame: pd.DataFrame, *, name: str, source: str) -> Vocabulary:
    """Build a vocabulary from a frame; `source` begins the messages."""
    _require_columns(frame, source)
    if not len(frame):
        msg = f"{source} has no rows; a vocabulary needs at least one marker. Fill it, or use paper_vocabulary()."
        raise ValueError(msg)
    names = [str(each).strip() for each in frame["marker_name"]]
    if blank := [str(row) for row, each in enumerate(names) if not each]:
        msg = f"{source} has no marker_name in row {numbers(blank)}; every marker needs a name. Fill them in, or drop these rows."
        raise ValueError(msg)
    ids = _integers(frame["marker_id"], names, source)
    means, stds = (_floats(frame[column], names, source) for column in COLUMNS[2:])
    roles = list(frame["role"]) if "role" in frame else [role_of(each, marker_id) for each, marker_id in zip(names, ids, strict=True)]
    return Vocabulary(name, tuple(Marker(*row) for row in zip(names, ids, means, stds, roles, strict=True)))


def role_of(name: str, marker_id: int) -> str:
    """Return "nuclear" for ids 1 … 127 and for the names of nuclear stains and Histone H3, else "other"."""
    concept = lookup(name)
    return "nuclear" if marker_id in IDS["nuclear"] or (concept and concept.kind == "nuclear") else "other"


def to_frame(vocabulary: Vocabulary) -> pd.DataFrame:
    """Return name, id, mean, std and role of every marker."""
    rows = [(marker.name, marker.id, marker.mean, marker.std, marker.role) for marker in vocabulary]
    return pd.DataFrame(rows, columns=[*COLUMNS, "role"])


def to_record(vocabulary: Vocabulary) -> dict[str, object]:
    """Return the vocabulary in types that JSON can hold."""
    rows = [
        {
            "name": marker.name,
            "id": marker.id,
            "mean": None if math.isnan(marker.mean) else marker.mean,
            "std": None if math.isnan(marker.std) else marker.std,
            "role": marker.role,
            "aliases": list(marker.aliases),
        }
        for marker in vocabulary
    ]
    return {"name": vocabulary.name, "markers": rows}


def from_record(record: dict[str, object]) -> Vocabulary:
    """Build a vocabulary from a record of :func:`to_record`."""
    if missing := [key for key in ("name", "markers") if key not in record]:
        msg = f"This vocabulary lacks {listed(missing)}; it has {listed(record)}. Write it with Vocabulary.to_dict()."
        raise ValueError(msg)
    return Vocabulary(str(record["name"]), tuple(_marker(row) for row in record["markers"]))  # type: ignore[attr-defined]


def _marker(row: dict) -> Marker:
    if "name" not in row:
        msg = f"A marker of this vocabulary has no name; it has {listed(row)}. Write vocabularies with Vocabulary.to_dict()."
        raise ValueError(msg)
    mean, std = (math.nan if row.get(key) is None else float(row[key]) for key in ("mean", "std"))
    return Marker(row["name"], row.get("id"), mean, std, row.get("role", "other"), tuple(row.get("aliases", ())))


def _require_columns(frame: pd.DataFrame, source: str) -> None:
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        close = [hit for column in missing for hit in near(column, map(str, frame.columns), most=1)]
        hint = f" Rename {listed(close)}?" if close else ""
        msg = f"{source} lacks the columns {listed(missing)}; it has {listed(frame.columns)}.{hint} It needs {listed(COLUMNS)}."
        raise ValueError(msg)


def _floats(column: pd.Series, names: list[str], source: str) -> list[float]:
    """Return a column as floats; empty cells are unknown, hence NaN."""
    empty = column.isna() | column.astype(str).str.strip().str.lower().isin(["", "nan"])
    values = pd.to_numeric(column.where(~empty), errors="coerce").astype(float)
    if (values.isna() & ~empty).any() or (values.abs() == math.inf).any():
        bad = [f"{name}: {cell!r}" for name, cell, value in zip(names, column, values, strict=True) if not math.isfinite(value)]
        msg = f"{source} has values in {column.name} that are not numbers ({numbers(bad)}). Write plain numbers, or leave the cell empty."
        raise ValueError(msg)
    return values.tolist()


def _integers(column: pd.Series, names: list[str], source: str) -> list[int]:
    values = pd.to_numeric(column, errors="coerce").astype(float)
    bad = [f"{name}: {cell!r}" for name, cell, value in zip(names, column, values, strict=True) if not value.is_integer()]
    if bad:
        msg = f"{source} has values in marker_id that are not whole numbers ({numbers(bad)}); ids are rows 0 … 511. Correct these rows."
        raise ValueError(msg)
    return [int(value) for value in values]
