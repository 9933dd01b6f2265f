"""An embedding on disk."""

from __future__ import annotations

import secrets
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.progress import track
from kronos_sc._core.settings import settings
from kronos_sc._store import _arrays
from kronos_sc._store._folder import FORMAT, ROOT, discard, open_group, require_free
from kronos_sc._store._rows import Rows
from kronos_sc._store._stage import BRIGHTEST, PARTS, PIXELS, Staged, Stager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import dask.array as da
    import zarr

_RECORD = "record"


@dataclass(frozen=True)
class Spec:
    """What a new store is made for.

    Parameters
    ----------
    key
        Name of the embedding.
    kinds
        Width of each kind of features.
    dtype
        Of features: `float32` or `float16`.
    rows
        Row of the table of each stored row (blocks × capacity, int64), -1 where a block has fewer units.
    edge
        Per row of the table, whether the window reaches beyond the image.
    names
        `obs_names` of the table.
    identity
        What must agree on resume: nested dicts of lists, text and numbers.
    """

    key: str
    kinds: dict[str, int]
    dtype: str
    rows: np.ndarray
    edge: np.ndarray
    names: np.ndarray
    identity: dict[str, Any]


class EmbeddingStore:
    """One embedding on disk; reading it needs no lock, everything that writes must hold :func:`kronos_sc._store.held`.

    Parameters
    ----------
    path
        A folder that :meth:`create` made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._group = open_group(path)
        facts = dict(self._group.attrs)
        self.identity: dict[str, Any] = facts["identity"]
        self.key = str(facts["key"])
        self.kinds = tuple(facts["kinds"])
        self.dtype = str(facts["dtype"])
        self.rows: np.ndarray = self._group["row"][:].reshape(-1, int(facts["capacity"]))

    @classmethod
    def create(cls, path: Path, spec: Spec) -> EmbeddingStore:
        """Make an empty store in a folder that holds nothing, or what a killed call of this function left."""
        import zarr

        require_free(path)
        discard(path)
        work = path / PARTS / f"new-{secrets.token_hex(4)}"
        blocks, capacity = spec.rows.shape
        with _quiet():
            facts = {"format": FORMAT, "key": spec.key, "kinds": list(spec.kinds), "dtype": spec.dtype, "capacity": capacity}
            facts["identity"] = spec.identity
            group = zarr.create_group(work, zarr_format=3, attributes=facts)
            for kind, width in spec.kinds.items():
                _arrays.create(work, kind, blocks=blocks, capacity=capacity, width=width, dtype=spec.dtype)
            _arrays.create(work, PIXELS, blocks=blocks, capacity=capacity, width=None, dtype="int32")
            _arrays.create(work, BRIGHTEST, blocks=blocks, capacity=1, width=None, dtype="float32")
            group.create_array("row", data=spec.rows.ravel())
            group.create_array("edge", data=spec.edge)
            write_element(group, "names", np.asarray(spec.names, dtype=object))
        for child in sorted(work.iterdir(), key=lambda child: child.name == ROOT):  # the root's metadata last: it makes the store one
            child.rename(path / child.name)
        shutil.rmtree(path / PARTS)
        (path / PARTS).mkdir()
        return cls(path)

    @property
    def stager(self) -> Stager:
        """What writes the files of a block."""
        (self.path / PARTS).mkdir(exist_ok=True)
        return Stager(self.path, self.rows.shape[1], self.dtype)

    def accept(self, staged: Staged) -> None:
        """Put the files of a block in their places."""
        for name, part in staged.files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (self.path / part).replace(target)

    def intact(self) -> np.ndarray:
        """Return which blocks are complete and pass their checksums (bool); reads all features."""
        found = np.array([all((self.path / name).exists() for name in self._files(block)) for block in range(len(self.rows))], bool)
        some = np.flatnonzero(found)
        if len(some):
            with ThreadPoolExecutor(settings.read_threads) as pool:
                read = pool.map(self._readable, some.tolist())
                found[some] = list(track(read, total=len(some), description="verify", unit="block"))
        return found

    def _files(self, block: int) -> list[str]:
        features = [_arrays.block_file(kind, block, 2) for kind in self.kinds]
        return [*features, *(_arrays.block_file(name, block, 1) for name in (PIXELS, BRIGHTEST))]

    def _readable(self, block: int) -> bool:
        used, capacity = int((self.rows[block] >= 0).sum()), self.rows.shape[1]
        start = block * capacity
        try:
            for name in (*self.kinds, PIXELS):
                self._group[name][start : start + used]
            self._group[BRIGHTEST][block]
        except Exception:  # noqa: BLE001 - whatever the codec raises, the block is damaged
            return False
        return True

    def features(self, kind: str, rows: np.ndarray | None = None) -> da.Array:
        """Return features as a lazy array (rows of the table, or the chosen ones, × width)."""
        position = np.full(self._group["edge"].shape[0], -1, np.int64)
        stored = self.rows.ravel()
        position[stored[stored >= 0]] = np.flatnonzero(stored >= 0)
        return Rows(self.path, kind, position if rows is None else position[rows], self.rows.shape[1]).lazy()

    def pixels(self) -> np.ndarray:
        """Return the pixels of each unit inside its window, by row of the table (int64); 0 where there is no unit."""
        return self._by_row(self._group[PIXELS][:], np.int64)

    def brightest(self) -> np.ndarray:
        """Return the brightest pixels of the block of each unit, as a share of full scale, by row of the table (float32)."""
        return self._by_row(np.repeat(self._group[BRIGHTEST][:], self.rows.shape[1]), np.float32)

    def _by_row(self, stored: np.ndarray, dtype: type) -> np.ndarray:
        out = np.zeros(self._group["edge"].shape[0], dtype)
        rows = self.rows.ravel()
        out[rows[rows >= 0]] = stored[rows >= 0]
        return out

    def complete(self) -> int:
        """Return how many blocks have all their files; their contents are not read."""
        return sum(all((self.path / name).exists() for name in self._files(block)) for block in range(len(self.rows)))

    def edge(self) -> np.ndarray:
        """Return, by row of the table, whether the window reaches beyond the image."""
        return self._group["edge"][:]

    def names(self) -> np.ndarray:
        """Return the `obs_names` of the table."""
        from anndata.io import read_elem

        return np.asarray(read_elem(self._group["names"]), dtype=object)

    def record(self) -> dict[str, Any] | None:
        """Return what `uns` holds of the embedding; None while blocks are missing."""
        from anndata.io import read_elem

        return read_elem(open_group(self.path)[_RECORD]) if (self.path / _RECORD).exists() else None

    def finish(self, record: dict[str, Any]) -> None:
        """Keep the record of a store whose blocks are all there, in place of an earlier one; remove what killed runs left."""
        import zarr

        work = self.path / PARTS / f"record-{secrets.token_hex(4)}"
        with _quiet():
            write_element(zarr.create_group(work, zarr_format=3), _RECORD, record)
        shutil.rmtree(self.path / _RECORD, ignore_errors=True)
        (work / _RECORD).rename(self.path / _RECORD)
        shutil.rmtree(self.path / PARTS, ignore_errors=True)


def write_element(group: zarr.Group, name: str, value: Any) -> None:
    """Write text or a record as anndata does."""
    from anndata.io import write_elem

    write_elem(group, name, value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Text in Zarr 3 is young, and zarr says so each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
