"""Settings that may change when a run is resumed."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def free(default: Any) -> Any:
    """Return a field that may differ when a run is resumed: it changes how the run goes, not what it computes."""
    return field(default=default, metadata={"free": True})
