"""Writing one table so that nothing is lost: the new one is complete on disk before the old one moves."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    """Put back tables that are set aside and missing from the store: a run was killed between two renames."""
    for aside in store.glob(f"{_WORK}*/{_OLD}/*"):
        if not (store / "tables" / aside.name).exists():
            aside.rename(store / "tables" / aside.name)
            shutil.rmtree(aside.parents[1], ignore_errors=True)


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
        finally:
            if not target.exists() and (work / _OLD / key).exists():
                (work / _OLD / key).rename(target)
            shutil.rmtree(work, ignore_errors=True)
        if sdata.has_consolidated_metadata():
            sdata.write_consolidated_metadata()
        return target


@dataclass(frozen=True)
class OutputFile:
    """A file or store of its own for the table.

    Parameters
    ----------
    path
        Ends with .h5ad or .zarr.
    """

    path: Path

    @classmethod
    def checked(cls, path: Path, *, overwrite: bool) -> OutputFile:
        """Return the place, or raise an error while nothing has been computed yet."""
        if path.suffix not in (".h5ad", ".zarr"):
            msg = f"--output {path} ends with {path.suffix or 'nothing'!r}; a table is written as .h5ad or .zarr. Name it {path.with_suffix('.h5ad')}, say."
            raise ValueError(msg)
        if not path.parent.is_dir():
            msg = f"The folder {path.parent} of --output {path.name} does not exist. Make it first."
            raise FileNotFoundError(msg)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            msg = f"The folder {path.parent} is read-only. Choose another place for --output."
            raise PermissionError(msg)
        if path.exists() and not overwrite:
            msg = f"{path} exists already. Choose another --output, or pass --overwrite to replace it."
            raise FileExistsError(msg)
        return cls(path)

    def write(self, sdata: SpatialData, key: str) -> Path:
        """Write the table beside its place first, then move it there."""
        import zarr
        from anndata.io import write_elem

        work = Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent))
        new = work / self.path.name
        try:
            table = sdata.tables[key]
            if self.path.suffix == ".h5ad":
                table.write_h5ad(new)
            else:
                write_elem(zarr.open_group(new, mode="w", zarr_format=3), "/", table)
            if self.path.is_dir():
                self.path.rename(work / "replaced")
            new.replace(self.path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return self.path
