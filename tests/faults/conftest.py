"""A tissue on disk whose every byte is compared at the end, and a process that forks children to be hurt."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BLOCKS = 12
KINDS = ("marker", "cls")
CALL = {"features": KINDS, "patch_size": 32, "precision": "float32", "device": "cpu"}


def contents(folder: Path) -> dict[str, str]:
    """Return the checksum of every file below a folder, links as what they point to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found


def features_of(table: Any, key: str = "kronos") -> dict[str, np.ndarray]:
    """Return both kinds of features as plain arrays."""
    return {kind: np.asarray(table.obsm[f"X_{key}" if kind == "marker" else f"X_{key}_cls"]) for kind in KINDS}


@dataclass
class Case:
    """A tissue on disk, the place for its embedding, and what the embedding must be."""

    folder: Path
    model: Any
    truth: dict[str, np.ndarray]
    store: Path = field(init=False)
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        self.path, self.store = self.folder / "tissue.zarr", self.folder / "features.zarr"

    def read(self) -> Any:
        import spatialdata

        return spatialdata.read_zarr(self.path)

    def embed(self, sdata: Any = None, **how: Any) -> Any:
        """Embed into the store; return the table with its features."""
        import kronos_sc as ks

        sdata = self.read() if sdata is None else sdata
        ks.tl.embed(sdata, **CALL | {"model": self.model, "store": self.store} | how)
        return next(iter(sdata.tables.values()))

    def check(self, table: Any) -> None:
        """The features are those of the uninterrupted run, bit for bit, and no files under passing names are left."""
        for kind, values in features_of(table).items():
            np.testing.assert_array_equal(values, self.truth[kind])
        self.check_store()

    def check_store(self) -> None:
        """The same of what lies on disk, read without the SpatialData."""
        from kronos_sc._store import EmbeddingStore

        store = EmbeddingStore(self.store)
        assert store.intact().all()
        assert store.record() is not None
        assert not (self.store / ".parts").exists()
        assert {child.name for child in self.store.iterdir()} == {
            *(".lock", "brightest", "cls", "edge", "marker", "names", "pixels", "record", "row", "zarr.json")
        }
        for kind in KINDS:
            np.testing.assert_array_equal(store.features(kind).compute(), self.truth[kind])
        for name in ("pixels", "brightest"):
            np.testing.assert_array_equal(getattr(store, name)(), self.truth[name])

    def complete(self) -> set[int]:
        """Return the blocks that have all their files."""
        names = [*(f"{kind}/c/{{}}/0" for kind in KINDS), "pixels/c/{}", "brightest/c/{}"]
        return {block for block in range(BLOCKS) if all((self.store / name.format(block)).exists() for name in names)}

    def check_partial(self) -> int:
        """What a dead run left is absent, or readable and right; return how many blocks are complete."""
        from kronos_sc._store import EmbeddingStore

        if not (self.store / "zarr.json").exists():
            return 0
        store = EmbeddingStore(self.store)
        complete = self.complete()
        assert set(np.flatnonzero(store.intact()).tolist()) == complete
        rows = store.rows[sorted(complete)]
        rows = rows[rows >= 0]
        for kind in KINDS:
            np.testing.assert_array_equal(store.features(kind, rows).compute(), self.truth[kind][rows])
        return len(complete)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """One chunk per block."""
    import torch

    from kronos_sc import settings

    monkeypatch.setattr(settings, "block_memory", 1000)
    monkeypatch.setattr(settings, "verbosity", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def template(stored, tmp_path_factory) -> Path:
    """A tissue of twelve chunks with cells."""
    folder = tmp_path_factory.mktemp("faults") / "tissue.zarr"
    stored(folder, chunks=(1, 48, 48), label_chunks=(48, 48))
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """Where `truth` leaves its store."""
    return tmp_path_factory.mktemp("truth") / "whole.zarr"


@pytest.fixture(scope="session")
def truth(template, tiny, finished) -> dict[str, np.ndarray]:
    """What an uninterrupted run gives: features in memory, pixels and brightness from a store."""
    import spatialdata

    import kronos_sc as ks
    from kronos_sc._store import EmbeddingStore

    before, ks.settings.block_memory = ks.settings.block_memory, 1000
    try:
        tables = {}
        for store in (False, finished):
            sdata = spatialdata.read_zarr(template)
            ks.tl.embed(sdata, model=tiny, store=store, **CALL)
            tables[bool(store)] = sdata["table"]
    finally:
        ks.settings.block_memory = before
    found = features_of(tables[False])
    for kind, values in features_of(tables[True]).items():
        np.testing.assert_array_equal(values, found[kind])
    whole = EmbeddingStore(finished)
    assert len(whole.rows) == BLOCKS
    assert all(np.isfinite(values).all() for values in found.values())
    return found | {"pixels": whole.pixels(), "brightest": whole.brightest()}


@pytest.fixture
def case(template, truth, tiny, tmp_path):
    """The tissue in a folder of its own, with files of the user beside it; at the end every byte is as it was."""
    shutil.copytree(template, tmp_path / "tissue.zarr")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "marker").mkdir()
    (tmp_path / "marker" / "CD3.csv").write_text("mine, too")
    one = Case(tmp_path, tiny, truth)
    before = {name: contents(tmp_path / name) for name in ("tissue.zarr", "marker")}
    yield one
    assert {name: contents(tmp_path / name) for name in before} == before
    assert (tmp_path / "notes.txt").read_text() == "mine"


class Children:
    """Runs functions of `forked.py` in forked processes.

    Each starts in milliseconds, with all that it needs imported.
    """

    def __init__(self, tissue: Path) -> None:
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
        script = Path(__file__).with_name("forked.py")
        self._process = subprocess.Popen(
            [sys.executable, script, tissue],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads},
        )
        assert self._process.stdout.readline() == "ready\n"

    def _ask(self, **request: Any) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(request, default=str) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, **how: Any) -> int:
        """Begin a call of `forked.embed`; return the number of the process."""
        return self._ask(do="start", how=how)["pid"]

    def wait(self, pid: int, *, kill_after: float | None = None) -> dict[str, Any]:
        """Return what a child said at its end, `seconds` it ran and whether it was `killed`.

        Empty but for these if it was killed.
        """
        return self._ask(do="wait", pid=pid, kill_after=kill_after)

    def run(self, **how: Any) -> dict[str, Any]:
        """Start and wait."""
        return self.wait(self.start(**how))

    def end(self) -> None:
        """Let the process end."""
        self._process.stdin.close()
        self._process.wait(120)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def children(template):
    """The one process that forks."""
    if not hasattr(os, "fork"):
        pytest.skip("processes cannot be forked here")
    server = Children(template)
    yield server
    server.end()
