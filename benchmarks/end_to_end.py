"""`tl.embed` from a Zarr store against the bare forward pass on ready tensors, same model, same number format, same run."""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from store import MARKERS, tissue_store

import kronos_sc
from kronos_sc import models
from kronos_sc.models._runner import auto_batch


def bare(model: models.Model, dtype: torch.dtype, units: int, size: int) -> float:
    """Return units/s of the network alone."""
    net = model.at(torch.device("cpu"), dtype).net
    batch = auto_batch(model, size, MARKERS, device=torch.device("cpu"), dtype=dtype)
    x, ids = torch.randn(batch, MARKERS, size, size).to(dtype), torch.arange(128, 128 + MARKERS).expand(batch, -1)
    with torch.inference_mode():
        net(x, ids)
        start = time.perf_counter()
        for _ in range(-(-units // batch)):
            net(x, ids)
        return -(-units // batch) * batch / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=5000)
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    options = parser.parse_args()
    kronos_sc.settings.progress, kronos_sc.settings.verbosity = False, 1
    model = models.load("kronos-untrained", blocks="official")
    with tempfile.TemporaryDirectory() as folder:
        sdata = tissue_store(Path(folder), cells=options.cells)
        for precision in options.precision:
            dtype = getattr(torch, precision)
            before = bare(model, dtype, options.cells // 2, 64)
            start = time.perf_counter()
            kronos_sc.tl.embed(sdata, model=model, precision=precision)
            rate = options.cells / (time.perf_counter() - start)
            after = bare(model, dtype, options.cells // 2, 64)
            alone = 2 / (1 / before + 1 / after)
            print(
                f"{precision:9} {options.cells} cells × {MARKERS} markers: tl.embed {rate:.1f}/s, bare forward {alone:.1f}/s, ratio {rate / alone:.3f}"
            )


if __name__ == "__main__":
    main()
