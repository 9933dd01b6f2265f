"""One embedding into the store that its SpatialData was read from, and nothing else."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.checks import known, listed
from kronos_sc._core.keys import EmbedKeys
from kronos_sc._core.log import info
from kronos_sc._core.record import is_embedding
from kronos_sc._core.resolve import require_spatialdata
from kronos_sc._core.resolve import table_key as chosen_table
from kronos_sc._core.settings import feature_memory
from kronos_sc._core.warn import warn
from kronos_sc._store.table import Slots, StoredTable, require_store, require_writable
from kronos_sc._store.table_lock import leftover_dirs, lock_table_store, missing_tables, restore_tables, writing

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

_DEFAULT = "kronos"


def write_embedding(
    sdata: SpatialData, *, key: str | None = None, table_key: str | None = None, wait: float = 30.0
) -> None:
    """Write one embedding into the store on disk that the SpatialData was read from or written to.

    Only the slots of the embedding are written: `sdata.write_element` would write the whole table anew, counts, layers
    and graphs included. Features that are a dask array (:func:`kronos_sc.tl.embed` with `store=`) are written piece by
    piece, so they may be larger than memory.

    Readers see the old table or the new one, each whole, and so does everybody after a crash: the new table is made
    beside the old one, of hard links to its files, and takes its place in one step when all of it is on the disk. Where
    the file system cannot exchange two folders (NFS, Windows) there are two steps, and a process killed between them
    leaves a store without that table; :func:`kronos_sc.io.recover`, or the next call of this function, puts it back. A
    reader that has begun to read the table when it is replaced may find parts of both.

    Parameters
    ----------
    sdata
        Has the embedding in one of its tables, and a store on a local or mounted disk, in Zarr 3.
    key
        `key_added` of the embedding; the only one of the table if left out, or `"kronos"` of several. One of the same
        name in the store is replaced; others stay.
    table_key
        Which table; the only one if left out. In the store it must have the same rows in the same order.
    wait
        Seconds to wait for another process that is writing into the same store.

    Returns
    -------
    `None`. Writes `obsm['X_' + key]`, `obsm['X_' + key + '_cls']` if there is one, `obs[key + '_edge']` (and
    `_excluded`) and `uns[key]` of the table in the store; `sdata` itself does not change.

    Raises
    ------
    KeyError, ValueError
        Before anything is written: no such embedding or table in memory, several and none named, no store, no such
        table in it or one with other rows, Zarr 2.
    BlockingIOError
        Another process is writing into the store, for longer than `wait`.
    OSError
        The store is not there, read-only, or its disk is full; the table is as it was.

    Examples
    --------
    >>> import tempfile, warnings
    >>> import kronos_sc as ks
    >>> warnings.simplefilter("ignore")
    >>> sdata = ks.datasets.tissue(shape=(128, 128))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sdata.write(f"{folder}/tissue.zarr")
    ...     ks.tl.embed(sdata, model="mean-marker")
    ...     ks.io.write_embedding(sdata, key="mean_marker")
    """
    require_spatialdata(sdata)
    if not 0 <= wait < math.inf:
        msg = f"wait={wait!r} is no time; it is a number of seconds, 0 or more. Leave it out for 30."
        raise ValueError(msg)
    name = chosen_table(sdata, table_key)
    table = sdata.tables[name]
    if key is None:
        key = _only_embedding(table, name)
    slots = slots_of(table, key, name=name)
    if sdata.path is None:
        msg = (
            f"This SpatialData is in memory only, so there is no store to write {key!r} into. Write all of it first "
            "with sdata.write(path)."
        )
        raise ValueError(msg)
    _warn_if_large(slots)
    stored = StoredTable(Path(sdata.path), name)
    require_writable(stored.store)
    start = time.perf_counter()
    # rows are compared under the lock: nobody else can change them before the table is replaced
    with writing(stored.store, wait=wait) as work:
        stored.require_rows(np.asarray(table.obs_names, dtype=object).astype(str))
        stored.replace(slots, work)
    added = ", ".join([*(f"obsm[{slot!r}]" for slot in slots.features), f"obs[{slots.keys.edge!r}]"])
    info(f"wrote {added} and uns[{key!r}] of table {name!r} to {stored.store} in {time.perf_counter() - start:.1f} s")


def _embedding_keys(table: AnnData) -> list[str]:
    return [name for name, entry in table.uns.items() if is_embedding(entry)]


def _only_embedding(table: AnnData, name: str) -> str:
    """Return the embedding that is meant if none is named."""
    embedding_keys = _embedding_keys(table)
    if len(embedding_keys) == 1:
        return embedding_keys[0]
    if not embedding_keys or _DEFAULT in embedding_keys:  # none: what names it says so
        return _DEFAULT
    msg = (
        f"Table {name!r} has {len(embedding_keys)} embeddings ({listed(embedding_keys)}) and none was named. Choose "
        "one with key=."
    )
    raise ValueError(msg)


def _warn_if_large(slots: Slots) -> None:
    """Warn about features that stayed on disk because of their size, and would be loaded whole from the table."""
    lazy = [features for features in slots.features.values() if hasattr(features, "dask")]
    if (size := sum(int(features.nbytes) for features in lazy)) > (most := feature_memory()):
        warn(
            f"Features of {slots.keys.name!r} take {size / 2**30:.1f} GiB, more than settings.memory "
            f"({most / 2**30:.1f} GiB), and spatialdata.read_zarr loads those of a table whole. They can stay in their "
            "store instead: io.read_embedding(sdata) attaches them without loading them."
        )


def slots_of(table: AnnData, key: str, *, name: str) -> Slots:
    """Return the slots of an embedding in memory, or raise a KeyError that says what is missing."""
    keys = EmbedKeys(key)
    embedding_keys = _embedding_keys(table)
    remake = "Make it with tl.embed(sdata)."
    known(
        key,
        embedding_keys,
        what="embedding",
        fix=f"{remake.removesuffix('.')}, or name another embedding of table {name!r} with key=.",
    )
    record = table.uns[keys.uns]
    kinds = [str(kind) for kind in np.atleast_1d(record["params"]["features"])]
    slot_names = [keys.obsm(kind, alone=len(kinds) == 1) for kind in kinds]
    missing = [f"obsm[{slot!r}]" for slot in slot_names if slot not in table.obsm]
    if keys.edge not in table.obs:
        missing.append(f"obs[{keys.edge!r}]")
    if missing:
        msg = (
            f"uns[{key!r}] of table {name!r} is the record of an embedding, but {', '.join(missing)} is gone (obsm "
            f"holds {listed(table.obsm)}). {remake}"
        )
        raise KeyError(msg)
    flags = {column: table.obs[column].values for column in (keys.edge, keys.excluded) if column in table.obs}
    return Slots(keys, {slot: table.obsm[slot] for slot in slot_names}, flags, record)


def recover(path: str | os.PathLike[str]) -> None:
    """Put a SpatialData store in order after a process that was killed while it wrote a table.

    :func:`kronos_sc.io.write_embedding` and `kronos-sc embed` do so themselves when they next write to the store. Call
    this if a table is missing (only possible where the file system cannot exchange two folders, NFS say), or to remove
    the hidden work folder `.kronos_sc-…` that a killed process left.

    Parameters
    ----------
    path
        The store. One that is whole and read-only is left as it is, and so is one that a running process writes to.

    Returns
    -------
    `None`.

    Raises
    ------
    FileNotFoundError
        There is no store.
    PermissionError
        A table is missing, and the store is read-only.
    """
    store = Path(path)
    require_store(store)
    work_dirs = leftover_dirs(store)
    if not work_dirs:
        return
    if not os.access(store, os.W_OK | os.X_OK) and not any(missing_tables(store, work) for work in work_dirs):
        return
    require_writable(store)
    try:
        with lock_table_store(store, wait=0.0):
            restore_tables(store)
    except BlockingIOError:
        info(f"{store} is being written to; there is nothing to recover")
