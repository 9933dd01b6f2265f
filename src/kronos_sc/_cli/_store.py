"""Writing one table so that nothing is lost: the new one is complete on disk before the old one moves."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spatialdata import SpatialData

_WORK = ".kronos_sc-"  # readers of the store skip hidden folders
_OLD, _NEW = "old", "new.zarr"


def read(store: Path) -> SpatialData:
    """Read a SpatialData store; a table that a killed run had set aside is put back first."""
    import spatialdata

    require_store(store)
    recover(store)
    return spatialdata.read_zarr(store)


def require_store(store: Path) -> None:
    """Raise a FileNotFoundError unless a folder is a Zarr store, of format 3 or 2."""
    if not (store / "zarr.json").is_file() and not (store / ".zgroup").is_file():
        what = "is not a SpatialData store" if store.exists() else "does not exist"
        msg = f"{store} {what}. A store is a folder written by sdata.write('….zarr'); make one of images with io.read_tiff(...).write(...)."
        raise FileNotFoundError(msg)


def recover(store: Path) -> None:
    """Finish what a killed run left: a table set aside is put back, metadata list what is there, work folders go."""
    left = sorted(store.glob(f"{_WORK}*"))
    if not any(_missing(store, work) for work in left) and not os.access(store, os.W_OK | os.X_OK):
        return  # whole, and only to be read
    for work in left:
        claimed = work.with_name(f"{_WORK}{secrets.token_hex(4)}")
        try:
            # under another name first: should its run still be alive, that run fails before it moves a table, and nothing is lost
            work.rename(claimed)
        except FileNotFoundError:
            continue  # another run looks after it
        for aside in _missing(store, claimed):
            aside.rename(store / "tables" / aside.name)
        _consolidate(store)
        shutil.rmtree(claimed, ignore_errors=True)


def _missing(store: Path, work: Path) -> list[Path]:
    """Return the tables that a work folder holds and the store lacks."""
    return [aside for aside in (work / _OLD).glob("*") if not (store / "tables" / aside.name).exists()]


def _consolidate(store: Path) -> None:
    """Write the consolidated metadata of a store anew, if it has any."""
    import zarr

    if metadata(store / "zarr.json").get("consolidated_metadata"):
        with warnings.catch_warnings():
            # of the work folder and of Parquet files, which are none of Zarr's; and of the young format
            warnings.simplefilter("ignore", UserWarning)
            zarr.consolidate_metadata(store)


def metadata(path: Path) -> dict[str, Any]:
    """Return what a JSON file of a Zarr store holds; nothing where it is missing or not readable as such."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


@dataclass(frozen=True)
class StoreTable:
    """A table inside a store.

    Parameters
    ----------
    store
        Folder of the store.
    """

    store: Path

    @classmethod
    def checked(cls, store: Path) -> StoreTable:
        """Return the place, or raise an error while nothing has been computed yet."""
        require_store(store)
        other = "Write the table to a file with --output table.h5ad"
        locked = [path for path in (store, store / "tables") if path.exists() and not os.access(path, os.W_OK | os.X_OK)]
        if locked:
            msg = f"{locked[0]} is read-only, and the embedding is written into its table. {other}, or make the store writable."
            raise PermissionError(msg)
        if not (store / "zarr.json").is_file():
            msg = f"{store} is in the older format Zarr 2, and tables are written in Zarr 3. {other}, or rewrite the store once with sdata.write(new_path)."
            raise ValueError(msg)
        return cls(store)

    def write(self, sdata: SpatialData, key: str) -> Path:
        """Replace one table; every other file of the store stays as it is, but for the consolidated metadata."""
        from spatialdata import SpatialData as Container

        target = self.store / "tables" / key
        work = Path(tempfile.mkdtemp(prefix=_WORK, dir=self.store))
        try:
            (work / _OLD).mkdir()
            with warnings.catch_warnings():
                # written alone, the table annotates elements that are not beside it
                warnings.simplefilter("ignore", UserWarning)
                Container(tables={key: sdata.tables[key]}).write(work / _NEW, consolidate_metadata=False)
            target.rename(work / _OLD / key)
            (work / _NEW / "tables" / key).rename(target)
        except BaseException:
            for aside in _missing(self.store, work):
                aside.rename(target)
            shutil.rmtree(work, ignore_errors=True)
            raise
        _consolidate(self.store)
        shutil.rmtree(work, ignore_errors=True)  # last: while it is there, the next run looks after the store
        return target
