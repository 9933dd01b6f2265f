"""The disk is full, or may not be written any more, or the folder goes away, in the middle of a run.

Then all is well again.
"""

import os
import shutil

import numpy as np
import pytest

from .conftest import BLOCKS, KINDS, contents

pytestmark = pytest.mark.slow(13)  # seconds, for the file


def hurt(case, ended, errors):
    """The run ended with one of these errors, kept blocks and said so; nothing half written counts."""
    assert ended.get("error") in errors, ended
    complete = case.check_partial()
    assert 0 < complete < BLOCKS
    assert any(f"{complete} of {BLOCKS} blocks are complete in {case.store}" in note for note in ended["notes"]), ended[
        "notes"
    ]


def test_no_file_can_grow(case, children):
    ended = children.run(path=case.path, store=case.store, at={"turn": 6, "what": "limit", "size": 40})
    hurt(case, ended, ["OSError"])
    assert not list(case.store.glob(".parts/*"))  # what could not be written whole takes no room
    case.check(case.embed())


@pytest.mark.parametrize("begun", [False, True])
def test_the_disk_is_full_before_the_first_block_and_after_the_last(case, children, finished, begun):
    if begun:
        shutil.copytree(finished, case.store)
        shutil.rmtree(case.store / "record")
    before = {name: entry for name, entry in contents(case.folder).items() if not name.startswith("features.zarr")}
    ended = children.run(path=case.path, store=case.store, at={"turn": -1, "what": "limit", "size": 40})
    assert ended["error"] == "OSError", ended
    assert {
        name: entry for name, entry in contents(case.folder).items() if not name.startswith("features.zarr")
    } == before
    assert case.check_partial() == BLOCKS * begun
    case.check(case.embed())


def test_a_full_disk(case, children, tmp_path):
    folder, out = tmp_path / "small", tmp_path / "values.npz"
    folder.mkdir()
    ended = children.run(path=case.path, store=folder / "x.zarr", small={"folder": folder, "size": "192k", "out": out})
    if ended.get("error") == "broken" and "unshare" in ended["text"] + ended.get("trace", ""):
        pytest.skip("no disk can be mounted here: no rights to a user namespace")
    assert ended["error"] == "OSError", ended
    assert "No space left on device" in ended["text"]
    complete = sum(name.startswith("brightest/c/") for name in ended["files"])
    assert 0 < complete < BLOCKS, ended["files"]
    assert f"{complete} of {BLOCKS} blocks are complete" in " ".join(ended["notes"])
    values = np.load(out)  # of the second call, on the same disk made larger
    for kind in KINDS:
        np.testing.assert_array_equal(values[kind], case.truth[kind])


@pytest.mark.parametrize("part", [".parts", "marker/c", "brightest/c"])
def test_the_right_to_write_is_lost(case, children, part):
    at = {"turn": 6, "what": "forbid", "folder": case.store / part}
    ended = children.run(path=case.path, store=case.store, at=at, obey_permissions=True)
    if ended.get("error") == "skip":
        pytest.skip(ended["text"])
    (case.store / part).chmod(0o755)
    hurt(case, ended, ["PermissionError"])
    assert "Permission denied" in ended["text"]
    case.check(case.embed())


def test_a_store_that_cannot_be_written_from_the_start(case, children, tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    ended = children.run(path=case.path, store=tmp_path / "shut" / "x.zarr", obey_permissions=True)
    if ended.get("error") == "skip":
        pytest.skip(ended["text"])
    assert ended["error"] == "PermissionError"
    assert str(tmp_path / "shut" / "x.zarr") in ended["text"]
    assert list((tmp_path / "shut").iterdir()) == []


def test_the_folder_is_moved_away_and_back(case, children, tmp_path):
    here, go = tmp_path / "here", tmp_path / "go"
    pid = children.start(path=case.path, store=case.store, at={"turn": 6, "what": "wait", "here": here, "go": go})
    while not here.exists():
        os.sched_yield()
    away = tmp_path / "away.zarr"
    case.store.rename(away)
    go.touch()
    ended = children.wait(pid)
    assert ended["error"] == "FileNotFoundError", ended
    assert not case.store.exists()  # nothing in its way when it comes back
    away.rename(case.store)
    assert 0 < case.check_partial() < BLOCKS
    case.check(case.embed())


def test_the_folder_is_deleted(case, children, tmp_path):
    here, go = tmp_path / "here", tmp_path / "go"
    pid = children.start(path=case.path, store=case.store, at={"turn": 6, "what": "wait", "here": here, "go": go})
    while not here.exists():
        os.sched_yield()
    shutil.rmtree(case.store)
    go.touch()
    assert children.wait(pid)["error"] == "FileNotFoundError"
    assert not case.store.exists()
    case.check(case.embed())
