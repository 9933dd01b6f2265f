"""Simulated stores for the benchmarks."""

from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import spatialdata as sd
from anndata import AnnData
from spatialdata.models import Image2DModel, Labels2DModel, TableModel

from kronos_sc import datasets

MARKERS = 18


def tissue_store(folder: Path, *, cells: int) -> sd.SpatialData:
    """Write simulated tissue with 18 markers and at least that many cells; return it read back, with `cells` rows."""
    side = int(np.sqrt(cells / 0.0016)) + 200
    sdata = datasets.tissue(shape=(side, side), rng=0)
    image = sdata.images["image"].isel(c=slice(0, MARKERS))
    names = [str(c) for c in image.coords["c"].to_numpy()]
    sdata.images["image"] = Image2DModel.parse(image.data.rechunk((1, 512, 512)), dims=("c", "y", "x"), c_coords=names)
    if sdata.tables["table"].n_obs < cells:
        msg = f"{sdata.tables['table'].n_obs} cells on {side} px, {cells} wanted"
        raise RuntimeError(msg)
    # spread over the whole image, in random order
    rows = np.random.default_rng(0).permutation(sdata.tables["table"].n_obs)[:cells]
    sdata.tables["table"] = sdata.tables["table"][rows].copy()
    labels = np.asarray(sdata.labels["cells"].data)
    # spatialdata insists on a row for every label
    kept = np.where(np.isin(labels, sdata.tables["table"].obs["cell_id"]), labels, 0)
    sdata.labels["cells"] = Labels2DModel.parse(da.from_array(kept, chunks=512), dims=("y", "x"))
    sdata.write(folder / "tissue.zarr")
    return sd.read_zarr(folder / "tissue.zarr")


def large_store(path: Path, *, side: int, channels: int, cells: int, chunk: int = 1024, every: int = 2) -> None:
    """Write a large, mostly empty image.

    A textured patch of tissue in every second chunk along each axis, square cells inside.
    """
    rng = np.random.default_rng(0)
    texture = rng.integers(200, 40_000, (chunk, chunk), dtype=np.uint16)

    def pixels(block_info=None):
        (c0, _), (y0, y1), (x0, x1) = block_info[None]["array-location"]
        if (y0 // chunk) % every or (x0 // chunk) % every:
            return np.zeros((1, y1 - y0, x1 - x0), np.uint16)
        return np.roll(texture, c0)[None, : y1 - y0, : x1 - x0]

    image = da.map_blocks(
        pixels, chunks=((1,) * channels, *[da.core.normalize_chunks(chunk, (side,))[0]] * 2), dtype=np.uint16
    )
    per_axis = -(-side // chunk)
    homes = [(i, j) for i in range(0, per_axis, every) for j in range(0, per_axis, every)]
    home = np.asarray(homes)[rng.integers(0, len(homes), cells)]
    free = np.minimum((home + 1) * chunk, side) - home * chunk
    corner = home * chunk + (rng.random((cells, 2)) * (free - 12)).astype(int)

    def labels(block_info=None):
        (y0, y1), (x0, x1) = block_info[None]["array-location"]
        labels_of_chunk = np.zeros((y1 - y0, x1 - x0), np.uint32)
        for n in np.flatnonzero(((corner >= [y0, x0]) & (corner < [y1, x1])).all(1)):
            y, x = corner[n] - [y0, x0]
            labels_of_chunk[y : y + 10, x : x + 10] = n + 1
        return labels_of_chunk

    plane = da.map_blocks(labels, chunks=image.chunks[1:], dtype=np.uint32)
    ids = _present(plane)
    ids = ids[ids > 0]
    obs = pd.DataFrame(
        {"region": pd.Categorical(["cells"] * len(ids)), "cell_id": ids.astype(np.int64)}, index=ids.astype(str)
    )
    table = TableModel.parse(AnnData(obs=obs), region="cells", region_key="region", instance_key="cell_id")
    names = [str(c) for c in _names(channels)]
    sdata = sd.SpatialData(
        images={"image": Image2DModel.parse(image, dims=("c", "y", "x"), c_coords=names)},
        labels={"cells": Labels2DModel.parse(plane, dims=("y", "x"))},
        tables={"table": table},
    )
    sdata.write(path)


def _present(plane: da.Array) -> np.ndarray:
    present = [
        np.unique(np.asarray(plane.blocks[i, j].compute(scheduler="synchronous")))
        for i in range(plane.numblocks[0])
        for j in range(plane.numblocks[1])
    ]
    return np.unique(np.concatenate(present))


def _names(channels: int) -> list[str]:
    from kronos_sc.markers import paper_vocabulary

    names = list(paper_vocabulary().names)
    names.remove("DAPI")
    distinct = [name for name in names if name not in {"ICAM1"}]  # the same protein as CD54
    return ["DAPI", *distinct[: channels - 1]]
