"""One embedding into a store that is there; faults are injected in processes of their own (`forking.py`)."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import anndata
import dask.array as da
import numpy as np
import pytest
import spatialdata
import zarr

from kronos_sc import get, io, settings
from kronos_sc._store import exchange as _exchange
from kronos_sc._store import table_copy, table_features, table_lock

RECORD = {
    "model": {"name": "made up", "sha256": "", "trained": False},
    "panel": {
        "channel": np.array(["DAPI", "CD3"], object),
        "marker": np.array(["DAPI", "CD3"], object),
        "id": np.array([4, 2]),
    },
    "params": {"features": np.array(["marker"], object), "patch_size": np.array([64])},
}


def put(table, key="kronos", value=1.0, kinds=("marker",), width=6) -> None:
    """Give a table an embedding as `tl.embed` would."""
    for kind in kinds:
        slot = f"X_{key}" if kind == "marker" or len(kinds) == 1 else f"X_{key}_{kind}"
        table.obsm[slot] = np.full((table.n_obs, width), value, np.float32)
    table.obs[f"{key}_edge"] = np.arange(table.n_obs) % 3 == 0
    table.uns[key] = RECORD | {
        "params": RECORD["params"] | {"features": np.array(kinds, object)},
        "seconds": float(value),
    }


def files(root: Path) -> dict[str, tuple[int, bytes]]:
    """Inode and bytes of every file, but for the lock."""
    every = (path for path in root.rglob("*") if path.is_file() and path.name != table_lock.LOCK)
    return {path.relative_to(root).as_posix(): (path.stat().st_ino, path.read_bytes()) for path in every}


def state(root: Path, key="kronos") -> float:
    """Value of the embedding in the store, 0 for none; fails where its parts do not belong together."""
    table = anndata.io.read_zarr(root / "tables" / "table")
    there = [f"X_{key}" in table.obsm, f"{key}_edge" in table.obs, key in table.uns]
    assert len(set(there)) == 1
    if not there[0]:
        return 0.0
    values = np.unique(table.obsm[f"X_{key}"])
    assert len(values) == 1
    assert table.uns[key]["seconds"] == values[0]
    assert table.obs[f"{key}_edge"].tolist() == [i % 3 == 0 for i in range(table.n_obs)]
    return float(values[0])


def assert_in_order(root: Path) -> None:
    """Nothing hidden but the lock; the copy of the metadata is what zarr would make of what is there."""
    assert {path.name for path in root.iterdir() if path.name.startswith(".")} <= {table_lock.LOCK}
    written = json.loads((root / "zarr.json").read_text())
    again = root.parent / f"again-{time.monotonic_ns()}"
    shutil.copytree(root, again, ignore=shutil.ignore_patterns(".*", "c"))
    zarr.consolidate_metadata(zarr.storage.LocalStore(again))
    assert json.loads((again / "zarr.json").read_text()) == written
    shutil.rmtree(again)


@pytest.fixture(scope="module")
def template(stored, tmp_path_factory):
    """A store whose table holds counts, a layer, a graph and an embedding of another name."""
    import scipy.sparse as sp

    folder = tmp_path_factory.mktemp("template") / "tissue.zarr"
    sdata = stored(folder, shape=(96, 96))
    old = sdata["table"]
    rng = np.random.default_rng(0)
    table = anndata.AnnData(
        rng.poisson(2, (old.n_obs, 7)).astype(np.float32), obs=old.obs, obsm=dict(old.obsm), uns=dict(old.uns)
    )
    table.layers["raw"] = sp.csr_matrix(table.X)
    table.obsp["graph"] = sp.random(table.n_obs, table.n_obs, 0.2, format="csr", random_state=0)
    put(table, "other", 9.0)
    sdata.delete_element_from_disk("table")
    sdata.tables["table"] = table
    sdata.write_element("table")
    assert sdata.has_consolidated_metadata()
    return folder


@pytest.fixture
def folder(template, tmp_path):
    """A copy of it, on a path with a space and a letter beyond ASCII."""
    path = tmp_path / "my data µ" / "tissue 1.zarr"
    shutil.copytree(template, path)
    return path


@pytest.fixture
def sdata(folder):
    sdata = spatialdata.read_zarr(folder)
    put(sdata["table"])
    return sdata


@pytest.fixture(scope="module")
def children():
    spec = importlib.util.spec_from_file_location("io_forking", Path(__file__).with_name("forking.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    made = module.Children(PRELOAD)
    yield made
    made.close()


PRELOAD = (
    "import anndata, spatialdata, zarr, dask.array, filelock, ome_zarr.reader, annsel, narwhals, tqdm.auto, "
    "kronos_sc._store.table"
)

# What a child does: give the table an embedding with `value` everywhere, and write it.
CHILD = """
import numpy as np, spatialdata, warnings
import kronos_sc as ks
from kronos_sc._store import exchange as exchanges
from kronos_sc._store import table as table_store
warnings.simplefilter("ignore")
ks.settings.verbosity = 0
sdata = spatialdata.read_zarr(path)
table = sdata["table"]
table.obsm["X_kronos"] = np.full((table.n_obs, 6), value, np.float32)
table.obs["kronos_edge"] = np.arange(table.n_obs) % 3 == 0
texts = np.array(["DAPI"], object)
panel = {"channel": texts, "marker": texts, "id": np.array([4])}
params = {"features": np.array(["marker"], object)}
table.uns["kronos"] = {"model": {"name": "x"}, "panel": panel, "params": params, "seconds": float(value)}
if not exchange:
    exchanges.exchange = lambda *paths: False
swap, at = table_store.put, []
table_store.put = lambda *paths, aside: (at.append(steps()), swap(*paths, aside=aside))
count_steps(path)
ks.io.write_embedding(sdata, wait=wait)
print(*at, steps())
"""


def test_the_slots_are_added_and_nothing_else_changes(folder, sdata):
    before = files(folder)
    io.write_embedding(sdata)
    after = files(folder)
    ours = ("tables/table/obsm/X_kronos/", "tables/table/obs/kronos_edge/", "tables/table/uns/kronos/")
    assert {name for name in after if name not in before} == {name for name in after if name.startswith(ours)}
    changed = {name for name in before if after[name][1] != before[name][1]}
    assert changed == {"zarr.json", "tables/table/obs/zarr.json"}
    moved = {Path(name).name for name in before if after[name][0] != before[name][0]}
    assert moved == {"zarr.json"}, "chunks are linked, metadata are not"
    assert state(folder) == 1
    assert state(folder, "other") == 9
    assert_in_order(folder)


def test_every_reader_sees_it(folder, sdata):
    io.write_embedding(sdata)
    back = spatialdata.read_zarr(folder)
    lazy = anndata.experimental.read_lazy(folder / "tables" / "table")
    eager = anndata.io.read_zarr(folder / "tables" / "table")
    root = zarr.open_group(folder, mode="r", use_consolidated=True)
    wanted = sdata["table"].obsm["X_kronos"]
    for values in (
        back["table"].obsm["X_kronos"],
        eager.obsm["X_kronos"],
        lazy.obsm["X_kronos"],
        root["tables/table/obsm/X_kronos"][:],
    ):
        np.testing.assert_array_equal(np.asarray(values), wanted)
    assert list(eager.obs.columns) == list(sdata["table"].obs.columns)
    assert get.record(back)["panel"]["channel"].tolist() == ["DAPI", "CD3"]
    eager.write_h5ad(folder.parent / "back.h5ad")
    np.testing.assert_array_equal(anndata.io.read_h5ad(folder.parent / "back.h5ad").obsm["X_kronos"], wanted)
    assert (eager.layers["raw"] != sdata["table"].layers["raw"]).nnz == 0


def test_the_embedding_is_named_where_there_are_several(folder, sdata):
    table = sdata["table"]
    io.write_embedding(sdata)  # "kronos" and "other"
    assert state(folder) == 1.0
    del table.uns["kronos"]
    put(table, "other", 2.0)
    io.write_embedding(sdata)  # the only one
    assert state(folder, "other") == 2.0
    put(table, "third")
    with pytest.raises(
        ValueError,
        match=r"Table 'table' has 2 embeddings \('other', 'third'\) and none was named\. Choose one with key=",
    ):
        io.write_embedding(sdata)
    table.uns.clear()
    with pytest.raises(KeyError, match="There is no embedding 'kronos'"):
        io.write_embedding(sdata)


def test_features_too_large_for_a_table_are_said(folder, sdata, monkeypatch):
    table = sdata["table"]
    monkeypatch.setattr(settings, "memory", table.n_obs * 6 * 4 - 1)
    io.write_embedding(sdata)  # in memory anyway
    table.obsm["X_kronos"] = da.from_array(table.obsm["X_kronos"], chunks=(10, -1))
    with pytest.warns(
        UserWarning, match=r"more than settings\.memory .* loads those of a table whole.*io\.read_embedding\(sdata\)"
    ):
        io.write_embedding(sdata)
    assert state(folder) == 1.0


def test_an_earlier_one_of_the_name_is_replaced_and_its_class_features_go(folder, sdata):
    put(sdata["table"], value=2.0, kinds=("marker", "cls"))
    io.write_embedding(sdata)
    assert "X_kronos_cls" in anndata.io.read_zarr(folder / "tables" / "table").obsm
    del sdata["table"].obsm["X_kronos_cls"]
    put(sdata["table"], value=3.0, width=4)
    io.write_embedding(sdata)
    table = anndata.io.read_zarr(folder / "tables" / "table")
    assert set(table.obsm) == {"spatial", "X_other", "X_kronos"}
    assert table.obsm["X_kronos"].shape[1] == 4
    assert list(table.obs.columns).count("kronos_edge") == 1
    assert state(folder) == 3
    assert_in_order(folder)


def test_the_slot_of_an_embedding_named_like_class_features_stays(folder, sdata):
    put(sdata["table"], "kronos_cls", 5.0)
    io.write_embedding(sdata, key="kronos_cls")
    del sdata["table"].uns["kronos_cls"]
    io.write_embedding(sdata)
    assert state(folder, "kronos_cls") == 5
    assert state(folder) == 1


@pytest.mark.parametrize("chunks", [1, 5, 13, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_features_on_disk_are_written_in_pieces(folder, sdata, monkeypatch, chunks, dtype):
    table = sdata["table"]
    rng = np.random.default_rng(1)
    values = rng.normal(size=(table.n_obs, 6)).astype(dtype)
    values[3] = np.nan
    read = []

    def part(block, block_info=None):
        read.append(len(block))
        return block

    lazy = da.from_array(values, chunks=(chunks, -1)).map_blocks(part, dtype=dtype, meta=np.empty((0, 0), dtype))
    table.obsm["X_kronos"] = lazy
    monkeypatch.setattr(settings, "block_memory", 8 * 6 * lazy.dtype.itemsize)
    monkeypatch.setattr(table_features, "_CHUNK", 3 * 6 * lazy.dtype.itemsize)
    io.write_embedding(sdata)
    assert sorted(read) == sorted(lazy.chunks[0]), "each chunk is computed once"
    array = zarr.open_group(folder, mode="r")["tables/table/obsm/X_kronos"]
    np.testing.assert_array_equal(array[:], values)
    assert array.chunks == (3, 6)
    assert array.dtype == dtype
    assert table.obsm["X_kronos"] is lazy or isinstance(table.obsm["X_kronos"], da.Array)


@pytest.mark.parametrize(("chunks", "most"), [((4, 4, 4), 8), ((10, 2), 10), ((1,) * 12, 8)])
def test_no_more_than_the_budget_is_in_memory(monkeypatch, chunks, most):
    monkeypatch.setattr(settings, "block_memory", 8 * 4)
    values = np.arange(12, dtype=np.float32)[:, None]
    parts = list(table_features._parts(da.from_array(values, chunks=(chunks, -1))))
    assert max(len(part) for part in parts) == most
    np.testing.assert_array_equal(np.concatenate(parts), values)


def test_without_consolidated_metadata_the_root_is_not_touched(folder, sdata):
    root = json.loads((folder / "zarr.json").read_text())
    del root["consolidated_metadata"]
    (folder / "zarr.json").write_text(json.dumps(root))
    before = files(folder)["zarr.json"]
    io.write_embedding(sdata)
    assert files(folder)["zarr.json"] == before
    assert state(folder) == 1


def test_a_table_with_metadata_of_its_own_is_told(folder, sdata):
    zarr.consolidate_metadata(zarr.storage.LocalStore(folder / "tables" / "table"))
    io.write_embedding(sdata)
    assert "X_kronos" in zarr.open_group(folder / "tables" / "table", mode="r", use_consolidated=True)["obsm"]


def test_without_links_chunks_are_copied(folder, sdata, monkeypatch):
    plain = os.link

    def refuse(source, target, **how):
        if ".partial" in str(source):  # zarr's own way of writing
            return plain(source, target, **how)
        raise OSError(errno.EPERM, "no links here")

    before = files(folder)
    monkeypatch.setattr(table_copy.os, "link", refuse)
    io.write_embedding(sdata)
    after = files(folder)
    assert all(after[name][1] == content for name, (_, content) in before.items() if Path(name).name != "zarr.json")
    assert state(folder) == 1
    assert_in_order(folder)


def test_a_store_that_shares_its_files_with_a_backup_leaves_the_backup_alone(folder, sdata):
    shutil.copytree(folder, folder.parent / "backup", copy_function=os.link)
    before = files(folder.parent / "backup")
    for value in (1.0, 2.0):
        put(sdata["table"], value=value)
        io.write_embedding(sdata)
    assert files(folder.parent / "backup") == before


def test_two_renames_do_where_folders_cannot_be_exchanged(folder, sdata, monkeypatch):
    monkeypatch.setattr(_exchange, "exchange", lambda *paths: False)
    io.write_embedding(sdata)
    assert state(folder) == 1
    assert_in_order(folder)


def test_folders_are_exchanged(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not _exchange.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert not _exchange.exchange(tmp_path / "a", tmp_path / "missing")


def _no_embedding(sdata, folder):
    del sdata["table"].uns["kronos"]


def _no_features(sdata, folder):
    del sdata["table"].obsm["X_kronos"]


def _no_column(sdata, folder):
    del sdata["table"].obs["kronos_edge"]


def _in_memory(sdata, folder):
    sdata.path = None


def _no_store(sdata, folder):
    folder.rename(folder.with_name("moved.zarr"))


def _no_table(sdata, folder):
    shutil.rmtree(folder / "tables" / "table")


def _fewer_rows(sdata, folder):
    attributes = sdata["table"].uns["spatialdata_attrs"]
    sdata.tables["table"] = sdata["table"][:-2].copy()
    sdata["table"].uns["spatialdata_attrs"] = attributes


def _other_order(sdata, folder):
    names = sdata["table"].obs_names.to_list()
    names[4], names[5] = names[5], names[4]
    sdata["table"].obs_names = names


def _older_format(sdata, folder):
    (folder / "zarr.json").rename(folder / ".zgroup")


def _a_link(sdata, folder):
    x = folder / "tables" / "table" / "X"
    x.rename(folder / "X")
    x.symlink_to(folder / "X")


@pytest.mark.parametrize(
    ("spoil", "error", "text"),
    [
        (
            _no_embedding,
            KeyError,
            r"no embedding 'kronos'; there are: 'other'.*Make it with tl.embed\(sdata\), or name another",
        ),
        (_no_features, KeyError, r"obsm\['X_kronos'\] is gone"),
        (_no_column, KeyError, r"obs\['kronos_edge'\] is gone"),
        (_in_memory, ValueError, r"in memory only.*sdata.write\(path\)"),
        (_no_store, FileNotFoundError, "does not exist. A store is a folder"),
        (
            _no_table,
            KeyError,
            r"not in .* yet \(tables there: none\). Write it first with sdata.write_element\('table'\)",
        ),
        (
            _fewer_rows,
            ValueError,
            r"has 23 rows in memory and 25 in .*not the same from row 23 on.*delete_element_from_disk",
        ),
        (_other_order, ValueError, r"has 25 rows in memory and 25 in .*not the same from row 4 on"),
        (_older_format, ValueError, "older format Zarr 2"),
        (_a_link, OSError, "is a symbolic link.*Write the SpatialData anew"),
    ],
)
def test_errors_come_before_anything_is_written(folder, sdata, spoil, error, text):
    spoil(sdata, folder)
    before = files(folder.parent)
    with pytest.raises(error, match=text):
        io.write_embedding(sdata, key="kronos")
    assert files(folder.parent) == before


def test_a_wait_is_a_time(sdata):
    with pytest.raises(ValueError, match="wait=-1 is no time"):
        io.write_embedding(sdata, wait=-1)


def test_what_is_no_store_is_not_recovered(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a SpatialData store"):
        io.recover(tmp_path)


@pytest.mark.slow(30)
@pytest.mark.parametrize("exchange", [True, False])
def test_killed_at_any_step_the_table_is_the_old_one_or_the_new_one(children, folder, exchange):
    how = {"path": str(folder), "exchange": exchange, "wait": 5}
    done = children.run(CHILD, value=1, **how)
    assert done.code == 0, done.said
    swap, steps = map(int, done.said.split()[-2:])
    before = files(folder)
    seen = []
    gone = 0
    value = 2.0
    rng = np.random.default_rng(exchange)
    # anywhere, and close to the exchange
    for step in sorted({*rng.integers(1, steps, 4).tolist(), *range(swap - 5, swap + 6)}):
        was = state(folder)
        ended = children.run(CHILD, value=value, kill_at=step, **how)
        assert ended.signal == signal.SIGKILL, ended.said
        if exchange:
            assert state(folder) in (was, value), "also before anybody puts anything right"
            assert "X_kronos" in zarr.open_group(folder, mode="r")["tables/table"]["obsm"]
        gone += not (folder / "tables" / "table").exists()
        io.recover(folder)
        assert state(folder) in (was, value)
        seen.append(state(folder) == value)
        assert_in_order(folder)
        value += 1
    assert bool(gone) != exchange, "with two renames one kill comes between them"
    assert {True, False} == set(seen), "kills on both sides of the exchange"
    assert state(folder, "other") == 9
    same = {name for name in before if not name.startswith(("tables/table/obsm/X_kronos", "tables/table/uns/kronos"))}
    assert all(files(folder)[name][1] == before[name][1] for name in same - {"zarr.json"})


def test_the_next_call_puts_back_what_a_killed_one_set_aside(folder, sdata):
    work = folder / ".kronos_sc-killed"
    for name in ("old", "new"):
        (work / name).mkdir(parents=True)
    (folder / "tables" / "table").rename(work / "old" / "table")
    shutil.copytree(work / "old" / "table", work / "new" / "table")
    assert list(spatialdata.read_zarr(folder, selection=("images",)).tables) == []
    io.write_embedding(sdata)
    assert state(folder) == 1
    assert_in_order(folder)


def test_a_table_made_since_is_not_taken_for_the_new_one(folder):
    work = folder / ".kronos_sc-killed"
    for name in ("old", "new"):
        shutil.copytree(folder / "tables" / "table", work / name / "table")
    before = files(folder)
    with pytest.warns(UserWarning, match="another one of that name has been written since. Move the one you need"):
        io.recover(folder)
    assert files(folder) == before


@pytest.mark.parametrize("table_lost", [False, True])
def test_a_read_only_store_is_put_right_only_if_it_must_be(children, folder, table_lost):
    (folder / ".kronos_sc-killed" / "old").mkdir(parents=True)
    if table_lost:
        (folder / "tables" / "table").rename(folder / ".kronos_sc-killed" / "old" / "table")
    folder.chmod(0o555)
    ended = children.run("import kronos_sc as ks; ks.io.recover(path)", permissions=True, path=str(folder))
    folder.chmod(0o755)
    if ended.code == 77:
        pytest.skip(ended.said)
    assert ended.code == int(table_lost), ended.said
    assert ("PermissionError" in ended.said) == table_lost
    assert (folder / ".kronos_sc-killed").exists()


@pytest.mark.parametrize("part", ["", "tables"])
def test_a_read_only_store_is_an_error_and_stays_as_it_is(children, folder, part):
    before = files(folder)
    (folder / part).chmod(0o555)
    ended = children.run(CHILD, permissions=True, path=str(folder), value=1, exchange=True, wait=5)
    (folder / part).chmod(0o755)
    if ended.code == 77:
        pytest.skip(ended.said)
    assert "PermissionError" in ended.said
    assert "is read-only, and the embedding is written into its table" in ended.said
    assert files(folder) == before
    assert not list(folder.glob(".kronos_sc*"))


def test_the_part_of_a_table_that_cannot_be_read_stops_it(children, folder):
    before = files(folder)
    (folder / "tables" / "table" / "X").chmod(0o000)
    ended = children.run(
        CHILD.replace("sdata = spatialdata.read_zarr(path)", "sdata = load()"),
        permissions=True,
        path=str(folder),
        value=1,
        exchange=True,
        wait=5,
    )
    (folder / "tables" / "table" / "X").chmod(0o755)
    assert ended.code != 0
    assert files(folder) == before


@pytest.mark.parametrize("room", [300, 3000])
def test_a_full_disk_keeps_the_old_table(children, folder, room):
    before = files(folder)
    ended = children.run(
        CHILD.replace("(table.n_obs, 6)", "(table.n_obs, 6000)").replace(
            "value, np.float32)",
            "value, np.float32) * np.random.default_rng(0).random((table.n_obs, 6000), np.float32)",
        ),
        file_size=room,
        path=str(folder),
        value=1,
        exchange=True,
        wait=5,
    )
    assert ended.code == 1
    assert "File too large" in ended.said, ended.said
    assert files(folder) == before
    assert_in_order(folder)


def test_writers_at_the_same_time_take_turns(children, folder):
    gate, values = folder.parent / "go", (1, 2, 3)
    together = """
import pathlib, time
pathlib.Path(f"{gate}-{value}").touch()
while not pathlib.Path(gate).exists():
    time.sleep(0.01)
count_steps(path)"""
    how = {"path": str(folder), "gate": str(gate), "exchange": True, "wait": 300}
    started = [children.start(CHILD.replace("count_steps(path)", together), value=value, **how) for value in values]
    until = time.monotonic() + 300
    while time.monotonic() < until and not all(Path(f"{gate}-{value}").exists() for value in values):
        time.sleep(0.01)
    gate.touch()
    for ended in map(children.wait, started):
        assert ended.code == 0, ended.said
    assert state(folder) in values
    assert_in_order(folder)


def test_a_second_writer_gives_up_and_names_the_first(folder, sdata):
    before = files(folder)
    with (
        table_lock.writing(folder, wait=1),
        pytest.raises(BlockingIOError, match=f"being written to by process {os.getpid()} on .*since"),
    ):
        io.write_embedding(sdata, wait=0.7)
    assert files(folder) == before


@pytest.mark.slow(8)
def test_a_running_writer_is_not_put_right(folder):
    with table_lock.writing(folder, wait=1) as work:
        io.recover(folder)
        assert work.exists()
    assert not work.exists()


@pytest.mark.slow(10)
def test_readers_find_a_whole_table_while_it_is_replaced(children, folder):
    code = CHILD.replace(
        "ks.io.write_embedding(sdata, wait=wait)",
        "for value in range(1, 9):\n    table.obsm['X_kronos'][:] = value\n    ks.io.write_embedding(sdata, wait=wait)",
    )
    io_path = folder / "tables" / "table" / "obsm"
    pid = children.start(code, path=str(folder), value=1, exchange=True, wait=5)
    seen = set()
    until = time.monotonic() + 300
    while 8.0 not in seen and time.monotonic() < until:
        assert (folder / "tables" / "table" / "zarr.json").exists()
        if (io_path / "X_kronos" / "zarr.json").exists():
            values = np.unique(zarr.open_array(io_path / "X_kronos", mode="r")[:])
            assert len(values) == 1
            seen.add(float(values[0]))
        assert "table" in zarr.open_group(folder, mode="r")["tables"]
    ended = children.wait(pid)
    assert ended.code == 0, ended.said
    assert 8.0 in seen
