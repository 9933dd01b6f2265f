"""Names of files and folders of TIFFs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kronos_sc._core.checks import listed

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_TIFF = {".tif", ".tiff", ".btf", ".tf8", ".tf2", ".qptiff"}


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a sort key in which CD8 comes before CD20, whatever the case."""
    return [
        (not part.isdigit(), int(part) if part.isdigit() else 0, part)
        for part in re.split(r"(\d+)", name.lower())
        if part
    ]


def stem(path: Path) -> str:
    """Return the file name without its TIFF endings, `.ome.tif` included."""
    return re.sub(r"(\.ome)?\.(tiff?|btf|tf8|tf2|qptiff)$", "", path.name, flags=re.IGNORECASE)


def tiffs_in(folder: Path, *, without: Collection[Path]) -> list[Path]:
    """Return the TIFF files of a folder in natural order, except hidden ones and those of `without`."""
    if folder.suffix == ".zarr" or any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs")):
        msg = (
            f"{str(folder)!r} is a Zarr store, not a folder of TIFF files. Read it with "
            f"spatialdata.read_zarr({str(folder)!r})."
        )
        raise ValueError(msg)
    excluded = {path.resolve() for path in without}
    visible = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    entries = sorted(visible, key=lambda entry: natural(entry.name))
    candidates = [entry for entry in entries if entry.suffix.lower() in _TIFF and entry.is_file()]
    tiffs = [entry for entry in candidates if entry.resolve() not in excluded]
    if not tiffs:
        msg = (
            f"The folder {str(folder)!r} holds no TIFF file; it holds: {listed(entry.name for entry in entries)}. "
            "Name the folder that holds one TIFF per marker."
        )
        raise ValueError(msg)
    return tiffs
