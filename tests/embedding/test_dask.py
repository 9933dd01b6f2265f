"""Blocks on the workers of a cluster: the same bytes as without one, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import Client, LocalCluster

import kronos_sc as ks
from kronos_sc._embedding import executor
from kronos_sc._embedding.compute import InferenceConfig
from kronos_sc._embedding.dask import driver as _driver
from kronos_sc._embedding.dask import task as _task
from kronos_sc._embedding.dask.worker import BlockError, WorkerState, device_of, gpu, worker_info
from kronos_sc._store import EmbeddingStore

HELPERS = Path(__file__).parent / "remote"
KINDS = ("marker", "cls")


@pytest.fixture(scope="module", autouse=True)
def _small_blocks():
    """Some twenty blocks of a small tissue.

    Encoders of `remote/` can be imported, here and in processes started from here.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HELPERS))
        patch.setattr(ks.settings, "block_memory", 100_000)
        yield


@pytest.fixture(scope="module")
def encoders(_small_blocks):
    import faulty_encoders

    return faulty_encoders


@pytest.fixture(scope="module")
def processes(_small_blocks):
    """Two workers in processes of their own, watched by nannies."""
    how = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "1500MiB", "dashboard_address": ":0"}
    with LocalCluster(**how, processes=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def threads(_small_blocks):
    """Two workers of two threads inside this process: quick to start, and as good where nothing dies."""
    with LocalCluster(n_workers=2, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def fault(tmp_path) -> Path:
    """A folder in which encoders note their passes, with the file that makes them misbehave."""
    folder = tmp_path / "passes"
    folder.mkdir()
    (folder / "fault").touch()
    return folder


@pytest.fixture(scope="module")
def on_disk(stored, tmp_path_factory):
    """A tissue whose image lies in a Zarr store."""
    return stored(tmp_path_factory.mktemp("tissue ü") / "tissue.zarr", shape=(200, 260))


def bright(make):
    """A tissue one cell of which holds a brighter pixel than all others; about in the middle."""
    sdata = make((200, 260))
    cells = ks.patches.label_table(np.asarray(sdata["cells"].data))
    near = cells.loc[((cells["y"] - 100) ** 2 + (cells["x"] - 130) ** 2).idxmin()]
    labels = np.asarray(sdata["cells"].data)
    image = np.asarray(sdata["image"].data).copy()
    y, x = np.argwhere(labels == near["label"])[0]
    image[0, y, x] = 65_000
    return make(image=image, labels=labels)


def values(sdata, key="kronos", kinds=KINDS) -> dict[str, np.ndarray]:
    table = sdata["table"]
    return {
        kind: np.asarray(table.obsm[f"X_{key}_cls" if kind == "cls" and len(kinds) > 1 else f"X_{key}"])
        for kind in kinds
    }


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    for kind, wanted in one.items():
        assert np.isfinite(wanted).all()
        np.testing.assert_array_equal(other[kind], wanted)


def means(sdata, model, **how) -> np.ndarray:
    """Mean expression by an encoder of `remote/`, which goes to the slots of one name."""
    ks.tl.embed(sdata, model=model, key_added="m", **how)
    return np.asarray(sdata["table"].obsm["X_m"])


def left_over(store: Path) -> list[Path]:
    return list((store / ".parts").rglob("*"))


# --- the same bytes
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "tissue"),
    [
        pytest.param("processes", "memory", marks=pytest.mark.slow(10)),
        pytest.param("processes", "disk", marks=pytest.mark.slow(5)),
        pytest.param("processes", "lazy", marks=pytest.mark.slow(5)),
        ("threads", "disk"),
    ],
)
def test_features_are_bitwise_those_of_one_process(request, make, on_disk, tiny, tmp_path, where, tissue) -> None:
    """Whether workers read the image, or get its pixels sent."""
    sdata = make((200, 260)) if tissue == "memory" else on_disk
    if tissue == "lazy":
        sdata = ks_copy(on_disk)
        sdata["image"].data = (sdata["image"].data + 1) - 1
    cluster = request.getfixturevalue(where)
    ks.tl.embed(sdata, model=tiny, features=KINDS, precision="float32", key_added="here")
    with Client(cluster):
        ks.tl.embed(sdata, model=tiny, features=KINDS, precision="float32", key_added="memory")
        ks.tl.embed(
            sdata, model=tiny, features=KINDS, precision="float32", key_added="disk", store=tmp_path / "features.zarr"
        )
        there = values(sdata, "disk")  # read by the workers
    wanted = values(sdata, "here")
    same(wanted, values(sdata, "memory"))
    same(wanted, values(sdata, "disk"))
    same(wanted, there)
    assert left_over(tmp_path / "features.zarr") == []
    table = sdata["table"]
    np.testing.assert_array_equal(table.obs["disk_edge"], table.obs["here_edge"])
    differ = {key for key, value in table.uns["disk"].items() if repr(value) != repr(table.uns["here"][key])}
    assert differ <= {"seconds", "created"}


def ks_copy(sdata):
    """The same elements in a SpatialData that can be changed."""
    from spatialdata import SpatialData

    return SpatialData(
        images={"image": sdata["image"].copy()},
        labels={"cells": sdata["cells"]},
        tables={"table": sdata["table"].copy()},
    )


def test_regions_of_a_table_go_to_their_own_images(make, threads, tiny) -> None:
    import anndata as ad
    from spatialdata import SpatialData
    from spatialdata.models import TableModel

    parts = [make((150, 190), seed=seed) for seed in (1, 2)]
    for i, part in enumerate(parts):
        part["table"].obs["region"] = f"cells_{i}"
    both = ad.concat([part["table"] for part in parts], index_unique="-")
    both = both[np.random.default_rng(0).permutation(both.n_obs)].copy()
    both.obs["region"] = both.obs["region"].astype("category")
    both.uns.pop("spatialdata_attrs", None)
    sdata = SpatialData(
        images={f"image_{i}": part["image"] for i, part in enumerate(parts)},
        labels={f"cells_{i}": part["cells"] for i, part in enumerate(parts)},
        tables={
            "table": TableModel.parse(both, region=["cells_0", "cells_1"], region_key="region", instance_key="cell_id")
        },
    )
    ks.tl.embed(sdata, model=tiny, precision="bfloat16", key_added="here")
    with Client(threads):
        ks.tl.embed(sdata, model=tiny, precision="bfloat16", key_added="there")
    same(values(sdata, "here", ("marker",)), values(sdata, "there", ("marker",)))


def test_a_store_is_begun_on_a_cluster_and_finished_without(
    on_disk, threads, encoders, fault, tmp_path, monkeypatch
) -> None:
    """And the other way round: what one left out, the other computes, and nothing twice."""
    wanted = means(on_disk, ks.models.load("mean-marker"))
    model = encoders.Counted(fault)
    for name, first, second in (("a", True, False), ("b", False, True)):
        store = tmp_path / f"{name}.zarr"
        with monkeypatch.context() as patch, clustered(threads, first):
            patch.setattr(EmbeddingStore, "accept", interrupted(EmbeddingStore.accept, after=4))
            with pytest.raises(KeyboardInterrupt):
                means(on_disk, model, store=store)
        done = EmbeddingStore(store).complete()
        assert 4 <= done < 20
        before = passes_at_rest(model)
        with clustered(threads, second):
            np.testing.assert_array_equal(means(on_disk, model, store=store), wanted)
        assert model.passes() - before == len(EmbeddingStore(store).rows) - done
        assert left_over(store) == []


def passes_at_rest(model) -> int:
    """Return how often the network ran, once blocks that were under way when the run was stopped have ended."""
    while True:
        before = model.passes()
        time.sleep(1.0)
        if model.passes() == before:
            return before


def clustered(cluster, yes: bool):
    from contextlib import nullcontext

    return Client(cluster) if yes else nullcontext()


def interrupted(accept, *, after: int):
    """Accept some blocks, then press Ctrl-C."""
    accepted = []

    def some(self, staged) -> None:
        if len(accepted) == after:
            raise KeyboardInterrupt
        accept(self, staged)
        accepted.append(staged)

    return some


@pytest.mark.slow(3)
def test_warnings_about_the_result_come_once(make, processes, tiny) -> None:
    labels = np.zeros((150, 190), np.int32)
    labels[20:60, 30:70], labels[100:110, 150:160] = 4, 9
    dim = make(image=np.full((5, 150, 190), 3, np.uint16), labels=labels)

    def said() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ks.tl.embed(dim, model=tiny, patch_size=16)
        return [str(w.message) for w in caught if w.filename == __file__]

    here = said()
    with Client(processes):
        assert said() == here
    assert [("almost empty" in text, "beyond the window" in text) for text in here] == [(True, False), (False, True)]


def test_a_cluster_that_grows_from_nothing(on_disk, tiny, monkeypatch) -> None:
    said = []
    monkeypatch.setattr(executor, "_SILENT_SECONDS", 0.01)
    monkeypatch.setattr(executor, "info", said.append)
    ks.tl.embed(on_disk, model=tiny, key_added="here")
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        cluster.adapt(minimum=0, maximum=2, interval="300ms")
        assert not client.nthreads()
        ks.tl.embed(on_disk, model=tiny, key_added="there")
    assert ["no worker yet; waiting for the first" in line for line in said] == [True]
    same(values(on_disk, "here", ("marker",)), values(on_disk, "there", ("marker",)))


# --- which cluster
# ---------------------------------------------------------------------------------------------------------------------


def test_without_a_client_blocks_stay_here(threads) -> None:
    assert executor.active_client() is None
    with Client(threads) as client:
        assert executor.active_client() is client
        assert client.submit(lambda: executor.active_client() is None, pure=False).result()
    assert executor.active_client() is None


def test_an_asynchronous_client_is_named(threads, on_disk, tiny) -> None:
    async def inside() -> None:
        async with Client(threads.scheduler_address, asynchronous=True):
            with pytest.raises(ValueError, match=r"asynchronous; tl\.embed waits .* without asynchronous=True"):
                ks.tl.embed(on_disk, model=tiny)

    import asyncio

    asyncio.run(inside())


def test_each_worker_has_its_own_gpu() -> None:
    assert [gpu(name, 4, assigned=False) for name in range(8)] == [0, 1, 2, 3] * 2
    assert {gpu(name, 4, assigned=True) for name in range(4)} == {0}  # dask-cuda shows each worker its own first
    assert gpu("SLURMCluster-3", 4, assigned=False) == 0
    assert device_of("cpu").type == worker_info("cpu", "float32").device == "cpu"


@pytest.mark.slow(3)
def test_a_device_that_workers_lack(processes, on_disk, tiny) -> None:
    with (
        Client(processes),
        pytest.raises(ValueError, match=r"On a worker of tcp://.*: Device 'meta:7' cannot be used .*Available: cpu"),
    ):
        ks.tl.embed(on_disk, model=tiny, device="meta:7")


@pytest.mark.slow(3)
def test_workers_of_another_version(processes, on_disk, tiny, monkeypatch) -> None:
    monkeypatch.setattr(ks, "__version__", "99.1")
    with (
        Client(processes),
        pytest.raises(RuntimeError, match=r"have kronos-sc .*, this process has 99\.1.*Install the same version"),
    ):
        ks.tl.embed(on_disk, model=tiny)


@pytest.mark.slow(3)
def test_a_model_that_workers_cannot_import(processes, on_disk, tmp_path, monkeypatch) -> None:
    (tmp_path / "only_here.py").write_text(
        "from kronos_sc.models.encoders.mean_marker import MeanMarker\nclass Mine(MeanMarker): pass\n"
    )
    with Client(processes):
        monkeypatch.syspath_prepend(str(tmp_path))
        from only_here import Mine

        with pytest.raises(
            RuntimeError,
            match=r"could not be brought to the workers .*No module named 'only_here'.*must be importable there",
        ):
            ks.tl.embed(on_disk, model=Mine())


@pytest.mark.slow(3)
def test_workers_that_do_not_see_the_image(stored, processes, tmp_path, encoders, fault) -> None:
    """Zarr would read zeros."""
    sdata = stored(tmp_path / "tissue.zarr", shape=(150, 190))
    model = encoders.Counted(fault)
    with Client(processes), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_task, "_serialize", MovedAway(tmp_path / "tissue.zarr"))
        with pytest.raises(
            OSError, match=r"each tried 3 times: block .* is not seen here at file:.*put it on a disk that they share"
        ):
            means(sdata, model)
    assert model.passes() == 0


class MovedAway:
    """Once plans are made, the image is somewhere else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def by_reference(self, image):
        from kronos_sc.patches import _serialize

        found = _serialize.by_reference(image)
        self.folder.rename(self.folder.with_name("elsewhere.zarr"))
        return found


# --- faults
# --------------------------------------------------------------------------------------------------------------


def test_a_block_that_always_fails_is_named_and_all_others_are_kept(make, threads, encoders, fault, tmp_path) -> None:
    sdata = bright(make)
    store = tmp_path / "features.zarr"
    wanted = means(sdata, ks.models.load("mean-marker"))
    model = encoders.Refuses(fault)
    with Client(threads):
        named = (
            r"1 of the blocks .* 3 times: block \d+ \(\d+ units of 'cells', rows \d+–\d+, columns \d+–\d+ of "
            r"'image'\): RuntimeError: too bright"
        )
        with pytest.raises(RuntimeError, match=named) as caught:
            means(sdata, model, store=store)
        assert "All others are kept" in str(caught.value)
        kept = EmbeddingStore(store)
        assert kept.complete() == len(kept.rows) - 1
        assert model.passes() == len(kept.rows) + 2
        model.fault.unlink()
        np.testing.assert_array_equal(means(sdata, model, store=store), wanted)
        assert model.passes() == len(kept.rows) + 3
    assert left_over(store) == []


def test_in_memory_the_run_ends_with_the_first_block_that_is_given_up(make, threads, encoders, fault) -> None:
    sdata = bright(make)
    with Client(threads), pytest.raises(RuntimeError, match="store= keeps them"):
        means(sdata, encoders.Refuses(fault))
    assert "X_m" not in sdata["table"].obsm


@pytest.mark.slow(3)
def test_wrong_pixels_end_the_run_at_once(make, processes, encoders, fault, tmp_path) -> None:
    sdata = bright(make)
    store = tmp_path / "features.zarr"
    model = encoders.RefusesValue(fault)
    with Client(processes), pytest.raises(ValueError, match=r"^too bright for me"):
        means(sdata, model, store=store)
    assert EmbeddingStore(store).complete() == model.passes() - 1 < len(EmbeddingStore(store).rows) - 1


def test_nothing_works_anywhere(on_disk, threads, encoders, fault, tmp_path, monkeypatch) -> None:
    """Twenty blocks are not tried three times each where the first three never came through."""
    monkeypatch.setattr(encoders.Refuses, "misbehave", fails)
    model = encoders.Refuses(fault)
    with Client(threads), pytest.raises(RuntimeError, match="3 of the blocks"):
        means(on_disk, model, store=tmp_path / "features.zarr")


def fails(self, pixels) -> None:
    raise RuntimeError("no")


def test_a_truncated_chunk_stops_only_its_blocks(stored, threads, encoders, fault, tmp_path) -> None:
    sdata = stored(tmp_path / "tissue.zarr", shape=(200, 260))
    chunk = tmp_path / "tissue.zarr/images/image/s0/c/1/1/2"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    wanted = means(stored(tmp_path / "again.zarr", shape=(200, 260)), ks.models.load("mean-marker"))
    model = encoders.Counted(fault)
    store = tmp_path / "features.zarr"
    with Client(threads):
        with pytest.raises(
            OSError, match=r"blocks could not be embedded.*OSError: Image 'image' could not be decoded at channel 'CD3'"
        ):
            means(sdata, model, store=store)
        assert 0 < EmbeddingStore(store).complete() < len(EmbeddingStore(store).rows)
        chunk.write_bytes(whole)
        np.testing.assert_array_equal(means(sdata, model, store=store), wanted)


def test_a_failing_block_goes_to_another_worker(threads, monkeypatch) -> None:
    """The worker that failed is avoided as long as there is another."""
    with Client(threads) as client:
        first, second = client.nthreads()
        seen = []
        monkeypatch.setattr(Client, "submit", lambda *_, **how: seen.append(how) or FakeFuture())
        run = _driver._ClusterRun.__new__(_driver._ClusterRun)
        run.__dict__ |= {
            "_client": client,
            "_nan": "zero",
            "_name": "n",
            "_worker_state": None,
            "_pending": {},
            "_workers": {first: 2, second: 2},
        }
        task = FakeTask()
        run._send(task)
        task.avoid_workers.add(first)
        run._send(task)
        assert "workers" not in seen[0]
        assert (seen[1]["workers"], seen[1]["allow_other_workers"]) == ([second], True)


@pytest.mark.parametrize(
    ("fates", "given_up"),
    [
        (["OSError", "OSError", "OSError"], True),
        (["OSError", "KilledWorker"], False),  # once more, alone
        (["KilledWorker", "OSError"], False),
        (["KilledWorker", "KilledWorker"], True),
        (["OSError", "KilledWorker", "OSError"], True),
    ],
)
def test_how_often_a_block_is_tried(fates, given_up) -> None:
    run = _driver._ClusterRun.__new__(_driver._ClusterRun)
    run.__dict__ |= {
        "_queue": [],
        "_suspects": [],
        "_failed": [],
        "_sink": None,
        "_devices": {"cpu"},
        "_retried": 0,
        "_workers": {},
    }
    run._progress = type("Bar", (), {"set_postfix_str": lambda *_, **how: None})()
    task = _task.Task(None, 0, None)
    for fate in fates:
        run._queue.clear()
        run._suspects.clear()
        assert run._failed == []
        run._fail(task, BlockError("", fate, "gone"))
    assert (run._failed == [task]) == given_up
    assert (run._suspects == [task]) == ("KilledWorker" in fates and not given_up)


def test_a_run_that_failed_does_not_wait_for_ever(monkeypatch) -> None:
    """For blocks of workers that hang."""
    called_off = []
    run = _driver._ClusterRun.__new__(_driver._ClusterRun)
    client = type(
        "Client",
        (),
        {"processing": lambda _: {"worker": ["a"]}, "cancel": lambda _, futures, **how: called_off.extend(futures)},
    )()
    future = type("Future", (), {"done": lambda _: False})()
    run.__dict__ |= {
        "_client": client,
        "_pending": {"a": (future, None), "b": (future, None)},
        "_returned": _driver.SimpleQueue(),
    }
    monkeypatch.setattr(_driver, "_FINISH_SECONDS", 0.05)
    run._finish_running()
    assert run._pending == {}
    assert called_off == [future, future]


def test_what_a_cluster_holds_is_computed_there_and_all_else_here(threads) -> None:
    import dask.array as da

    from kronos_sc._core import lazy

    numbers = np.arange(24.0).reshape(8, 3)
    with Client(threads) as client:
        held = client.persist(da.from_array(numbers, chunks=(2, 3)) + 1)
        for values, there in ((held, True), (held[2:5] * 2, True), (da.from_array(numbers, chunks=(2, 3))[1:7], False)):
            assert lazy._on_a_cluster(values) == there
            np.testing.assert_array_equal(lazy.computed(values), np.asarray(values.compute()))
        seen = lazy.computed(
            da.map_blocks(
                lambda x: x + (threading.current_thread().name.startswith("Dask-Default")), da.zeros(2, chunks=1)
            )
        )
    assert not seen.any()


class FakeFuture:
    key = "k"

    def add_done_callback(self, _) -> None:
        pass


class FakeTask:
    bytes = 0
    index = 0

    def __init__(self) -> None:
        self.avoid_workers: set[str] = set()
        self.job = type("RegionJob", (), {"numbers": (0,)})()

    def serialize(self, nan: str) -> bytes:
        return b""


def test_what_a_dead_driver_has_staged_never_counts(on_disk, threads, encoders, fault, tmp_path, monkeypatch) -> None:
    from kronos_sc._store import FeatureBlock

    wanted = means(on_disk, ks.models.load("mean-marker"))
    store = tmp_path / "features.zarr"
    model = encoders.Counted(fault)
    accept = EmbeddingStore.accept

    def beside_a_ghost(self, staged) -> None:
        """A task of an earlier driver wakes up just now and stages rubbish for the same block."""
        rows = self.rows[staged.number]
        rows = rows[rows >= 0]
        self.stager(
            FeatureBlock(staged.number, rows, {"marker": np.full((len(rows), 5), -1.0)}, np.ones(len(rows)), 1.0)
        )
        accept(self, staged)

    monkeypatch.setattr(EmbeddingStore, "accept", beside_a_ghost)
    with Client(threads):
        np.testing.assert_array_equal(means(on_disk, model, store=store), wanted)
    assert left_over(store) == []


def test_the_client_is_closed_meanwhile(on_disk, threads, encoders, fault, tmp_path, monkeypatch) -> None:
    store = tmp_path / "features.zarr"
    model = encoders.Slow(fault)
    client = Client(threads)
    accept = EmbeddingStore.accept

    def closing(self, staged) -> None:
        accept(self, staged)
        client.close()

    monkeypatch.setattr(EmbeddingStore, "accept", closing)
    with pytest.raises(ConnectionError, match=r"no longer works for this run .*make the same call again"):
        means(on_disk, model, store=store)
    assert EmbeddingStore(store).complete() >= 1


def test_ctrl_c_while_it_waits(on_disk, threads, encoders, fault, tmp_path, monkeypatch) -> None:
    model = encoders.Slow(fault)
    store = tmp_path / "features.zarr"
    accept = EmbeddingStore.accept

    def then_interrupted(self, staged) -> None:
        accept(self, staged)
        if self.complete() == 2:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    monkeypatch.setattr(EmbeddingStore, "accept", then_interrupted)
    with Client(threads) as client:
        with pytest.raises(KeyboardInterrupt):
            patient(on_disk, model, store=store)
        assert 2 <= EmbeddingStore(store).complete() < len(EmbeddingStore(store).rows)
        deadline = time.monotonic() + 120
        while any(client.processing().values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert model.passes() < len(EmbeddingStore(store).rows), "what waited was called off"


def patient(*given, **how) -> None:
    """Wait for the signal, however late it comes."""
    means(*given, **how)
    time.sleep(10)


def test_progress_says_who_works_and_what_failed(make, threads, encoders, fault, tmp_path, monkeypatch) -> None:
    said = []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_) -> None:
            pass

        def update(self, n: int) -> None:
            said.append(n)

        def set_postfix_str(self, text: str, *, refresh: bool) -> None:
            said.append(text)

    monkeypatch.setattr(_driver, "bar", lambda **_: Bar())
    sdata = bright(make)
    with Client(threads), pytest.raises(RuntimeError):
        means(sdata, encoders.Refuses(fault), store=tmp_path / "features.zarr")
    assert said[0] == "2 workers"
    assert "2 workers, 2 retried, 1 failed" in said
    done = sum(n for n in said if isinstance(n, int))
    assert 0 < done < sdata["table"].n_obs


# --- workers that die, each restarted by its nanny; last, because restarts keep the machine busy
# -------------------------------------------


@pytest.mark.slow(20)
@pytest.mark.parametrize("how", ["DiesOnce", "EatsOnce"])
def test_a_worker_dies_and_nobody_notices(on_disk, processes, encoders, fault, tmp_path, how) -> None:
    """By SIGKILL, and by its memory limit."""
    wanted = means(on_disk, ks.models.load("mean-marker"))
    model = getattr(encoders, how)(fault)
    with Client(processes) as client:
        before = set(client.run(os.getpid).values())
        np.testing.assert_array_equal(means(on_disk, model, store=tmp_path / "features.zarr"), wanted)
        assert not model.fault.exists()
        client.wait_for_workers(2, timeout=300)
        assert len(before - set(client.run(os.getpid).values())) == 1
    assert left_over(tmp_path / "features.zarr") == []


@pytest.mark.slow(15)
def test_a_block_that_kills_its_workers_is_found_and_its_neighbours_are_not_blamed(
    make, processes, encoders, fault, tmp_path
) -> None:
    sdata = bright(make)
    store = tmp_path / "features.zarr"
    model = encoders.Dies(fault)
    before, processes.scheduler.allowed_failures = processes.scheduler.allowed_failures, 0
    try:
        with Client(processes) as client:
            client.wait_for_workers(2, timeout=300)
            with pytest.raises(RuntimeError, match=r"1 of the blocks.*KilledWorker"):
                means(sdata, model, store=store)
    finally:
        processes.scheduler.allowed_failures = before
    assert EmbeddingStore(store).complete() == len(EmbeddingStore(store).rows) - 1


_DRIVER = """
import sys
sys.path[:0] = {path!r}
import spatialdata, kronos_sc as ks, faulty_encoders
from pathlib import Path
from distributed import Client
if __name__ == "__main__":
    ks.settings.block_memory = 100_000
    with Client({address!r}):
        sdata = spatialdata.read_zarr({image!r})
        model = faulty_encoders.Slow(Path({fault!r}))
        ks.tl.embed(sdata, model=model, key_added="m", store={store!r})
"""


@pytest.mark.slow(10)
def test_the_driver_is_killed_and_the_next_one_goes_on(on_disk, processes, encoders, fault, tmp_path) -> None:
    wanted = means(on_disk, ks.models.load("mean-marker"))
    store = tmp_path / "features.zarr"
    given = {
        "address": processes.scheduler_address,
        "image": str(on_disk.path),
        "fault": str(fault),
        "store": str(store),
    }
    driver = subprocess.Popen(
        [sys.executable, "-c", _DRIVER.format(path=[str(HELPERS)], **given)], stderr=subprocess.DEVNULL
    )
    model = encoders.Slow(fault)
    deadline = time.monotonic() + 300
    while model.passes() < 4 and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    done = EmbeddingStore(store).complete()
    assert done < len(EmbeddingStore(store).rows)
    with Client(processes):
        np.testing.assert_array_equal(means(on_disk, model, store=store), wanted)
    assert left_over(store) == []


def test_a_copy_for_another_worker_leaves_the_device_out() -> None:
    """A worker that joins late asks a colleague, whose model is on a GPU."""
    from distributed.protocol import deserialize_bytes, serialize_bytes

    encoder = InferenceConfig(
        ks.models.load("mean-marker"), None, ("marker",), "error", None, torch.device("cpu"), torch.float32
    )
    work = WorkerState(encoder, None, len)
    assert work._config_on_device().device.type in ("cpu", "cuda", "mps")
    assert work._placed is not None
    assert deserialize_bytes(serialize_bytes(work))._placed is None


def test_failures_read_as_sentences() -> None:
    assert str(BlockError("tcp://a:1", "OSError", "no such disk")) == "OSError: no such disk (on tcp://a:1)"
    assert BlockError.of(OSError(28, "No space left on device")).final == "OSError"
    assert BlockError.of(OSError(5, "Input/output error")).final == ""
