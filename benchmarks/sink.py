"""MB/s of writing features into a store and of reading them back in table order.

Against np.save and np.load of the same bytes.
"""

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import kronos_sc
from kronos_sc import _store

CAPACITY = 1024


def block(number: int, width: int, dtype: str) -> np.ndarray:
    """Return the features of one block: normal, as features of a network after its last norm.

    Of float32, zstd saves some 8 %.
    """
    return np.random.default_rng(number).standard_normal((CAPACITY, width), dtype=np.float32).astype(dtype)


def floor_write(folder: Path, blocks: list[np.ndarray], *, sync: bool) -> None:
    """Write one .npy per block."""
    for number, values in enumerate(blocks):
        with (folder / f"{number}.npy").open("wb") as file:
            np.save(file, values)
            if sync:
                file.flush()
                os.fsync(file.fileno())


def floor_read(folder: Path, blocks: int) -> None:
    """Read them back."""
    for number in range(blocks):
        np.load(folder / f"{number}.npy")


def new_store(path: Path, blocks: int, width: int, dtype: str, order: np.ndarray) -> _store.EmbeddingStore:
    """Return an empty store whose stored rows are those rows of the table."""
    path.mkdir(parents=True)
    rows = order.reshape(blocks, CAPACITY).astype(np.int64)
    names = np.arange(order.size).astype(str)
    attributes = {
        "key": "kronos",
        "kinds": {"marker": width},
        "dtype": dtype,
        "edge": np.zeros(order.size, bool),
        "fingerprint": {},
    }
    return _store.EmbeddingStore.create(path, _store.Spec(**attributes, rows=rows, names=names))


def write(store: _store.EmbeddingStore, blocks: list[np.ndarray], *, threads: int) -> None:
    """Compress, checksum, write and fsync in threads; accept in this one, as `tl.embed` does."""
    stager = store.stager
    pixels = np.full(CAPACITY, 100, np.int32)
    finished = [
        _store.FeatureBlock(n, store.rows[n], {"marker": values}, pixels, 0.5) for n, values in enumerate(blocks)
    ]
    with ThreadPoolExecutor(threads) as pool:
        for staged in pool.map(stager, finished):
            store.accept(staged)


def read(store: _store.EmbeddingStore, *, parts: int, whole: bool = True) -> float:
    """Read so many chunks of the dask array one after the other, evenly spread; return the MB they hold."""
    lazy = store.features("marker")
    parts_read = range(lazy.numblocks[0])
    if not whole:
        parts_read = np.unique(np.linspace(0, lazy.numblocks[0] - 1, parts).astype(int)).tolist()
    return sum(lazy.blocks[part].compute(scheduler="synchronous").nbytes for part in parts_read) / 1e6


def rate(megabytes: float, work: Callable[[], object], *, repeats: int) -> tuple[float, float]:
    """Return the median MB/s of some work, and of the processor seconds it takes."""
    wall = []
    cpu = []
    for _ in range(repeats):
        started = time.perf_counter()
        used = time.process_time()
        work()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return megabytes / statistics.median(wall), megabytes / max(statistics.median(cpu), 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16384)
    parser.add_argument("--markers", type=int, default=18)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--parts", type=int, default=4, help="chunks of the dask array read where the table is shuffled"
    )
    options = parser.parse_args()
    kronos_sc.settings.progress = False
    kronos_sc.settings.verbosity = 1
    width = options.markers * 384
    count = max(1, options.rows // CAPACITY)
    blocks = [block(number, width, options.dtype) for number in range(count)]
    size = sum(values.nbytes for values in blocks) / 1e6
    timing = {"repeats": options.repeats}
    orders = {
        "table in stored order": np.arange(count * CAPACITY),
        "table shuffled": np.random.default_rng(0).permutation(count * CAPACITY),
    }
    print(
        f"{count * CAPACITY:,} rows × {width} {options.dtype}, {size:,.0f} MB in {count} blocks; {os.cpu_count()} "
        "cores; in the file cache"
    )
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        floors = {}
        for name, sync in (("np.save", False), ("np.save and fsync", True)):
            floors[name] = rate(size, lambda sync=sync: floor_write(home, blocks, sync=sync), **timing)[0]
            print(f"write, {name}: {floors[name]:,.0f} MB/s")
        for threads in (1, 2):

            def fresh(threads: int = threads) -> None:
                shutil.rmtree(home / "written", ignore_errors=True)
                write(
                    new_store(home / "written", count, width, options.dtype, orders["table in stored order"]),
                    blocks,
                    threads=threads,
                )

            wall, cpu = rate(size, fresh, **timing)
            share = wall / floors["np.save and fsync"]
            print(
                f"write, store, {threads} thread(s): {wall:,.0f} MB/s ({share:.2f} × np.save and fsync; {cpu:,.0f} MB "
                "per processor second)"
            )
        stored = sum(f.stat().st_size for f in (home / "written").rglob("*") if f.is_file()) / 1e6
        print(f"on disk: {stored:,.0f} MB, {stored / size:.3f} of the bytes")
        floor = rate(size, lambda: floor_read(home, count), **timing)[0]
        print(f"read, np.load: {floor:,.0f} MB/s")
        whole = _store.EmbeddingStore(home / "written")
        print(f"read, all checksums (what a resumed run does first): {rate(size, whole.intact, **timing)[0]:,.0f} MB/s")
        del whole
        for name, order in orders.items():
            path = home / name.replace(" ", "-")
            store = new_store(path, count, width, options.dtype, order)
            write(store, blocks, threads=2)
            limits = {"parts": options.parts, "whole": name != "table shuffled"}
            megabytes = read(store, **limits)
            read_rate = rate(megabytes, lambda store=store, limits=limits: read(store, **limits), **timing)[0]
            print(f"read, {name}, through the dask array: {read_rate:,.0f} MB/s ({read_rate / floor:.2f} × np.load)")
            shutil.rmtree(path)
    print(
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB, of which the blocks are "
        f"{size / 1074:.2f}"
    )


if __name__ == "__main__":
    main()
