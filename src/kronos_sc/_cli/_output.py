"""Writing the table to a place of its own: never over the input, and over nothing that is not a table."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spatialdata import SpatialData


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
    def checked(cls, path: Path, *, store: Path, overwrite: bool) -> OutputFile:
        """Return the place, or raise an error while nothing has been computed yet."""
        from kronos_sc._store.table import require_store

        require_store(store)
        if path.suffix not in (".h5ad", ".zarr"):
            msg = (
                f"--output {path} ends with {path.suffix or 'nothing'!r}; a table is written as .h5ad or .zarr. Name "
                f"it {path.with_suffix('.h5ad')}, say."
            )
            raise ValueError(msg)
        _require_apart(path, store)
        if not path.parent.is_dir():
            msg = f"The folder {path.parent} of --output {path.name} does not exist. Make it first."
            raise FileNotFoundError(msg)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            msg = f"The folder {path.parent} is read-only. Choose another place for --output."
            raise PermissionError(msg)
        if path.exists():
            _require_replaceable(path, overwrite=overwrite)
        return cls(path)

    def write(self, sdata: SpatialData, key: str) -> Path:
        """Write the table beside its place first, then move it there; what was there comes back if that fails."""
        import zarr
        from anndata.io import write_elem

        work = Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent))
        new = work / self.path.name
        replaced = work / "replaced"
        try:
            table = sdata.tables[key]
            if self.path.suffix == ".h5ad":
                table.write_h5ad(new)
            else:
                write_elem(zarr.open_group(new, mode="w", zarr_format=3), "/", table)
            if self.path.is_dir():  # only files are replaced in one step
                self.path.rename(replaced)
            new.replace(self.path)
        finally:
            if replaced.exists() and not self.path.exists():
                replaced.rename(self.path)
            shutil.rmtree(work, ignore_errors=True)
        return self.path


def _require_apart(path: Path, store: Path) -> None:
    """Raise a ValueError if the output is the input store, lies inside it or contains it, by whatever name."""
    target = path.resolve()
    source = store.resolve()
    if path.exists() and target.samefile(source):
        problem = "is the input store itself"
    elif _inside(target, source):
        problem = f"lies inside the input store {store}"
    elif path.exists() and _inside(source, target):
        problem = f"contains the input store {store}"
    else:
        return
    beside = source.with_name(f"{source.stem}_table.h5ad")
    msg = (
        f"--output {path} {problem}, which is only read when there is an --output. "
        f"Leave --output out to write the table into the store, or write it beside the store with --output {beside}."
    )
    raise ValueError(msg)


def _inside(inner: Path, outer: Path) -> bool:
    """Return whether one place lies below another one that exists; files are compared, so spelling does not matter."""
    return any(place.exists() and place.samefile(outer) for place in inner.parents)


def _require_replaceable(path: Path, *, overwrite: bool) -> None:
    """Raise a FileExistsError unless what is there may be replaced: asked for, and a table as far as one can tell."""
    if not overwrite:
        msg = f"{path} exists already. Choose another --output, or pass --overwrite to replace it."
        raise FileExistsError(msg)
    if path.suffix == ".h5ad" and path.is_file():
        return
    from kronos_sc._store.root_metadata import metadata

    # a folder says what it is in its root attributes, of Zarr 3 or 2
    attributes = metadata(path / "zarr.json").get("attributes") or metadata(path / ".zattrs")
    if path.suffix == ".zarr" and path.is_dir() and attributes.get("encoding-type") == "anndata":
        return
    if "spatialdata_attrs" in attributes:
        kind = "a SpatialData store"
    elif path.is_dir():
        kind = "a folder of another kind"
    else:
        kind = "a file"
    required = "an AnnData store (encoding-type 'anndata' in its root attributes)"
    if path.suffix == ".h5ad":
        required = "a file"
    msg = (
        f"{path} is {kind}; --overwrite replaces a {path.suffix} only if it is {required}. Choose another --output, or "
        "move what is there away first."
    )
    raise FileExistsError(msg)
