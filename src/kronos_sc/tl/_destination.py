"""Where an embedding is kept: in memory, or on disk, where a run that was stopped goes on."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kronos_sc import _store
from kronos_sc._core.log import info
from kronos_sc._core.settings import settings
from kronos_sc.tl._blocks import remaining, table_rows
from kronos_sc.tl._sink import Sink, StoreSink

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    import numpy as np
    from spatialdata import SpatialData

    from kronos_sc.tl._jobs import Job


def place_for(sdata: SpatialData, store: str | os.PathLike[str] | bool | None, *, table: str, key: str, size: int) -> Path | None:  # noqa: FBT001
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
        budget = None if isinstance(store, bool) else _quarter() if settings.memory is None else settings.memory
        if store is False or (store is None and size <= budget):
            return None
        why = "" if store else f"{size / 2**30:.1f} GiB of features are more than settings.memory ({budget / 2**30:.1f} GiB). "
        beside = _beside(sdata, table, key, why=why)
        if why:
            info(f"{why}They go to {beside}")
        return beside
    if "://" in (text := str(Path(store) if not isinstance(store, str) else store)):
        msg = f"store={text!r} is an address; features are written to a folder of this machine or of a mounted disk. Give its path."
        raise ValueError(msg)
    place = Path(store).expanduser().absolute()
    if sdata.path is not None and place.resolve().is_relative_to(tissue := Path(sdata.path).resolve()):
        msg = (
            f"store={text!r} lies within the SpatialData at {tissue}, whose files are not ours to change. "
            "Write beside it with store=True, or choose another folder."
        )
        raise ValueError(msg)
    return place


def _quarter() -> int:
    from distributed.system import memory_limit

    return memory_limit() // 4


def _beside(sdata: SpatialData, table: str, key: str, *, why: str) -> Path:
    """Return the default place, or raise an error for a SpatialData that lies nowhere."""
    if sdata.path is None:
        msg = (
            f"{why}This SpatialData is not on disk, so features cannot lie beside it. Write it first with sdata.write('….zarr'), "
            "or name a folder with store=."
        )
        raise ValueError(msg)
    path = Path(sdata.path).absolute()
    return path.with_name(f"{path.name.removesuffix('.zarr')}.{table}.{key}.zarr")


@contextmanager
def destination(
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
    place.mkdir(parents=True, exist_ok=True)
    with _store.held(place):
        store = _opened(place, described, overwrite=overwrite)
        done = store.intact()
        if done.any():
            units = int((store.rows[done] >= 0).sum())
            info(f"{int(done.sum())} of {len(done)} blocks ({units:,} units) are in {place} already")
            jobs = remaining(jobs, store.rows, done)
        try:
            with _noted(store, len(done)):
                yield StoreSink(store), jobs
        finally:
            store.tidy()


def _opened(place: Path, described: _store.Spec, *, overwrite: bool) -> _store.EmbeddingStore:
    """Return the store at a place: new, or the one that this very call began."""
    if overwrite or not _store.exists(place):  # an unreadable one may be replaced
        return _store.EmbeddingStore.create(place, described)
    store = _store.EmbeddingStore(place)
    if changed := _changed(store.identity, described.identity):
        more = f"; and {len(changed) - 6} more" if len(changed) > 6 else ""
        msg = (
            f"{place} holds an embedding of another call: {'; '.join(changed[:6])}{more}. Make the call that began it, choose another place with store=, "
            "or start again with overwrite=True."
        )
        raise ValueError(msg)
    store.mend(described)
    return store


def _changed(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Say what differs between two calls: what was asked for, or else what it was asked of."""
    sections = [_store.differences(there.get(name), here.get(name), name="" if name == "parameters" else name) for name in here]
    asked = [line for name, lines in zip(here, sections, strict=True) for line in lines if name not in ("regions", "table")]
    return asked or [line for lines in sections for line in lines]


@contextmanager
def _noted(store: _store.EmbeddingStore, blocks: int) -> Iterator[None]:
    """Say with every error how much of the work is kept."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"{store.complete()} of {blocks} blocks are complete in {store.path}; the same call goes on from there.")
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
