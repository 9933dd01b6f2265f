"""A store that lost what is known without it: written again, so that the blocks that are whole count."""

from __future__ import annotations

import json
import secrets
import shutil
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kronos_sc._storage.files import on_disk, write_whole
from kronos_sc._store.folder import ROOT
from kronos_sc._store.new import by_block, quiet, write_names, write_rows
from kronos_sc._store.stage import PARTS

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from kronos_sc._store.new import Spec
    from kronos_sc._store.store import EmbeddingStore


def mend(store: EmbeddingStore, spec: Spec) -> None:
    """Remove what killed runs left, and write again what is damaged and known: descriptions of arrays, names and flags of rows."""
    store.tidy()
    (store.path / PARTS).mkdir(exist_ok=True)
    _describe(store.path, replace(spec, rows=store.rows))
    for name in (*spec.flags, "names"):
        try:
            getattr(store, name)()
        except OSError:
            _write(store.path, name, getattr(spec, name))


def _describe(path: Path, spec: Spec) -> None:
    """Write what says how the arrays of blocks are laid out, where it is not right."""
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    for name in by_block(spec, MemoryStore(files)):
        right, there = files[f"{name}/{ROOT}"].to_bytes(), path / name / ROOT
        (there.parent / "c").mkdir(parents=True, exist_ok=True)
        with suppress(OSError, ValueError):
            if json.loads(there.read_bytes()) == json.loads(right):
                continue
        part = path / PARTS / secrets.token_hex(8)
        write_whole(part, right)
        part.replace(there)


def _write(path: Path, name: str, values: np.ndarray) -> None:
    """Write names or flags anew."""
    import zarr

    work = path / PARTS / secrets.token_hex(8)
    with quiet():
        group = zarr.create_group(work, zarr_format=3)
        if name == "names":
            write_names(group, values)
        else:
            write_rows(work, **{name: values})
    on_disk(work)
    shutil.rmtree(path / name, ignore_errors=True)
    (work / name).rename(path / name)
