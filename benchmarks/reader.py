"""Windows per second: our reader, and spatialdata's own tile dataset on the same store."""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

from store import MARKERS, tissue_store

import kronos_sc
from kronos_sc import patches
from kronos_sc._core.resolve import annotation

BATCH = 256


def ours(sdata, size: int) -> tuple[int, float]:
    """Return units and seconds, from the store to arrays, in batches."""
    start = time.perf_counter()
    table = sdata.tables["table"]
    image = patches.raster(sdata)
    units = patches.units(sdata, table, annotation(table, name="table"), "cells", image, size=size)
    total = 0
    for block in patches.read(patches.plan(image, range(MARKERS), units)):
        for first in range(0, len(block.units), BATCH):
            total += len(patches.crop(block, start=first, stop=first + BATCH))
    return total, time.perf_counter() - start


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
    kronos_sc.settings.progress, kronos_sc.settings.verbosity = False, 1
    with tempfile.TemporaryDirectory() as folder:
        sdata = tissue_store(Path(folder), cells=options.cells)
        ours(sdata, options.size)  # imports and the file cache
        count, seconds = min((ours(sdata, options.size) for _ in range(3)), key=lambda r: r[1])
        print(f"kronos_sc: {count} units × {MARKERS} × {options.size} px in {seconds:.2f} s, labels included: {count / seconds:,.0f}/s")
        many, setup, delivery = theirs(sdata, options.size, options.theirs)
        print(f"spatialdata ImageTilesDataset: set-up {setup:.1f} s, {many} tiles in {delivery:.1f} s: {many / delivery:,.0f}/s")
        print(f"ratio {count / seconds / (many / delivery):,.0f}")


if __name__ == "__main__":
    main()
