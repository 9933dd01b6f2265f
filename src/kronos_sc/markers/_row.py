"""One row of a panel."""

from __future__ import annotations

import math
from dataclasses import dataclass

NO_ID = -1
# Notes of channels without a marker.
NOT_A_MARKER = "not a marker"
BY_YOU = "dropped by you"
UNKNOWN = "unknown name"


@dataclass(frozen=True)
class Row:
    """One row of the panel; the fields are its columns, those that decide first."""

    channel: str
    marker: str = ""
    how: str = "dropped"
    note: str = ""
    near: str = ""
    id: int = NO_ID
    role: str = ""
    mean: float = math.nan
    std: float = math.nan


COLUMNS = tuple(Row.__dataclass_fields__)
