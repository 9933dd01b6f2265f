"""Probe, k-NN, retrieval and clusters on two real CODEX images: every encoder at hand beside mean marker.

Takes the folder of real images (`KRONOS_SC_TEST_DATA`). `--dinov2` adds DINOv2 ViT-S/14 from a local file of weights,
`--model` any other encoder by name or folder; the network with random weights is there in any case, as the floor that
training has to leave behind. `mean_spread` is computed here, apart from the package: it has to agree with the first two
columns of `mean_marker_plus`.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import ndimage
from spatialdata import SpatialData

import kronos_sc as ks

SETS = {
    "codex_lymph_56ch_labelled": {
        "files": ("crop512.image.ome.tif", "crop512.mask.tif"),
        "target": "cell_type",
        "channels": {"CD4 Cy7": None},
    },
    "codex_lymph_5ch_500px_labelled": {"files": ("image.ome.tif", "mask.tif"), "target": "cluster", "channels": None},
}
LEAST = 40  # cells of a class; rarer ones cannot be shared out to four quadrants


def read(folder: Path, files: tuple[str, str], target: str) -> SpatialData:
    """Return an image with its cells, those with a class that is common enough."""
    sdata = ks.io.read_tiff(folder / files[0], mask=folder / files[1])
    table = sdata["table"]
    classes = pd.read_csv(folder / "cells.csv").set_index("label")[target].reindex(table.obs["cell_id"]).to_numpy()
    classes = pd.Series(classes, index=table.obs_names).dropna().astype(str)
    classes = classes[classes.map(classes.value_counts()) >= LEAST]
    sdata.tables["table"] = table[classes.index].copy()
    sdata["table"].obs[target] = classes.astype("category")
    return sdata


def add_spread(sdata: SpatialData) -> None:
    """Add the mean and standard deviation of each embedded channel inside each cell as `obsm["X_mean_spread"]`."""
    table = sdata["table"]
    labels = sdata["cells"].to_numpy()
    image = sdata["image"].sel(c=list(ks.get.record(table, key="mean_marker")["panel"]["channel"])).to_numpy()
    ids = table.obs["cell_id"].to_numpy()
    table.obsm["X_mean_spread"] = np.stack(
        [
            measure(plane, labels, ids)
            for plane in image.astype(np.float32)
            for measure in (ndimage.mean, ndimage.standard_deviation)
        ],
        axis=1,
    )


def add_plus(sdata: SpatialData, channels: dict | None) -> None:
    """Add statistics of each marker, alone and with the shape of the cell beside them.

    Raise an error unless mean and spread agree.
    """
    ks.tl.embed(sdata, model="mean-marker+", channels=channels, features=("marker", "cls"))
    obsm = sdata["table"].obsm
    shape = np.asarray(obsm.pop("X_mean_marker_plus_cls"))
    values = np.asarray(obsm["X_mean_marker_plus"])
    obsm["X_mean_marker_plus_shape"] = np.hstack([values, shape])
    scale = float(np.atleast_1d(ks.get.record(sdata["table"], key="mean_marker_plus")["params"]["max_value"])[0])
    difference = obsm["X_mean_spread"].reshape(len(values), -1, 2) / scale - values.reshape(len(values), -1, 7)[..., :2]
    if np.abs(difference).max() > 1e-5:
        msg = f"mean and spread of the package and of scipy.ndimage differ by {np.abs(difference).max():.1e}"
        raise RuntimeError(msg)


def encoders(options: argparse.Namespace) -> dict[str, ks.models.Model]:
    """Return the models to compare by the name of their row.

    KRONOS and its kin with the blocks of the released package.
    """
    models = {"kronos-untrained": ks.models.load("kronos-untrained", blocks="all")}
    if options.dinov2:
        models["dinov2-s14"] = ks.models.load("dinov2-s14", weights=options.dinov2)
    models |= {Path(name).name: ks.models.load(name) for name in options.model}
    kronos_model = ks.models.KronosModel
    return {
        name: ks.models.load(model, blocks="official") if isinstance(model, kronos_model) else model
        for name, model in models.items()
    }


def compare(table: AnnData, target: str) -> pd.DataFrame:
    """Return one row per representation."""
    ks.pp.spatial_folds(table, n_folds=4, guard=16)
    reps = [key for key in table.obsm if key.startswith("X_")]
    ks.tl.linear_probe(table, target, use_rep=reps)
    ks.tl.knn_probe(table, target, use_rep=reps, k=20)
    ks.tl.retrieval_scores(table, target, use_rep=reps)
    ks.tl.ari(table, target, use_rep=reps, fold_key="fold")
    metrics_of = {
        f"{target}_probe": ["balanced_accuracy", "macro_f1", "macro_ap"],
        f"{target}_knn": ["balanced_accuracy"],
        f"{target}_retrieval": ["accuracy@1", "accuracy@5"],
        f"{target}_ari": ["ari"],
    }
    columns = {}
    for key, metrics in metrics_of.items():
        scores = ks.get.result(table, key)
        for metric in metrics:
            groups = scores.groupby("representation", sort=False)[metric]
            spread = groups.std().map("{:.3f}".format)
            columns[f"{key.removeprefix(target + '_')} {metric}"] = groups.mean().map("{:.3f}".format) + " ± " + spread
    return pd.DataFrame(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], help="another encoder, by name or folder")
    parser.add_argument("--dinov2", metavar="FILE", help="weights of DINOv2 ViT-S/14 (safetensors, .npz, .pth)")
    parser.add_argument("--only", choices=tuple(SETS), help="one of the images")
    options = parser.parse_args()
    models = encoders(options)
    ks.settings.progress = False
    ks.settings.verbosity = 1
    for name, image_set in SETS.items():
        if options.only not in (None, name):
            continue
        sdata = read(Path(os.environ["KRONOS_SC_TEST_DATA"]) / name, image_set["files"], image_set["target"])
        table = sdata["table"]
        ks.tl.embed(sdata, model="mean-marker", channels=image_set["channels"])
        add_spread(sdata)
        add_plus(sdata, image_set["channels"])
        for row, model in models.items():
            start = time.perf_counter()
            key = "".join(c if c.isalnum() or c in "-._" else "_" for c in row)
            ks.tl.embed(sdata, model=model, channels=image_set["channels"], key_added=key)
            print(f"{row}: {table.n_obs / (time.perf_counter() - start):.3g} cells/s", flush=True)
        n_classes = table.obs[image_set["target"]].nunique()
        print(f"\n{name}: {table.n_obs:,} cells, {n_classes} classes, four quadrants, guard band 16 px")
        print(compare(table, image_set["target"]).to_string(), flush=True)


if __name__ == "__main__":
    main()
