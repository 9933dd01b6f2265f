"""All pairs of conditions by `tl.batch_silhouette`, against the plain loop of scikit-learn over pairs.

For each pair PCA, silhouette and k-means. The loop runs on a few pairs and is scaled to all of them; silhouettes are
compared with those on exact components.
"""

import argparse
import resource
import time
from itertools import combinations

import numpy as np
import pandas as pd
from anndata import AnnData
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, silhouette_score

import kronos_sc

FACTORS = 40


def simulate(conditions: int, units: int, features: int, rng: np.random.Generator) -> AnnData:
    """Return units of few factors and noise; each condition is shifted and its factors are scaled."""
    loading = rng.standard_normal((FACTORS, features), dtype=np.float32)
    scale = np.arange(1, FACTORS + 1, dtype=np.float32) ** -0.6
    x = np.empty((conditions * units, features), np.float32)
    for g in range(conditions):
        factors = rng.standard_normal((units, FACTORS), dtype=np.float32) * scale * rng.uniform(0.8, 1.2, FACTORS)
        factors[:, :3] += 0.3 * rng.standard_normal(3)
        condition_rows = x[g * units : (g + 1) * units]
        condition_rows[:] = factors @ loading + 0.1 * rng.standard_normal(features, dtype=np.float32)
        condition_rows += 0.5 * rng.standard_normal(condition_rows.shape, dtype=np.float32)
    names = np.repeat([f"c{g:02d}" for g in range(conditions)], units)
    obs = pd.DataFrame({"condition": names}, index=np.arange(len(x)).astype(str))
    return AnnData(obs=obs, obsm={"X_kronos": x})


def plain(x: np.ndarray, label: np.ndarray, n_init: int) -> tuple[float, float]:
    """Return silhouette and adjusted Rand index of one pair."""
    silhouette = silhouette_score(PCA(2, random_state=0).fit_transform(x), label)
    return silhouette, adjusted_rand_score(label, KMeans(2, n_init=n_init, random_state=0).fit(x).labels_)


def exact(x: np.ndarray, label: np.ndarray) -> float:
    """Return the silhouette on exact components, from the products of rows in double precision."""
    centred = x - x.mean(axis=0, dtype=np.float64)
    value, vector = np.linalg.eigh(centred @ centred.T)
    return silhouette_score(vector[:, -2:] * np.sqrt(value[-2:]), label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conditions", type=int, default=24)
    parser.add_argument("--units", type=int, default=2000, help="per condition")
    parser.add_argument("--features", type=int, default=4224)
    parser.add_argument("--pairs", type=int, default=6, help="pairs the plain loop runs on")
    parser.add_argument("--exact", type=int, default=2, help="of these, pairs that are compared with exact components")
    parser.add_argument(
        "--starts", type=int, nargs="+", default=[1, 5], help="k-means starts of the plain loop; ours has 5"
    )
    options = parser.parse_args()
    kronos_sc.settings.progress = False
    kronos_sc.settings.verbosity = 1
    rng = np.random.default_rng(0)
    tiny = simulate(2, 20, 8, rng)
    kronos_sc.tl.batch_silhouette(tiny, "condition", use_rep="X_kronos")  # loads the compiled kernel
    table = simulate(options.conditions, options.units, options.features, rng)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    kronos_sc.tl.batch_silhouette(table, "condition", use_rep="X_kronos")
    ours = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    scores = kronos_sc.get.result(table, "condition_silhouette").set_index(["batch_a", "batch_b"])
    size = table.obsm["X_kronos"].nbytes / 2**30
    print(
        f"{len(scores)} pairs, {options.conditions} × {options.units} units × {options.features} features ({size:.2f} "
        "GiB):",
        flush=True,
    )
    print(f"  tl.batch_silhouette {ours:.1f} s; memory above the data {peak - before:.2f} GiB", flush=True)
    names = sorted(set(table.obs["condition"]))
    pairs = list(combinations(names, 2))
    chosen = [pairs[i] for i in np.linspace(0, len(pairs) - 1, min(options.pairs, len(pairs))).astype(int)]
    seconds = dict.fromkeys(options.starts, 0.0)
    apart = []
    ari_apart = []
    exact_apart = []
    for number, (a, b) in enumerate(chosen):
        mask = table.obs["condition"].isin([a, b]).to_numpy()
        x = table.obsm["X_kronos"][mask]
        label = table.obs["condition"].to_numpy()[mask]
        for n_init in options.starts:
            start = time.perf_counter()
            silhouette, ari = plain(x, label, n_init)
            seconds[n_init] += time.perf_counter() - start
        apart.append(abs(scores.loc[(a, b), "silhouette"] - silhouette))
        ari_apart.append(abs(scores.loc[(a, b), "ari"] - ari))
        if number < options.exact:
            exact_apart.append(abs(scores.loc[(a, b), "silhouette"] - exact(x, label)))
    for n_init, spent in seconds.items():
        scaled = spent / len(chosen) * len(pairs)
        print(
            f"  plain loop, {n_init} k-means start{'s' * (n_init > 1)}: {spent:.1f} s for {len(chosen)} pairs, "
            f"scaled to {len(pairs)}: {scaled:.0f} s; ratio {scaled / ours:.1f}"
        )
    print(
        f"  largest difference in silhouette: {max(apart):.1e} to the loop, {max(exact_apart, default=np.nan):.1e} to "
        "exact components"
    )
    print(f"  largest difference in adjusted Rand index to the loop: {max(ari_apart):.1e} (k-means has several optima)")


if __name__ == "__main__":
    main()
