"""Peak memory of embedding cells of a very large image, above what the imports take."""

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
tl.embed(sdata, model=models.load("kronos-untrained", blocks="official"))
print(f"{sdata.tables['table'].n_obs} cells in {time.perf_counter() - start:.0f} s")
print(f"imports {imports:.2f} GiB, peak {peak():.2f} GiB, above imports {peak() - imports:.2f} GiB")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--channels", type=int, default=40)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--chunk", type=int, default=1024)
    options = parser.parse_args()
    from store import large_store

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = Path(folder) / "large.zarr"
        large_store(path, side=options.side, channels=options.channels, cells=options.cells, chunk=options.chunk)
        print(
            f"store of {options.channels} × {options.side} × {options.side} uint16 written in {time.perf_counter() - start:.0f} s",
            flush=True,
        )
        subprocess.run([sys.executable, "-c", EMBED, str(path)], check=True)


if __name__ == "__main__":
    main()
