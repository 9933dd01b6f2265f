"""Dense maps: how well tokens find artifacts beside raw intensities, and what a map of a very large image takes.

Without `--side`: simulated images with blur, saturation and folds; boxes are labelled from the truth, folds keep images
together. With `--side 20000`: peak memory above the imports and time of `tl.predict_map` on a sparse image of that
size, and the file it becomes.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

KINDS = ("blur", "saturation", "fold")

MAP = """
import resource, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, scanpy, shapely, geopandas, spatialdata, torch, zarr
import kronos_sc
from kronos_sc import models, tl
kronos_sc.settings.progress = False
path, model, overlap = sys.argv[1], sys.argv[2], float(sys.argv[3])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
imports = peak()
sdata = spatialdata.read_zarr(path)
corner = np.repeat([0, 256, 512], 4)
boxes = shapely.box(corner, np.tile([0, 256, 512, 700], 3), corner + 256, np.tile([256, 512, 768, 956], 3))
frame = geopandas.GeoDataFrame({"class": ["a", "b", "c"] * 4}, geometry=boxes)
sdata["boxes"] = spatialdata.models.ShapesModel.parse(frame)
options = tl.DenseOptions(overlap=overlap, C=1.0, baseline=False, nan="zero", precision="float32")
probe = tl.dense_probe(sdata, "boxes", model=model, preset="artifact", options=options)
trained = peak()
start = time.perf_counter()
tl.predict_map(sdata, probe, nan="zero", precision="float32", polygons=True)
seconds = time.perf_counter() - start
rows, columns = sdata["map_class"].shape
height, width = sdata["image"].shape[1:]
speed = height * width / 1e6 / seconds
print(f"map of {rows} x {columns} tokens with {model}, overlap {overlap:g}: {seconds:.0f} s, {speed:.1f} Mpx/s")
print(f"imports {imports:.2f} GiB, after training {trained:.2f} GiB, peak {peak():.2f} GiB", end=", ")
print(f"above imports {peak() - imports:.2f} GiB")
start = time.perf_counter()
sdata.write_element(["map", "map_class", "map_table", "map_regions"])
print(f"elements written in {time.perf_counter() - start:.1f} s; peak {peak() - imports:.2f} GiB above imports")
"""


def labelled(images: int, side: int, box: int, kinds: tuple[str, ...], seed: int):
    """Simulate images and label boxes that lie at least to four fifths in one artifact, or in none at all."""
    import geopandas
    import shapely
    from spatialdata.models import ShapesModel

    from kronos_sc import datasets, patches

    sdata = datasets.tissue(shape=(side, side), channels=["DAPI"], n_images=images, artifacts=kinds, rng=seed)
    pairs = {}
    for number in range(images):
        suffix = f"_{number}" if images > 1 else ""
        truth = np.asarray(sdata[f"artifacts{suffix}"])
        rows = []
        for y, x in patches.grid(truth.shape, box, box).tolist():
            shares = np.bincount(truth[y : y + box, x : x + box].ravel(), minlength=4) / box**2
            if shares[0] == 1 or shares[1:].max() >= 0.8:
                rows.append((("none", *KINDS)[int(shares.argmax())], shapely.box(x, y, x + box, y + box)))
        frame = geopandas.GeoDataFrame({"class": [c for c, _ in rows]}, geometry=[g for _, g in rows])
        sdata[f"boxes{suffix}"] = ShapesModel.parse(frame)
        pairs[f"image{suffix}"] = f"boxes{suffix}"
    return sdata, pairs


def artifacts(options: argparse.Namespace) -> None:
    """Print scores of tokens and of raw intensities, for all kinds together and for each."""
    import kronos_sc
    from kronos_sc import models, tl

    blocks = "all" if options.model == "kronos-untrained" else None
    model = models.load(options.model, weights=options.weights, blocks=blocks)
    kronos_sc.settings.progress = False
    dense_options = tl.DenseOptions(precision="float32", max_tokens=options.tokens)
    for kinds in (KINDS, *((kind,) for kind in KINDS)):
        sdata, pairs = labelled(options.images, options.shape, options.box, kinds, options.seed)
        start = time.perf_counter()
        probe = tl.dense_probe(sdata, pairs, model=model, preset="artifact", options=dense_options, rng=options.seed)
        print(
            f"\n{' and '.join(kinds)}: {probe.regions.groupby('true').size().div(2).astype(int).to_dict()}, "
            f"{time.perf_counter() - start:.0f} s"
        )
        rows = probe.scores[probe.scores["fold"] == "all"]
        for row in rows.itertuples():
            print(
                f"  {row.representation:<18} balanced accuracy {row.balanced_accuracy:.3f}  macro F1 "
                f"{row.macro_f1:.3f}  AP {row.macro_ap:.3f}  "
                f"AUROC {row.auroc:.3f} [{row.auroc_low:.3f}, {row.auroc_high:.3f}], one-vs-one {row.auroc_ovo:.3f} "
                f"({row.n_groups} groups; 5 at least for an interval)"
            )
        if len(kinds) > 1:
            print(probe.per_class.round(3).to_string(index=False))


def large(options: argparse.Namespace) -> None:
    """Print memory and time of a map of a large image, in a process of its own."""
    from store import large_store

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.zarr"
        start = time.perf_counter()
        large_store(path, side=options.side, channels=options.channels, cells=100, chunk=options.chunk, every=2)
        print(
            f"store of {options.channels} x {options.side}² uint16 written in {time.perf_counter() - start:.0f} s",
            flush=True,
        )
        subprocess.run([sys.executable, "-c", MAP, str(path), options.model, str(options.overlap)], check=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="kronos-untrained")
    parser.add_argument("--weights", help="local file of the model's weights, for backbones of the registry")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--shape", type=int, default=1024, help="edge of a simulated image")
    parser.add_argument("--box", type=int, default=32, help="edge of a labelled box")
    parser.add_argument("--tokens", type=int, default=5000, help="per class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", type=int, help="edge of the large image")
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--chunk", type=int, default=1024)
    parser.add_argument("--overlap", type=float, default=0.5)
    options = parser.parse_args()
    if options.side:
        large(options)
    else:
        artifacts(options)


if __name__ == "__main__":
    main()
