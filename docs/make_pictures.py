"""Draw the pictures of README and documentation from simulated tissue: python docs/make_pictures.py."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
from PIL import Image

import kronos_sc as ks

HERE = Path(__file__).parent / "_static"
SHOWN = {"DAPI": "#3b6cff", "CYTOKERATIN": "#ffb000", "CD3": "#00e08a", "CD20": "#ff4fa3"}
PATCH, TOKEN = 64, 16


def clustered(sdata, name: str, key: str, resolution: float) -> str:
    """Embed with a model and return the column that holds its clusters."""
    ks.tl.embed(sdata, model=ks.models.load(name))
    cells = sdata["table"]
    sc.pp.neighbors(cells, use_rep=f"X_{key}", key_added=f"{key}_neighbors")
    options = {"flavor": "igraph", "n_iterations": 2, "directed": False}
    sc.tl.leiden(cells, neighbors_key=f"{key}_neighbors", key_added=f"{key}_cluster", resolution=resolution, **options)
    return f"{key}_cluster"


def save(figure: plt.Figure, path: Path) -> None:
    """Write a PNG of 256 colours: a third of the size, and no difference to the eye."""
    file = BytesIO()
    figure.savefig(file, dpi=100)
    Image.open(file).convert("RGB").quantize(256).save(path, optimize=True)


def overview(sdata, path: Path) -> None:
    """Tissue beside clusters of its cells in space."""
    columns = clustered(sdata, "mean-marker", "mean_marker", 0.5), clustered(sdata, "kronos-untrained", "kronos", 0.5)
    figure, axes = plt.subplots(1, 3, figsize=(12.4, 4.3), layout="constrained", width_ratios=(1.08, 1.1, 1.1))
    ks.pl.image(sdata, channels=SHOWN, ax=axes[0])
    bottom, top = axes[0].get_ylim()
    view = {
        "xlim": axes[0].get_xlim(),
        "ylim": (bottom + 0.08 * (bottom - top), top),
        "xlabel": "",
        "ylabel": "",
        "xticks": [],
        "yticks": [],
    }
    axes[0].set(**view, facecolor="black")  # a strip below for the scale bars
    axes[0].set_title("simulated tissue", fontsize=11, pad=26)
    titles = ("clusters of mean-marker", "clusters of kronos-untrained (random weights)")
    for ax, column, title in zip(axes[1:], columns, titles, strict=True):
        ks.pl.spatial(sdata, column, ax=ax)
        ax.set_title(title, fontsize=11, pad=26)
        ax.set(**view)
    save(figure, path)


def steps(sdata, path: Path) -> None:
    """One cell on its way into the network: raw, z-scored, masked, cut into tokens."""
    cells = sdata["table"]
    centred = np.abs(cells.obsm["spatial"] - 250).max(1)
    tumour = cells.obs["cell_type"].astype(str).eq("Tumor").to_numpy()
    one = cells.obs_names[[int(np.argmin(np.where(tumour, centred, np.inf)))]]
    window = ks.get.patches(sdata, list(one), channels=list(SHOWN))
    mask = window.coords["mask"].to_numpy()[0]
    raw = window.to_numpy()[0] / 65535
    stats = ks.pp.marker_stats(sdata).loc[list(SHOWN)].to_numpy()[:, :2, None, None]
    z = (raw - stats[:, 0]) / stats[:, 1]
    rows = {"raw, scaled to [0, 1]": raw, "z-score per marker": z, "masked, in tokens": z * mask}
    figure, axes = plt.subplots(3, 4, figsize=(7.2, 5.6), layout="constrained")
    for number, (line, (name, planes)) in enumerate(zip(axes, rows.items(), strict=True)):
        for ax, channel, plane in zip(line, SHOWN, planes, strict=True):
            low, high = (0, plane.max()) if planes is raw else (-2, 4)
            ax.imshow(plane, cmap="magma", vmin=low, vmax=high)
            ax.contour(mask, [0.5], colors="white", linewidths=0.6)
            ax.set(xticks=[], yticks=[])
            if number == 0:
                ax.set_title(channel, fontsize=10)
            if number == 2:
                for edge in range(TOKEN, PATCH, TOKEN):
                    ax.axhline(edge - 0.5, color="white", linewidth=0.4, alpha=0.7)
                    ax.axvline(edge - 0.5, color="white", linewidth=0.4, alpha=0.7)
        line[0].set_ylabel(name, fontsize=9)
    save(figure, path)


if __name__ == "__main__":
    ks.settings.progress = False
    HERE.mkdir(exist_ok=True)
    tissue = ks.datasets.tissue(shape=(500, 500), rng=3)
    steps(tissue, HERE / "embedding.png")
    overview(tissue, HERE / "overview.png")
