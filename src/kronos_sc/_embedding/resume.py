"""Where an embedding is kept: in memory, or on disk, where a run that was stopped goes on."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc import _store
from kronos_sc._core.checks import numbers
from kronos_sc._core.log import info
from kronos_sc._core.settings import feature_memory
from kronos_sc._core.warn import warn
from kronos_sc._embedding.blocks import remaining, table_rows
from kronos_sc._embedding.fingerprint import comparable
from kronos_sc.models.inference import placement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spatialdata import SpatialData

    from kronos_sc._embedding.jobs import RegionJob
    from kronos_sc._embedding.sinks import Sink


def resolve_store_path(
    sdata: SpatialData,
    store: str | os.PathLike[str] | bool | None,  # noqa: FBT001
    *,
    table: str,
    key: str,
    size: int,
) -> Path | None:
    """Return the folder of the store, or None for memory.

    Parameters
    ----------
    sdata
        Its `path` says where it lies.
    store
        A path, True for beside the SpatialData, False for memory, None for whatever `size` asks for.
    table, key
        Names of the table and of the embedding.
    size
        Bytes of all features.
    """
    # nobody named a folder: the size decides, or True and False do
    if isinstance(store, bool) or store is None:
        budget = None if isinstance(store, bool) else feature_memory()
        if store is False or (store is None and size <= budget):
            return None
        why = ""
        if not store:
            why = f"{size / 2**30:.1f} GiB of features are more than settings.memory ({budget / 2**30:.1f} GiB). "
        beside = _default_path(sdata, table, key, why=why)
        if why:
            info(f"{why}They go to {beside}")
        return beside
    if not isinstance(store, str | os.PathLike) or not str(store):
        msg = (
            f"store={store!r} names no folder. It can be a path, True for beside the SpatialData, False for memory, or "
            "be left out to let the size decide; write store='features.zarr', say."
        )
        raise ValueError(msg)
    if "://" in (text := os.fspath(store)):
        msg = (
            f"store={text!r} is an address; features are written to a folder of this machine or of a mounted disk. "
            "Give its path."
        )
        raise ValueError(msg)
    path = Path(store).expanduser().absolute()
    if sdata.path is not None and path.resolve().is_relative_to(tissue := Path(sdata.path).resolve()):
        msg = (
            f"store={text!r} lies within the SpatialData at {tissue}, whose files are not ours to change. "
            "Write beside it with store=True, or choose another folder."
        )
        raise ValueError(msg)
    return path


def _default_path(sdata: SpatialData, table: str, key: str, *, why: str) -> Path:
    """Return the default place, or raise an error for a SpatialData that lies nowhere."""
    if sdata.path is None:
        msg = (
            f"{why}This SpatialData is not on disk, so features cannot lie beside it. Write it first with "
            "sdata.write('….zarr'), name a folder with store=, or keep them in memory with store=False."
        )
        raise ValueError(msg)
    return _store.beside(Path(sdata.path).absolute(), table, key)


def precision_for(path: Path | None, precision: str, *, overwrite: bool) -> str:
    """Return the precision asked for.

    For `"auto"` that of the store which this call goes on with, whatever this machine would take.
    """
    if precision != "auto" or path is None or overwrite:
        return precision
    fingerprint = (_store.attributes(path) or {}).get("identity")
    if not isinstance(fingerprint, dict):
        return precision
    stored_precision = (fingerprint.get("parameters") or {}).get("precision")
    if stored_precision not in placement.PRECISIONS:
        return precision
    info(f"precision is {stored_precision!r}, as {path} was begun")
    return stored_precision


@contextmanager
def open_store(
    path: Path, jobs: list[RegionJob], make_spec: Callable[[np.ndarray], _store.Spec], *, overwrite: bool
) -> Iterator[tuple[Sink, list[RegionJob]]]:
    """Yield a store as a sink and the jobs that are left; the store is locked meanwhile.

    Parameters
    ----------
    path
        Folder of the store.
    jobs
        All of the call, numbered.
    make_spec
        Makes the description of a new store from its rows.
    overwrite
        Start again.
    """
    spec = make_spec(table_rows(jobs))
    _store.require_free(path)
    # a finished store that cannot be written to can still be read
    if not overwrite and _is_read_only(path) and _store.begun(path):
        yield _open_finished(path, spec), []
        return
    path.mkdir(parents=True, exist_ok=True)
    with _store.lock_store(path):
        store = _create_or_resume(path, spec, overwrite=overwrite)
        jobs, done = _remaining_jobs(store, jobs)
        _warn_if_full(path, spec, units=int((store.rows[~done] >= 0).sum()))
        try:
            with _note_progress(store, len(done)):
                yield store, jobs
        finally:
            store.tidy()


def _remaining_jobs(store: _store.EmbeddingStore, jobs: list[RegionJob]) -> tuple[list[RegionJob], np.ndarray]:
    """Return what is left of the jobs, and which blocks are done; say so, and which were done and are damaged."""
    present = store.present()
    done = store.intact()
    # blocks that are there and fail their checksums are computed again, like those that are missing
    if len(damaged := np.flatnonzero(present & ~done)):
        info(
            f"{len(damaged)} of {len(done)} blocks in {store.path} are damaged and computed again: block "
            f"{numbers(damaged)}"
        )
    if not done.any():
        return jobs, done
    units = int((store.rows[done] >= 0).sum())
    info(f"{int(done.sum())} of {len(done)} blocks ({units:,} units) are in {store.path} already")
    return remaining(jobs, store.rows, done), done


def _warn_if_full(path: Path, spec: _store.Spec, *, units: int) -> None:
    """Warn if the features to come might not find room; compressed they take less than is reckoned here."""
    most = units * sum(spec.kinds.values()) * np.dtype(spec.dtype).itemsize
    free = shutil.disk_usage(path).free
    half = "" if spec.dtype == "float16" else ", or take half of it with dtype='float16'"
    if most > free:
        warn(
            f"Features of {units:,} units take up to {most / 2**30:.1f} GiB, before compression, and "
            f"{free / 2**30:.1f} GiB are free at {path}. If they do not fit, the call fails there, and goes on from "
            f"there when it is made again with more room. Name another disk with store={half}."
        )


def _is_read_only(path: Path) -> bool:
    return path.is_dir() and not os.access(path, os.W_OK | os.X_OK)


def _open_finished(path: Path, spec: _store.Spec) -> _store.EmbeddingStore:
    """Return the store at a place that cannot be written to, if there is nothing left to write."""
    store = _store.EmbeddingStore(path)
    _require_same(store, spec)
    done = store.intact()
    if not done.all() or store.record() is None:
        what = "its record is"
        if not done.all():
            what = f"{int((~done).sum())} of its {len(done)} blocks are"
        msg = (
            f"{path} is read-only, and {what} still to be written. Make the folder writable, or copy it to another "
            "place and name that with store=."
        )
        raise PermissionError(msg)
    info(f"{len(done)} of {len(done)} blocks are in {path} already, which is read-only")
    return store


def _create_or_resume(path: Path, spec: _store.Spec, *, overwrite: bool) -> _store.EmbeddingStore:
    """Return the store at a place: new, or the one that this very call began."""
    if overwrite or not _store.begun(path):  # an unreadable one may be replaced
        return _store.EmbeddingStore.create(path, spec)
    store = _store.EmbeddingStore(path)
    _require_same(store, spec)
    _store.repair_store(store, spec)
    return store


def _require_same(store: _store.EmbeddingStore, spec: _store.Spec) -> None:
    """Raise a ValueError that says what differs unless a store was begun by this very call."""
    if changed := _changes(store.fingerprint, spec.fingerprint):
        more = f"; and {len(changed) - 6} more" if len(changed) > 6 else ""
        msg = (
            f"{store.path} holds an embedding of another call: {'; '.join(changed[:6])}{more}. "
            f"{_hint_for_subset(store, spec)}Make the call that began it, choose another place with store=, or start "
            "again with overwrite=True."
        )
        raise ValueError(msg)


def _hint_for_subset(store: _store.EmbeddingStore, spec: _store.Spec) -> str:
    """Return the way to the features of a table that is a part of the one embedded, or that table in another order.

    Empty otherwise.
    """
    stored = comparable(store.fingerprint)
    current = comparable(spec.fingerprint)
    changed = {name for name in current if stored.get(name) != current[name]}
    if "table" not in changed or changed - {"table", "regions"}:
        return ""
    try:
        names = set(store.names().tolist())
    except OSError:
        return ""
    if not names.issuperset(spec.names.tolist()):
        return ""
    return (
        f"It was made for a table of {len(names):,} rows that has all {len(spec.names):,} of this one: if they "
        f"are the same units, attach their features with io.read_embedding(sdata, {str(store.path)!r}), which finds "
        "rows by name. "
    )


def _changes(stored: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Say what differs between two calls: what was asked for, or else what it was asked of."""
    stored = comparable(stored)
    current = comparable(current)
    of_call: list[str] = []
    of_data: list[str] = []
    for name, value in current.items():
        label = "" if name == "parameters" else name
        lines = _store.differences(stored.get(name), value, name=label)
        (of_data if name in ("regions", "table") else of_call).extend(lines)
    # another call may well look different on other data: what was asked for comes first, and is enough
    return of_call or of_data


@contextmanager
def _note_progress(store: _store.EmbeddingStore, blocks: int) -> Iterator[None]:
    """Say with every error how much of the work is kept."""
    try:
        yield
    except BaseException as error:
        error.add_note(
            f"{store.complete()} of {blocks} blocks are complete in {store.path}; the same call goes on from there."
        )
        raise


def finish(sink: Sink, record: dict[str, Any], *, anew: bool) -> dict[str, Any]:
    """Keep the record with the features, and return it; where nothing was computed, the one that is there stays."""
    if not isinstance(sink, _store.EmbeddingStore):
        return record
    with suppress(Exception):  # a damaged one is written again
        if not anew and (kept := sink.record()) is not None:
            return kept
    sink.finish(record)
    return record
