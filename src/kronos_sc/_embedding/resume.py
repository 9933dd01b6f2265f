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
from kronos_sc._embedding.sinks import Sink, StoreSink
from kronos_sc.models.inference import placement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spatialdata import SpatialData

    from kronos_sc._embedding.jobs import Job


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
    if isinstance(store, bool) or store is None:
        budget = None if isinstance(store, bool) else feature_memory()
        if store is False or (store is None and size <= budget):
            return None
        why = (
            ""
            if store
            else f"{size / 2**30:.1f} GiB of features are more than settings.memory ({budget / 2**30:.1f} GiB). "
        )
        beside = _beside(sdata, table, key, why=why)
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
    place = Path(store).expanduser().absolute()
    if sdata.path is not None and place.resolve().is_relative_to(tissue := Path(sdata.path).resolve()):
        msg = (
            f"store={text!r} lies within the SpatialData at {tissue}, whose files are not ours to change. "
            "Write beside it with store=True, or choose another folder."
        )
        raise ValueError(msg)
    return place


def _beside(sdata: SpatialData, table: str, key: str, *, why: str) -> Path:
    """Return the default place, or raise an error for a SpatialData that lies nowhere."""
    if sdata.path is None:
        msg = (
            f"{why}This SpatialData is not on disk, so features cannot lie beside it. Write it first with "
            "sdata.write('….zarr'), name a folder with store=, or keep them in memory with store=False."
        )
        raise ValueError(msg)
    return _store.beside(Path(sdata.path).absolute(), table, key)


def precision_for(place: Path | None, precision: str, *, overwrite: bool) -> str:
    """Return the precision asked for.

    For `"auto"` that of the store which this call goes on with, whatever this machine would take.
    """
    if precision != "auto" or place is None or overwrite:
        return precision
    fingerprint = (_store.attributes(place) or {}).get("identity")
    there = (fingerprint.get("parameters") or {}).get("precision") if isinstance(fingerprint, dict) else None
    if there not in placement.PRECISIONS:
        return precision
    info(f"precision is {there!r}, as {place} was begun")
    return there


@contextmanager
def open_store(
    place: Path, jobs: list[Job], spec: Callable[[np.ndarray], _store.Spec], *, overwrite: bool
) -> Iterator[tuple[Sink, list[Job]]]:
    """Yield a store as a sink and the jobs that are left; the store is locked meanwhile.

    Parameters
    ----------
    place
        Folder of the store.
    jobs
        All of the call, numbered.
    spec
        Makes the description of a new store from its rows.
    overwrite
        Start again.
    """
    described = spec(table_rows(jobs))
    _store.require_free(place)
    if not overwrite and _read_only(place) and _store.begun(place):
        yield StoreSink(_finished(place, described)), []
        return
    place.mkdir(parents=True, exist_ok=True)
    with _store.held(place):
        store = _opened(place, described, overwrite=overwrite)
        jobs, done = _left(store, jobs)
        _warn_if_full(place, described, units=int((store.rows[~done] >= 0).sum()))
        try:
            with _noted(store, len(done)):
                yield StoreSink(store), jobs
        finally:
            store.tidy()


def _left(store: _store.EmbeddingStore, jobs: list[Job]) -> tuple[list[Job], np.ndarray]:
    """Return what is left of the jobs, and which blocks are done; say so, and which were done and are damaged."""
    there, done = store.present(), store.intact()
    if len(damaged := np.flatnonzero(there & ~done)):
        info(
            f"{len(damaged)} of {len(done)} blocks in {store.path} are damaged and computed again: block "
            f"{numbers(damaged)}"
        )
    if not done.any():
        return jobs, done
    units = int((store.rows[done] >= 0).sum())
    info(f"{int(done.sum())} of {len(done)} blocks ({units:,} units) are in {store.path} already")
    return remaining(jobs, store.rows, done), done


def _warn_if_full(place: Path, described: _store.Spec, *, units: int) -> None:
    """Warn if the features to come might not find room; compressed they take less than is reckoned here."""
    most = units * sum(described.kinds.values()) * np.dtype(described.dtype).itemsize
    free = shutil.disk_usage(place).free
    half = "" if described.dtype == "float16" else ", or take half of it with dtype='float16'"
    if most > free:
        warn(
            f"Features of {units:,} units take up to {most / 2**30:.1f} GiB, before compression, and "
            f"{free / 2**30:.1f} GiB are free at {place}. If they do not fit, the call fails there, and goes on from "
            f"there when it is made again with more room. Name another disk with store={half}."
        )


def _read_only(place: Path) -> bool:
    return place.is_dir() and not os.access(place, os.W_OK | os.X_OK)


def _finished(place: Path, described: _store.Spec) -> _store.EmbeddingStore:
    """Return the store at a place that cannot be written to, if there is nothing left to write."""
    store = _store.EmbeddingStore(place)
    _require_same(store, described)
    done = store.intact()
    if not done.all() or store.record() is None:
        what = "its record is" if done.all() else f"{int((~done).sum())} of its {len(done)} blocks are"
        msg = (
            f"{place} is read-only, and {what} still to be written. Make the folder writable, or copy it to another "
            "place and name that with store=."
        )
        raise PermissionError(msg)
    info(f"{len(done)} of {len(done)} blocks are in {place} already, which is read-only")
    return store


def _opened(place: Path, described: _store.Spec, *, overwrite: bool) -> _store.EmbeddingStore:
    """Return the store at a place: new, or the one that this very call began."""
    if overwrite or not _store.begun(place):  # an unreadable one may be replaced
        return _store.EmbeddingStore.create(place, described)
    store = _store.EmbeddingStore(place)
    _require_same(store, described)
    _store.mend(store, described)
    return store


def _require_same(store: _store.EmbeddingStore, described: _store.Spec) -> None:
    """Raise a ValueError that says what differs unless a store was begun by this very call."""
    if changed := _changed(store.fingerprint, described.fingerprint):
        more = f"; and {len(changed) - 6} more" if len(changed) > 6 else ""
        msg = (
            f"{store.path} holds an embedding of another call: {'; '.join(changed[:6])}{more}. "
            f"{_for_part(store, described)}Make the call that began it, choose another place with store=, or start "
            "again with overwrite=True."
        )
        raise ValueError(msg)


def _for_part(store: _store.EmbeddingStore, described: _store.Spec) -> str:
    """Return the way to the features of a table that is a part of the one embedded, or that table in another order.

    Empty otherwise.
    """
    there, here = comparable(store.fingerprint), comparable(described.fingerprint)
    differ = {name for name in here if there.get(name) != here[name]}
    if "table" not in differ or differ - {"table", "regions"}:
        return ""
    try:
        names = set(store.names().tolist())
    except OSError:
        return ""
    if not names.issuperset(described.names.tolist()):
        return ""
    return (
        f"It was made for a table of {len(names):,} rows that has all {len(described.names):,} of this one: if they "
        f"are the same units, attach their features with io.read_embedding(sdata, {str(store.path)!r}), which finds "
        "rows by name. "
    )


def _changed(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Say what differs between two calls: what was asked for, or else what it was asked of."""
    there, here = comparable(there), comparable(here)
    sections = [
        _store.differences(there.get(name), here.get(name), name="" if name == "parameters" else name) for name in here
    ]
    asked = [
        line for name, lines in zip(here, sections, strict=True) for line in lines if name not in ("regions", "table")
    ]
    return asked or [line for lines in sections for line in lines]


@contextmanager
def _noted(store: _store.EmbeddingStore, blocks: int) -> Iterator[None]:
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
    if not isinstance(sink, StoreSink):
        return record
    with suppress(Exception):  # a damaged one is written again
        if not anew and (there := sink.store.record()) is not None:
            return there
    sink.store.finish(record)
    return record
