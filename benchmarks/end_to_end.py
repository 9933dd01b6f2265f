"""`tl.embed` from a Zarr store against the bare forward pass on ready tensors, and against a plain pipeline.

One model, one run.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import plain
import torch
from store import MARKERS, tissue_store

import kronos_sc
from kronos_sc import models
from kronos_sc.models.inference import instructions
from kronos_sc.models.inference.runner import auto_batch

SIZE = 64


def bare(model: models.Model, dtype: torch.dtype, units: int, device: torch.device) -> float:
    """Return seconds per unit of the network alone."""
    net = model.at(device, dtype).net
    batch = auto_batch(model, SIZE, MARKERS, device=device, dtype=dtype)
    x = torch.randn(batch, MARKERS, SIZE, SIZE, device=device).to(dtype)
    ids = torch.arange(128, 128 + MARKERS, device=device).expand(batch, -1)
    passes = -(-units // batch)
    with torch.inference_mode(), instructions.products(dtype, device):
        net(x, ids)
        _finish(device)
        start = time.perf_counter()
        for _ in range(passes):
            net(x, ids)
        _finish(device)
        return (time.perf_counter() - start) / (passes * batch)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ours(sdata, model: models.Model, precision: str, device: torch.device) -> float:
    """Return seconds per unit from store to table."""
    start = time.perf_counter()
    kronos_sc.tl.embed(sdata, model=model, precision=precision, device=device)
    return (time.perf_counter() - start) / sdata["table"].n_obs


def by_hand(sdata, model: models.Model, cells: int, *, within: float | None) -> float:
    """Return seconds per unit of the plain pipeline, measured on some cells.

    Its features must be those of the table to that.
    """
    panel = kronos_sc.get.record(sdata)["panel"]
    is_used = np.asarray(panel["id"]) >= 0
    panel = SimpleNamespace(**{name: np.asarray(panel[name])[is_used] for name in ("channel", "id", "mean", "std")})
    rows = np.linspace(0, sdata["table"].n_obs - 1, cells).astype(int)
    chosen = sdata["table"].obs["cell_id"].to_numpy()[rows]
    with tempfile.TemporaryDirectory() as folder:
        files, cutting = plain.cut(sdata, chosen, list(panel.channel), SIZE, Path(folder))
        features, embedding = plain.embed(model.net, files, panel, 65535)
    difference = float(np.abs(features - sdata["table"].obsm["X_kronos"][rows]).max())
    if within is not None and not difference < within:
        msg = f"features of the plain pipeline are {difference:.2g} from ours"
        raise RuntimeError(msg)
    print(
        f"plain     {cells} cells: {cells / (cutting + embedding):.1f}/s (cut {cutting / cells * 1e3:.1f} ms per cell, "
        f"embed {embedding / cells * 1e3:.1f} ms, {plain.BATCH} per batch), features within {difference:.1g}",
        flush=True,
    )
    return (cutting + embedding) / cells


def rounds(sdata, model: models.Model, precision: str, options: argparse.Namespace) -> None:
    """Print the ratios of each round and their median."""
    device = torch.device(options.device)
    dtype = getattr(torch, precision)
    cells = sdata["table"].n_obs
    shares = []
    gains = []
    for _ in range(options.rounds):
        before = bare(model, dtype, cells // 2, device)
        whole = ours(sdata, model, precision, device)
        alone = (before + bare(model, dtype, cells // 2, device)) / 2
        shares.append(alone / whole)
        print(
            f"{precision:9} {cells} cells: tl.embed {1 / whole:.1f}/s, bare forward {1 / alone:.1f}/s, ratio "
            f"{shares[-1]:.3f}",
            flush=True,
        )
        if options.plain_cells:
            # bfloat16 is not the arithmetic of the plain pipeline, which says nothing then
            within = 1e-3 if precision == "float32" else None
            gains.append(by_hand(sdata, model, options.plain_cells, within=within) / whole)
    text = f", over the plain pipeline {statistics.median(gains):.2f}" if gains else ""
    print(f"{precision:9} median: over the bare forward {statistics.median(shares):.3f}{text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=5000)
    parser.add_argument(
        "--plain-cells", type=int, default=192, help="the plain pipeline is measured on so many; 0 leaves it out"
    )
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=1, help="per precision; the median ratios count")
    parser.add_argument(
        "--device", default="cpu", help="of ours and of the bare forward; the plain pipeline stays on the processor"
    )
    options = parser.parse_args()
    kronos_sc.settings.progress = False
    kronos_sc.settings.verbosity = 1
    model = models.load("kronos-untrained", blocks="official")
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {MARKERS} markers × {SIZE} px, official blocks",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        sdata = tissue_store(Path(folder), cells=options.cells)
        # compiles what is compiled, once for all runs
        kronos_sc.tl.embed(sdata, model="mean-marker", precision="float32")
        for precision in options.precision:
            rounds(sdata, model, precision, options)


if __name__ == "__main__":
    main()
