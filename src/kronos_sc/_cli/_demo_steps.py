"""What the demo computes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from spatialdata import SpatialData

    from kronos_sc.models import Card, Model

PANEL = (
    "DAPI", "CD3", "CD4", "CD8", "FOXP3", "CD20", "CD21",
    "CD68", "CD163", "CD11C", "CD31", "A-SMA", "COLLAGEN", "CYTOKERATIN",
)  # fmt: skip
SHOWN = ("DAPI", "CD3", "CYTOKERATIN", "CD20", "COLLAGEN", "CD31")
MODEL = "embedding"
BASELINE = "mean marker"
_COMPONENTS = 30
_WINDOW = 64  # pixels of a cell's window
_TRIED = 4  # windows that are encoded to find out how long all of them take


@dataclass(frozen=True)
class Result:
    """Everything the page shows.

    Parameters
    ----------
    sdata
        Tissue, cells and table, with the embedding, t-SNE and clusters in it.
    card
        Of the model.
    key
        Name of the embedding's slots.
    shape
        Rows and columns of the image.
    clusters
        Number of clusters asked for: that of the true cell types.
    ari
        Adjusted Rand index of clusters and true types, per representation.
    seconds
        Per step.
    """

    sdata: SpatialData
    card: Card
    key: str
    shape: tuple[int, int]
    clusters: int
    ari: dict[str, float]
    seconds: dict[str, float]

    @property
    def table(self) -> AnnData:
        """The cells."""
        return self.sdata.tables["table"]


def run(model: Model, *, size: int, seed: int, say: Callable[[str], object]) -> Result:
    """Simulate, embed, cluster and score; `say` is told what is about to take long."""
    from kronos_sc import datasets, tl

    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[step] = now - clock
        clock = now

    sdata = datasets.tissue(shape=(size, size), channels=PANEL, rng=seed)
    lap("simulate the tissue")
    cells = sdata.tables["table"].n_obs
    say(f"{cells:,} cells × {len(PANEL)} markers go through {model.card.name!r}{_expected(model, cells)}")
    tl.embed(sdata, model=model)
    lap("embed")
    tl.embed(sdata, model="mean-marker")
    lap("mean marker")

    # as many clusters as there are types, of the embedding and of what it is compared with
    table = sdata.tables["table"]
    types = table.obs["cell_type"].astype("category").cat.remove_unused_categories()
    table.obs["cell_type"] = types
    ari = {}
    for name, slot, column in (
        (MODEL, f"X_{model.key}", "cluster"),
        (BASELINE, "X_mean_marker", "mean_marker_cluster"),
    ):
        reduced = components(table.obsm[slot], seed)
        table.obsm[f"{slot}_pca"] = reduced
        labels = kmeans(reduced, len(types.cat.categories), seed)
        table.obs[column] = named_after(labels, types)
        ari[name] = rand_index(types.cat.codes.to_numpy(), labels)
    lap("PCA and k-means")
    table.obsm["X_tsne"] = tsne(table.obsm[f"X_{model.key}_pca"], seed)
    lap("t-SNE")
    return Result(sdata, model.card, model.key, (size, size), len(types.cat.categories), ari, seconds)


def _expected(model: Model, cells: int) -> str:
    """Return how long a network will take for all cells, in words, by what it takes for a few.

    Empty where there is none.
    """
    import torch

    from kronos_sc.models.inference.placement import choose_device, choose_dtype

    if model.net is None:
        return ""
    device = choose_device(None)
    model = model.at(device, choose_dtype("auto", device))
    pixels = torch.zeros(_TRIED, len(PANEL), _WINDOW, _WINDOW, device=device)
    ids = torch.arange(len(PANEL), device=device).expand(_TRIED, -1)
    inside = torch.ones(_TRIED, _WINDOW, _WINDOW, dtype=torch.bool, device=device)
    took = 0.0
    with torch.inference_mode():
        for _ in range(2):  # the first time, kernels are prepared
            start = time.perf_counter()
            model.encode(pixels.to(model.input_format), ids, inside, ("marker",))["marker"].cpu()
            took = time.perf_counter() - start
    expected = max(1, round(took / _TRIED * cells))
    return f": about {expected} s in {str(model.input_format).removeprefix('torch.')} on {device.type}"


def components(features: np.ndarray, seed: int) -> np.ndarray:
    """Return principal components (float32) of standardised features."""
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    scaled = StandardScaler().fit_transform(np.asarray(features, np.float32))
    return PCA(min(_COMPONENTS, *scaled.shape), random_state=seed).fit_transform(scaled).astype(np.float32)


def kmeans(reduced: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Return the cluster of each row (int64)."""
    from sklearn.cluster import KMeans

    return KMeans(clusters, n_init=10, random_state=seed).fit_predict(reduced)


def rand_index(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return the adjusted Rand index: 1 for the same partition, 0 for chance."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(truth, labels))


def named_after(labels: np.ndarray, types: pd.Series) -> pd.Categorical:
    """Return clusters numbered in the order of the types that they share most cells with, one to one.

    The same number then means the same colour, and pictures can be compared.
    """
    from scipy.optimize import linear_sum_assignment

    shared = pd.crosstab(labels, types.to_numpy())
    rows, columns = linear_sum_assignment(-shared.to_numpy())
    type_of_cluster = dict(zip(shared.index[rows], shared.columns[columns], strict=True))
    position = {str(name): i for i, name in enumerate(types.cat.categories)}
    names = [f"c{i + 1}" for i in range(len(types.cat.categories))]
    return pd.Categorical([names[position[str(type_of_cluster[label])]] for label in labels], categories=names)


def tsne(reduced: np.ndarray, seed: int) -> np.ndarray:
    """Return a t-SNE (float32, two columns).

    UMAP would spend twenty seconds of the first minute on its own compilation.
    """
    from sklearn.manifold import TSNE

    perplexity = min(30, (len(reduced) - 1) / 3)
    return TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(reduced)
