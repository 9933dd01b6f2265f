"""Peak memory of embedding cells of a very large image, or very many cells, above what the imports take.

`--store` writes features to disk beside the image, as `tl.embed` does by itself where they do not fit into memory.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EMBED = """
import resource, sys, time, warnings
warnings.simplefilter("ignore")
import scanpy, spatialdata, torch, zarr
import kronos_sc
from kronos_sc import models, tl
kronos_sc.settings.progress = False
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
imports = peak()
start = time.perf_counter()
sdata = spatialdata.read_zarr(sys.argv[1])
tl.embed(sdata, model=models.load("kronos-untrained", blocks="official"), store=sys.argv[2] == "True")
features = sdata.tables["table"].obsm["X_kronos"]
print(f"{len(features)} cells in {time.perf_counter() - start:.0f} s, {features.nbytes / 2**30:.2f} GiB of features")
print(f"imports {imports:.2f} GiB, peak {peak():.2f} GiB, above imports {peak() - imports:.2f} GiB")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--channels", type=int, default=40)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--chunk", type=int, default=1024)
    parser.add_argument("--every", type=int, default=2, help="tissue in every so many chunks along each axis")
    parser.add_argument("--store", action="store_true", help="features to disk")
    options = parser.parse_args()
    from store import large_store

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = Path(folder) / "large.zarr"
        large_store(
            path,
            side=options.side,
            channels=options.channels,
            cells=options.cells,
            chunk=options.chunk,
            every=options.every,
        )
        print(
            f"store of {options.channels} × {options.side} × {options.side} uint16 written in "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
        subprocess.run([sys.executable, "-c", EMBED, str(path), str(options.store)], check=True)


if __name__ == "__main__":
    main()
