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
from kronos_sc._store.new import create_block_arrays, ignore_zarr_warnings, write_names, write_rows
from kronos_sc._store.stage import PARTS

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from kronos_sc._store.new import Spec
    from kronos_sc._store.store import EmbeddingStore


def repair_store(store: EmbeddingStore, spec: Spec) -> None:
    """Remove what killed runs left, and write again what is damaged and known.

    Known without the blocks are the descriptions of arrays, and names and flags of rows.
    """
    store.tidy()
    (store.path / PARTS).mkdir(exist_ok=True)
    _rewrite_layouts(store.path, replace(spec, rows=store.rows))
    for name in (*spec.flags, "names"):
        try:
            getattr(store, name)()
        except OSError:
            _rewrite_rows(store.path, name, getattr(spec, name))


def _rewrite_layouts(path: Path, spec: Spec) -> None:
    """Write what says how the arrays of blocks are laid out, where it is not right."""
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    for name in create_block_arrays(spec, MemoryStore(files)):
        expected = files[f"{name}/{ROOT}"].to_bytes()
        target = path / name / ROOT
        (target.parent / "c").mkdir(parents=True, exist_ok=True)
        with suppress(OSError, ValueError):
            if json.loads(target.read_bytes()) == json.loads(expected):
                continue
        part = path / PARTS / secrets.token_hex(8)
        write_whole(part, expected)
        part.replace(target)


def _rewrite_rows(path: Path, name: str, values: np.ndarray) -> None:
    """Write names or flags anew."""
    import zarr

    # beside the old one first: a kill leaves the damaged array, or none, and the next call comes here again
    work = path / PARTS / secrets.token_hex(8)
    with ignore_zarr_warnings():
        group = zarr.create_group(work, zarr_format=3)
        if name == "names":
            write_names(group, values)
        else:
            write_rows(work, **{name: values})
    on_disk(work)
    shutil.rmtree(path / name, ignore_errors=True)
    (work / name).rename(path / name)
