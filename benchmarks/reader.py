"""Windows per second: our reader, the same through a task graph, and spatialdata's own tile dataset.

All on the same store.
"""

import argparse
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from store import MARKERS, tissue_store

import kronos_sc
from kronos_sc import patches
from kronos_sc._core.resolve import annotation

BATCH = 256


def ours(sdata, size: int) -> tuple[int, float]:
    """Return units and seconds, from the store to arrays, in batches."""
    start = time.perf_counter()
    image, units = located(sdata, size)
    total = 0
    for block in patches.read(patches.plan(image, range(MARKERS), units)):
        for first in range(0, len(block.units), BATCH):
            total += len(patches.crop(block, start=first, stop=first + BATCH))
    return total, time.perf_counter() - start


def located(sdata, size: int) -> tuple[patches.Raster, patches.Units]:
    table = sdata.tables["table"]
    image = patches.raster(sdata)
    return image, patches.units(sdata, table, annotation(table, name="table"), "cells", image, size=size)


def blocks(image: patches.Raster, units: patches.Units) -> tuple[float, float]:
    """Return seconds and processor seconds of reading all blocks, windows not cut."""
    plan = patches.plan(image, range(MARKERS), units)
    start = time.perf_counter()
    busy = time.process_time()
    for _ in patches.read(plan):
        pass
    return time.perf_counter() - start, time.process_time() - busy


def with_and_without_graph(sdata, size: int, rounds: int = 4) -> None:
    """Print what reading costs a unit, from chunks and through a task graph, in turns."""
    image, units = located(sdata, size)
    # a step that changes nothing hides the chunks, so that pixels come through the graph
    pixels = image.data
    hidden = pixels.map_blocks(np.asarray, dtype=pixels.dtype, meta=np.empty((0, 0, 0), pixels.dtype))
    lazy = replace(image, data=hidden)
    fastest = np.array([[blocks(raster, units) for raster in (image, lazy)] for _ in range(rounds)]).min(axis=0)
    for name, (seconds, busy) in zip(("chunks", "task graph"), fastest, strict=True):
        print(
            f"blocks from {name}: {len(units) / seconds:,.0f} units/s, {1e6 * busy / len(units):.0f} µs of a processor "
            "per unit"
        )
    print(f"ratio {fastest[1, 0] / fastest[0, 0]:.1f} in time, {fastest[1, 1] / fastest[0, 1]:.1f} in processor time")


def theirs(sdata, size: int, most: int) -> tuple[int, float, float]:
    """Return units, seconds of set-up and seconds of delivery of `ImageTilesDataset`."""
    from spatialdata.dataloader import ImageTilesDataset

    warnings.simplefilter("ignore")
    start = time.perf_counter()
    dataset = ImageTilesDataset(
        sdata=sdata,
        regions_to_images={"cells": "image"},
        regions_to_coordinate_systems={"cells": "global"},
        tile_dim_in_units=size,
        rasterize=False,
        table_name="table",
        transform=lambda sample: sample.images["image"].to_numpy() if hasattr(sample, "images") else sample,
    )
    ready = time.perf_counter()
    count = min(most, len(dataset))
    for i in range(count):
        tile = dataset[i]
        sum(image.data.compute().size for image in getattr(tile, "images", {}).values())
    return count, ready - start, time.perf_counter() - ready


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=5000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--theirs", type=int, default=200, help="tiles to take from spatialdata")
    options = parser.parse_args()
    kronos_sc.settings.progress = False
    kronos_sc.settings.verbosity = 1
    with tempfile.TemporaryDirectory() as folder:
        sdata = tissue_store(Path(folder), cells=options.cells)
        ours(sdata, options.size)  # imports and the file cache
        count, seconds = min((ours(sdata, options.size) for _ in range(3)), key=lambda r: r[1])
        print(
            f"kronos_sc: {count} units × {MARKERS} × {options.size} px in {seconds:.2f} s, labels included: "
            f"{count / seconds:,.0f}/s"
        )
        with_and_without_graph(sdata, options.size)
        many, setup, delivery = theirs(sdata, options.size, options.theirs)
        print(
            f"spatialdata ImageTilesDataset: set-up {setup:.1f} s, {many} tiles in {delivery:.1f} s: "
            f"{many / delivery:,.0f}/s"
        )
        print(f"ratio {count / seconds / (many / delivery):,.0f}")


if __name__ == "__main__":
    main()
