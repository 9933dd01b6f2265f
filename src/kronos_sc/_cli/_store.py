"""Writing one table so that nothing is lost: the new one is complete on disk before the old one moves."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        # under another name first: should its run still be alive, it fails before it moves a table, and nothing is lost
        work = work.rename(Path(tempfile.mkdtemp(prefix=_WORK, dir=store)))
        for aside in _missing(store, work):
            aside.rename(store / "tables" / aside.name)
        _consolidate(store)
        shutil.rmtree(work, ignore_errors=True)


def _missing(store: Path, work: Path) -> list[Path]:
    """Return the tables that a work folder holds and the store lacks."""
    return [aside for aside in (work / _OLD).glob("*") if not (store / "tables" / aside.name).exists()]


def _consolidate(store: Path) -> None:
    """Write consolidated metadata anew where there are some and the nodes of the tables are not those listed."""
    import zarr

    listed = (metadata(store).get("consolidated_metadata") or {}).get("metadata")
    if listed is None or {name for name in listed if name.startswith("tables/")} == set(_nodes(store, store / "tables")):
        return
    with warnings.catch_warnings():
        # the format is young, and the work folder is none of the store's
        warnings.simplefilter("ignore", UserWarning)
        zarr.consolidatemetadata(store)


def _nodes(store: Path, group: Path) -> Iterator[str]:
    """Yield the names of all groups and arrays below a group; chunks of arrays are not looked at."""
    for place in group.iterdir():
        if not (place / "zarr.json").is_file():
            continue
        yield place.relative_to(store).as_posix()
        if metadata(place).get("node_type") == "group":
            yield from _nodes(store, place)


def metadata(node: Path) -> dict[str, Any]:
    """Return the metadata of a node of format 3, or the attributes of one of format 2; empty for what is neither."""
    for name, read_as in (("zarr.json", lambda values: values), (".zattrs", lambda values: {"attributes": values})):
        if (node / name).is_file():
            try:
                return dict(read_as(json.loads((node / name).read_text(encoding="utf-8"))))
            except (ValueError, TypeError):
                return {}
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
