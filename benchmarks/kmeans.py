"""Mini-batch k-means on a million rows: this package against scikit-learn's MiniBatchKMeans.

    python benchmarks/kmeans.py [--rows 1000000] [--clusters 16] [--lazy]

Rows of 384 numbers in 40 overlapping groups, sorted by group, as tables sorted by image are. `--lazy` keeps ours in a
Zarr store.
"""

from argparse import ArgumentParser
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import zarr
from anndata import AnnData
from sklearn.cluster import MiniBatchKMeans

import kronos_sc as ks

WIDTH = 384


def groups(rows: int) -> np.ndarray:
    """Return rows (float32) around 40 centres, group by group."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, WIDTH), dtype=np.float32)
    for centre, part in zip(
        rng.normal(scale=0.35, size=(40, WIDTH)).astype(np.float32), np.array_split(x, 40), strict=True
    ):
        part += centre
    return x


def main() -> None:
    """Print seconds and inertia of both, and their ratios."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--clusters", type=int, default=16)
    parser.add_argument("--lazy", action="store_true")
    options = parser.parse_args()
    ks.settings.verbosity = 1
    x = groups(options.rows)
    with TemporaryDirectory() as folder:
        values = x
        if options.lazy:
            values = zarr.create_array(f"{folder}/x.zarr", shape=x.shape, chunks=(8192, WIDTH), dtype="f4")
            values[:] = x
        cells = AnnData(obs={"group": np.arange(options.rows)}, obsm={"X_kronos": values})
        began = perf_counter()
        ks.tl.cluster(cells, n_clusters=options.clusters, method="minibatch")
        ours = perf_counter() - began
    inertia = ks.get.result(cells, "kronos_cluster", table="fits")["inertia"].item()
    began = perf_counter()
    plain = MiniBatchKMeans(options.clusters, random_state=0, n_init="auto").fit(x)
    theirs = perf_counter() - began
    print(f"tl.cluster        {ours:7.1f} s   inertia {inertia:.5g}")
    print(f"MiniBatchKMeans   {theirs:7.1f} s   inertia {plain.inertia_:.5g}")
    print(f"ratio             {ours / theirs:7.2f}     {inertia / plain.inertia_:15.5f}")


if __name__ == "__main__":
    main()
