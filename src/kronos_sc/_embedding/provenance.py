"""What an embedding remembers of how it was made."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from kronos_sc._core.record import freeze
from kronos_sc.markers._panel import PANEL_COLUMNS, Panel

if TYPE_CHECKING:
    from kronos_sc.models import Model

_SOFTWARE = ("kronos-sc", "torch", "spatialdata", "anndata", "numpy")


def record(
    model: Model, panel: Panel, parameters: dict[str, Any], *, precision: str, device: str, seconds: float
) -> dict[str, Any]:
    """Return the entry of `uns`; every value survives h5ad and Zarr, no path and no secret is in it."""
    entry = {
        "model": model.facts,
        "panel": panel.used[list(PANEL_COLUMNS)],
        "left_out": list(panel.dropped["channel"]),
        "params": parameters,
        "precision": precision,
        "device": device,
        "seconds": round(seconds, 3),
        "software": {name: _version(name) for name in _SOFTWARE},
    }
    return freeze(entry)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
