"""Consolidated metadata of a store: a copy of all metadata in the root's zarr.json.

Readers trust it without looking further.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from kronos_sc._storage.files import sync, write_whole

ROOT = "zarr.json"
_COPY = "consolidated_metadata"


def metadata(path: Path) -> dict[str, Any]:
    """Return what a JSON file of a Zarr store holds; nothing where it is missing or not readable as such."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def is_consolidated(group: Path) -> bool:
    """Return whether a group carries a copy of the metadata below it."""
    return bool(metadata(group / ROOT).get(_COPY))


def prepared(store: Path, folder: Path, *, tables: dict[str, Path]) -> tuple[Path, Path]:
    """Write two versions of the root's metadata into a new folder.

    One without the copy, and one with a copy that knows the tables given.

    Zarr itself makes the copy, of a store that has all metadata and nothing else: hidden folders and Parquet files are
    none of it, and the store is not written to.
    """
    folder.mkdir()
    plain = {name: value for name, value in metadata(store / ROOT).items() if name != _COPY}
    without = folder / "plain.json"
    whole = folder / "whole"
    write_whole(without, json.dumps(plain, indent=2).encode())
    _skeleton(store, whole, {store / "tables" / name: path for name, path in tables.items()})
    consolidate(whole)
    sync(whole / ROOT)
    for path in (without, whole / ROOT):
        shutil.copymode(store / ROOT, path)
    return without, whole / ROOT


def _skeleton(group: Path, copy: Path, replacements: dict[Path, Path]) -> None:
    """Copy the metadata of a group and of all nodes below it; some folders are taken from elsewhere."""
    copy.mkdir()
    shutil.copyfile(group / ROOT, copy / ROOT)
    if metadata(group / ROOT).get("node_type") != "group":
        return
    entries = [entry for entry in os.scandir(group) if entry.is_dir() and not entry.name.startswith(".")]
    for child in sorted(Path(entry.path) for entry in entries):
        source = replacements.get(child, child)
        if (source / ROOT).is_file():
            _skeleton(source, copy / child.name, replacements)


def consolidate(group: Path) -> None:
    """Write the copy of the metadata below a group into it."""
    import zarr
    from zarr.storage import LocalStore

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the format is young, and zarr says so each time
        zarr.consolidate_metadata(LocalStore(group))
