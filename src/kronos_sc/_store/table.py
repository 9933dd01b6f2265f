"""One table of a SpatialData store.

What must be true before it is written, and the exchange of the old folder for the new one.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import listed
from kronos_sc._core.keys import EmbedKeys
from kronos_sc._storage.files import on_disk, sync
from kronos_sc._store import root_metadata
from kronos_sc._store.exchange import put
from kronos_sc._store.root_metadata import ROOT
from kronos_sc._store.table_copy import clone
from kronos_sc._store.table_features import write_features
from kronos_sc._store.table_lock import META, NEW, OLD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import zarr


def require_store(store: Path) -> None:
    """Raise a FileNotFoundError unless a folder is a Zarr store, of format 3 or 2."""
    if not (store / ROOT).is_file() and not (store / ".zgroup").is_file():
        what = "is not a SpatialData store" if store.exists() else "does not exist"
        msg = (
            f"{store} {what}. A store is a folder written by sdata.write('….zarr'); make one of images with "
            "io.read_tiff(...).write(...)."
        )
        raise FileNotFoundError(msg)


def require_writable(
    store: Path, *, instead: str = "Write the SpatialData to another place with sdata.write(path)"
) -> None:
    """Raise an error unless a table can be written into a store; `instead` is what else can be done."""
    require_store(store)
    locked = [path for path in (store, store / "tables") if path.exists() and not os.access(path, os.W_OK | os.X_OK)]
    if locked:
        msg = (
            f"{locked[0]} is read-only, and the embedding is written into its table. {instead}, or make the store "
            "writable."
        )
        raise PermissionError(msg)
    if not (store / ROOT).is_file():
        msg = (
            f"{store} is in the older format Zarr 2, and tables are written in Zarr 3. {instead}, or rewrite the store "
            "once with sdata.write(new_path)."
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class Slots:
    """One embedding, by the names of its slots.

    Parameters
    ----------
    keys
        Names of the columns of `obs` and of the entry of `uns`.
    features
        Entries of `obsm`: arrays, or dask arrays.
    flags
        Columns of `obs`.
    record
        The entry of `uns`.
    """

    keys: EmbedKeys
    features: Mapping[str, Any]
    flags: Mapping[str, Any]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class StoredTable:
    """A table on disk.

    Parameters
    ----------
    store
        Folder of the SpatialData.
    name
        Of the table.
    """

    store: Path
    name: str

    @property
    def path(self) -> Path:
        """Folder of the table."""
        return self.store / "tables" / self.name

    def require_rows(self, names: np.ndarray) -> None:
        """Raise an error unless the table is there and has the rows given, in their order."""
        if not self.path.is_dir():
            folder = self.store / "tables"
            present: list[str] = []
            if folder.is_dir():
                present = sorted(path.name for path in folder.iterdir() if (path / ROOT).is_file())
            msg = (
                f"Table {self.name!r} is not in {self.store} yet (tables there: {listed(present)}). Write it first "
                f"with sdata.write_element({self.name!r})."
            )
            raise KeyError(msg)
        if not (self.path / ROOT).is_file():
            msg = (
                f"{self.path} is in the older format Zarr 2, and tables are written in Zarr 3. Rewrite the store once "
                "with sdata.write(new_path)."
            )
            raise ValueError(msg)
        stored = self._names()
        if np.array_equal(stored, names):
            return
        pairs = enumerate(zip(stored, names, strict=False))
        first = next((row for row, (one, other) in pairs if one != other), min(len(stored), len(names)))
        msg = (
            f"Table {self.name!r} has {len(names):,} rows in memory and {len(stored):,} in {self.store}; they are not "
            f"the same from row {first:,} on. Write the table as it is in memory: "
            f"sdata.delete_element_from_disk({self.name!r}), then sdata.write_element({self.name!r})."
        )
        raise ValueError(msg)

    def _names(self) -> np.ndarray:
        from anndata.io import read_elem

        obs = _open(self.path, "r")["obs"]
        return np.asarray(read_elem(obs[str(obs.attrs["_index"])]), dtype=object).astype(str)

    def _replaced_paths(self, slots: Slots) -> set[str]:
        """Return the places inside the table that an embedding takes, or that an earlier one of its name has left."""
        keys = slots.keys
        features = {*slots.features}
        # an earlier embedding of this name may have had class features too; with a record of its own that slot is
        # another embedding's
        if not (self.path / "uns" / f"{keys.uns}_cls").exists():
            features.add(keys.obsm("cls", alone=False))
        return {f"obs/{keys.edge}", f"obs/{keys.excluded}", f"uns/{keys.uns}", *(f"obsm/{name}" for name in features)}

    def replace(self, slots: Slots, work: Path) -> None:
        """Write an embedding into the table, under the lock of the store: all of it is there, or nothing is.

        The new table is whole, and on the disk, before the old one moves. Consolidated metadata go before that and come
        back after it: in between, readers look at what is there, and at no time are they told of something that is not.
        """
        new = work / NEW / self.name
        # hard links: only what is written anew takes space
        clone(self.path, new, without=self._replaced_paths(slots))
        _write_slots(new, slots)
        on_disk(new)
        sync(new.parent)
        consolidated = root_metadata.is_consolidated(self.store)
        if consolidated:
            without, whole = root_metadata.prepared(self.store, work / META, tables={self.name: new})
            without.replace(self.store / ROOT)
            sync(self.store)
        put(new, self.path, aside=work / OLD / self.name)
        sync(self.path.parent)
        if consolidated:
            whole.replace(self.store / ROOT)
            sync(self.store)


def _open(path: Path, mode: str) -> zarr.Group:
    import zarr

    return zarr.open_group(path, mode=mode, use_consolidated=False)


def _write_slots(table: Path, slots: Slots) -> None:
    """Write slots into a table folder that has none of them."""
    from anndata.io import write_elem

    group = _open(table, "r+")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # text in Zarr 3 is young, and zarr says so each time
        for slot, features in slots.features.items():
            write_features(_mapping(group, "obsm"), slot, features)
        write_elem(_mapping(group, "uns"), slots.keys.uns, dict(slots.record))
        for column, values in slots.flags.items():
            write_elem(group["obs"], column, values)
    order = [str(name) for name in group["obs"].attrs.get("column-order", ())]
    removed = {slots.keys.excluded} - set(slots.flags)  # of an earlier embedding of this name
    kept = [name for name in order if name not in removed]
    group["obs"].attrs["column-order"] = list(dict.fromkeys([*kept, *slots.flags]))
    if root_metadata.is_consolidated(table):
        root_metadata.consolidate(table)


def _mapping(table: zarr.Group, name: str) -> zarr.Group:
    """Return a mapping of a table; it may lack one that would be empty."""
    if name not in table:
        table.create_group(name, attributes={"encoding-type": "dict", "encoding-version": "0.1.0"})
    return table[name]
