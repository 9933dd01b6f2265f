"""Two processes, or two threads, and one store; and readers meanwhile."""

import threading
import time

import numpy as np
import pytest

from kronos_sc._store import EmbeddingStore
from kronos_sc.models import KronosModel

from .conftest import BLOCKS, KINDS

pytestmark = pytest.mark.slow(8)  # seconds, for the file


def until(path):
    for _ in range(6000):
        if path.exists():
            return
        time.sleep(0.01)
    pytest.fail(f"{path.name} never came")


@pytest.fixture
def writing(case, children, tmp_path):
    """A process that waits in the middle of a run; a function that lets it go on and returns what it said."""
    at = {"turn": 6, "what": "wait", "here": tmp_path / "here", "go": tmp_path / "go"}
    pid = children.start(path=case.path, store=case.store, at=at)
    until(tmp_path / "here")
    ended = []

    def go_on(kill=False):
        if not ended:
            if not kill:
                (tmp_path / "go").touch()
            ended.append(children.wait(pid, kill_after=0 if kill else None))
        return ended[0]

    yield go_on
    go_on()


def test_the_second_process_fails_and_the_first_finishes(case, writing):
    sdata = case.read()
    for how in ({}, {"overwrite": True}):
        with pytest.raises(
            BlockingIOError, match=r"Another process is writing .*features\.zarr.*make the same call again"
        ):
            case.embed(sdata, **how)
    assert "X_kronos" not in sdata["table"].obsm
    assert "error" not in writing()
    calls = []
    hook = case.model.net.register_forward_hook(lambda *_: calls.append(1))
    case.check(case.embed(sdata))
    hook.remove()
    assert not calls


def test_a_race_from_nothing(case, children, tmp_path):
    """Three begin at the same moment: one writes, and whoever comes while it does is told so."""
    for turn in range(3):
        case.store = tmp_path / f"race {turn}.zarr"
        pids = [children.start(path=case.path, store=case.store, pause=0.02) for _ in range(3)]
        ended = [children.wait(pid) for pid in pids]
        assert {one.get("error") for one in ended} <= {None, "BlockingIOError"}, ended
        assert any("error" not in one for one in ended)
        case.check_store()


def test_the_lock_of_a_killed_process_is_free(case, writing):
    assert writing(kill=True)["killed"]
    case.check_partial()
    case.check(case.embed())


def test_a_store_is_read_while_it_is_written(case, writing):
    store = EmbeddingStore(case.store)
    done = case.check_partial()
    assert 0 < done < BLOCKS
    assert store.complete() == done
    assert store.record() is None
    with pytest.raises(OSError, match=r"Block \d+ of 'marker' in .*features\.zarr.*file is missing"):
        store.features("marker").compute()
    lazy = {kind: store.features(kind) for kind in KINDS}
    assert "error" not in writing()
    for kind in KINDS:  # handles from before see the whole
        np.testing.assert_array_equal(lazy[kind].compute(), case.truth[kind])
    case.check_store()


def test_a_reader_keeps_reading_while_the_same_call_is_made_again(case, children, finished):
    """Resuming a complete store changes no block, so a reader never sees anything else."""
    table = case.embed()
    pid = children.start(path=case.path, store=case.store)
    for _ in range(3):
        np.testing.assert_array_equal(table.obsm["X_kronos"].compute(), case.truth["marker"])
    assert "error" not in children.wait(pid)
    case.check(table)


def test_a_reader_never_gets_rows_of_another_embedding(case, children, tmp_path):
    """While a store is written anew under an array of the old one: old numbers or an error, nothing else."""
    lazy = case.embed().obsm["X_kronos"]
    at = {"turn": 6, "what": "wait", "here": tmp_path / "here", "go": tmp_path / "go"}
    pid = children.start(path=case.path, store=case.store, overwrite=True, patch_size=48, at=at)
    errors = 0
    while not (tmp_path / "here").exists():
        try:
            np.testing.assert_array_equal(lazy.compute(), case.truth["marker"])
        except OSError:
            errors += 1
    (tmp_path / "go").touch()
    assert "error" not in children.wait(pid)
    with pytest.raises(OSError, match="not the embedding any more"):
        lazy.compute()


def test_two_threads(case, monkeypatch):
    """One waits in the middle of its run; the other fails at once."""
    inside = threading.Event()
    go = threading.Event()
    encode = KronosModel.encode

    def waiting(self, *arguments):
        inside.set()
        assert go.wait(300)
        return encode(self, *arguments)

    monkeypatch.setattr(KronosModel, "encode", waiting)
    tables, errors = [], []

    def first():
        try:
            tables.append(case.embed())
        except BaseException as error:  # noqa: BLE001 - looked at by the other thread
            errors.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(300)
    with pytest.raises(BlockingIOError, match="Another"):
        case.embed()
    go.set()
    thread.join(60)
    assert not errors
    case.check(tables[0])


def test_two_tissues_from_the_same_folder(case):
    """A SpatialData opened twice: both tables read the same store."""
    one = case.read()
    two = case.read()
    case.check(case.embed(one))
    assert "X_kronos" not in two["table"].obsm
    case.check(case.embed(two))
    case.check(one["table"])


def test_a_store_that_may_only_be_read(case, children):
    """Readers need no right to write; the same call says which right is missing."""
    table = case.embed()
    folders = [case.store, *(path for path in case.store.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    try:
        np.testing.assert_array_equal(table.obsm["X_kronos"].compute(), case.truth["marker"])
        ended = children.run(path=case.path, store=case.store, obey_permissions=True)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert ended.get("error") in (None, "skip", "PermissionError"), ended
    case.check(case.embed())
