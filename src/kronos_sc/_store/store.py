"""An embedding on disk."""

from __future__ import annotations

import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.progress import track
from kronos_sc._core.settings import settings
from kronos_sc._storage.chunks import direct
from kronos_sc._storage.files import on_disk
from kronos_sc._store import arrays
from kronos_sc._store.folder import ROOT, discard, open_group, require_free, store_attributes
from kronos_sc._store.new import Spec, create_block_arrays, ignore_zarr_warnings, names_sha256, write_names, write_rows
from kronos_sc._store.rows import Rows
from kronos_sc._store.stage import BRIGHTEST, PARTS, PIXELS, BlockWriter, StagedBlock

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array as da

_RECORD = "record"
_PURPOSE = {
    "row": "whose features are where",
    "edge": "whose window reaches beyond the image",
    "excluded": "which units were left out",
}


class EmbeddingStore:
    """One embedding on disk, and a sink for its blocks while it is made.

    Reading needs no lock; everything that writes must hold :func:`kronos_sc._store.lock_store`.

    Parameters
    ----------
    path
        A folder that :meth:`create` made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._group, facts = open_group(path)
        self.fingerprint: dict[str, Any] = facts["identity"]
        self.key = str(facts["key"])
        self.kinds = tuple(facts["kinds"])
        self._names_sha256 = facts["names_sha256"]
        self.dtype = str(facts["dtype"])
        self.rows: np.ndarray = self._whole("row").reshape(-1, int(facts["capacity"]))

    @classmethod
    def create(cls, path: Path, spec: Spec) -> EmbeddingStore:
        """Make an empty store in a folder that holds nothing, or what a killed call of this function left."""
        import zarr

        require_free(path)
        discard(path)
        (path / PARTS).mkdir(exist_ok=True)
        work = path / PARTS / f"new-{secrets.token_hex(4)}"
        capacity = spec.rows.shape[1]
        facts = {"key": spec.key, "kinds": list(spec.kinds), "dtype": spec.dtype, "capacity": capacity}
        facts |= {"names_sha256": names_sha256(spec.names), "identity": spec.fingerprint}
        with ignore_zarr_warnings():
            group = zarr.create_group(work, zarr_format=3, attributes=store_attributes(facts))
            for name in create_block_arrays(spec, work):
                (work / name / "c").mkdir()
            write_rows(work, row=spec.rows.ravel(), **spec.flags)
            write_names(group, spec.names)
        on_disk(work)
        # the root's metadata last: it makes the store one
        for child in sorted(work.iterdir(), key=lambda child: child.name == ROOT):
            child.rename(path / child.name)
        work.rmdir()
        return cls(path)

    @property
    def stager(self) -> BlockWriter:
        """What writes the files of a block."""
        return BlockWriter(self.path, self.rows.shape[1], self.dtype)

    def accept(self, staged: StagedBlock) -> None:
        """Put the files of a block in their places."""
        for name, part in staged.files.items():
            target = self.path / name
            target.parent.mkdir(exist_ok=True)  # one level: should the store be gone, nothing of it is made again
            (self.path / part).replace(target)

    def present(self) -> np.ndarray:
        """Return which blocks have all their files (bool); their contents are not read."""
        blocks = range(len(self.rows))
        return np.array([all((self.path / name).exists() for name in self._files(block)) for block in blocks], bool)

    def intact(self) -> np.ndarray:
        """Return which blocks are complete and pass their checksums (bool); reads all features."""
        is_intact = self.present()
        candidates = np.flatnonzero(is_intact)
        if len(candidates):
            with ThreadPoolExecutor(settings.read_threads) as pool:
                read = pool.map(self._readable, candidates.tolist())
                is_intact[candidates] = list(track(read, total=len(candidates), description="verify", unit="block"))
        return is_intact

    def _files(self, block: int) -> list[str]:
        features = [arrays.block_file(kind, block, 2) for kind in self.kinds]
        return [*features, *(arrays.block_file(name, block, 1) for name in (PIXELS, BRIGHTEST))]

    def _readable(self, block: int) -> bool:
        n_units = int((self.rows[block] >= 0).sum())
        capacity = self.rows.shape[1]
        try:
            for name in (*self.kinds, PIXELS, BRIGHTEST):
                array = self._group[name]
                step = array.chunks[0]
                read = direct(array)
                # chunks behind the last unit hold filler only: none is written, and none is missed
                start = block * capacity
                stop = start + n_units
                if name == BRIGHTEST:  # one value per block
                    start = block
                    stop = block + 1
                for chunk in range(start // step, -(-stop // step)):
                    if read((chunk, *[0] * (array.ndim - 1))) is None:
                        return False
        except Exception:  # noqa: BLE001 - whatever the codec raises, the block is damaged
            return False
        return True

    def features(self, kind: str, rows: np.ndarray | None = None) -> da.Array:
        """Return features as a lazy array (rows of the table, or the chosen ones, × width)."""
        position = np.full(self._n_rows(), -1, np.int64)
        stored = self.rows.ravel()
        position[stored[stored >= 0]] = np.flatnonzero(stored >= 0)
        if rows is not None:
            position = position[rows]
        identifier = str(self._group.attrs["id"])
        return Rows(self.path, kind, position, self.rows.shape[1], identifier).lazy()

    def pixels(self) -> np.ndarray:
        """Return the pixels of each unit inside its window, by row of the table (int64); 0 where there is no unit."""
        return self._by_row(self._group[PIXELS][:], np.int64)

    def brightest(self) -> np.ndarray:
        """Return how bright the brightest pixels of each unit's block are.

        As a share of full scale, by row of the table (float32).
        """
        return self._by_row(np.repeat(self._group[BRIGHTEST][:], self.rows.shape[1]), np.float32)

    def _by_row(self, stored: np.ndarray, dtype: type) -> np.ndarray:
        by_row = np.zeros(self._n_rows(), dtype)
        rows = self.rows.ravel()
        by_row[rows[rows >= 0]] = stored[rows >= 0]
        return by_row

    def _n_rows(self) -> int:
        """Return the rows of the table, from what describes an array of one number for each."""
        try:
            return int(self._group["edge"].shape[0])
        except Exception as error:
            raise self._damaged("edge", f"{type(error).__name__}: {error}") from error

    def _whole(self, name: str) -> np.ndarray:
        try:
            array = self._group[name]
            values = direct(array)((0,))
        except Exception as error:
            raise self._damaged(name, f"{type(error).__name__}: {error}") from error
        if values is None:
            raise self._damaged(name, "its file is missing")
        return values[: array.shape[0]]

    def _damaged(self, name: str, why: str) -> OSError:
        what = _PURPOSE.get(name, "which row is whose")
        cure = "start again with tl.embed(..., overwrite=True)"
        if name != "row":  # known to the call, and small
            cure = "make the call of tl.embed that wrote the store again, which writes it anew"
        return OSError(f"{self.path / name}, which says {what}, is damaged ({why}). Restore it from a copy, or {cure}.")

    def complete(self) -> int:
        """Return how many blocks have all their files; their contents are not read."""
        return int(self.present().sum())

    def edge(self) -> np.ndarray:
        """Return, by row of the table, whether the window reaches beyond the image."""
        return self._whole("edge")

    def excluded(self) -> np.ndarray | None:
        """Return, by row of the table, whether it was left out; None if nothing was to be."""
        return self._whole("excluded") if "excluded" in self._group else None

    def names(self) -> np.ndarray:
        """Return the `obs_names` of the table."""
        from anndata.io import read_elem

        try:
            names = np.asarray(read_elem(self._group["names"]), dtype=object)
        except Exception as error:
            raise self._damaged("names", f"{type(error).__name__}: {error}") from error
        if names_sha256(names) != self._names_sha256:
            raise self._damaged("names", "its checksum is wrong")
        return names

    def record(self) -> dict[str, Any] | None:
        """Return what `uns` holds of the embedding; None while blocks are missing."""
        from anndata.io import read_elem

        if not (self.path / _RECORD).exists():
            return None
        return read_elem(open_group(self.path)[0][_RECORD])

    def finish(self, record: dict[str, Any]) -> None:
        """Keep the record of a store whose blocks are all there, in place of an earlier one."""
        import zarr
        from anndata.io import write_elem
        from zarr.storage import MemoryStore

        work = self.path / PARTS / f"record-{secrets.token_hex(4)}"
        files: dict[str, Any] = {}
        with ignore_zarr_warnings():
            write_elem(zarr.create_group(MemoryStore(files), zarr_format=3), _RECORD, record)
        for name, content in files.items():  # a hundred small ones: zarr would open each several times
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_bytes(content.to_bytes())
        on_disk(work)
        shutil.rmtree(self.path / _RECORD, ignore_errors=True)
        (work / _RECORD).rename(self.path / _RECORD)

    def tidy(self) -> None:
        """Remove files that never took their places."""
        shutil.rmtree(self.path / PARTS, ignore_errors=True)
