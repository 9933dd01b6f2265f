"""Settings that may change when a run is resumed."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def free(default: Any) -> Any:
    """Return a field that may differ when a run is resumed: it changes how the run goes, not what a step computes.

    Two come close to the border, and say so where they stand: `run.epochs` stretches the schedules of the steps still
    to come, and with `parallel.micro_batch` KoLeo and Sinkhorn–Knopp see other groups of samples.
    """
    return field(default=default, metadata={"free": True})
