"""Zero-shot evaluation: clusters of embeddings against known classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._analysis.groups import usable_in
from kronos_sc._analysis.partition import ClusterOptions, partition
from kronos_sc._core import results
from kronos_sc._core.checks import positive_integer
from kronos_sc._core.progress import track
from kronos_sc._core.representation import Representation, representations
from kronos_sc._core.rng import Seed, integer, seed, start
from kronos_sc._core.target import ClassColumn, classes_of, column
from kronos_sc._core.target import target as as_target
from kronos_sc._methods.agreement import agreement, silhouette

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_METRICS = ["ari", "nmi", "silhouette"]


def ari(
    adata: AnnData,
    target: str,
    *,
    use_rep: str | Sequence[str] | None = None,
    cluster_key: str | Sequence[str] | None = None,
    n_clusters: int | None = None,
    method: Literal["auto", "kmeans", "minibatch"] = "auto",
    fold_key: str | None = None,
    n_init: int = 10,
    max_units: int = 10_000,
    rng: Seed = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Score clusters of embeddings against known classes: the zero-shot evaluation of :cite:p:`Shaban2025`.

    The units are clustered by k-means with as many clusters as there are classes, and the clusters are compared with
    the classes. No label is used for clustering, so nothing can leak. With `fold_key`, each fold is clustered on its
    own and the summary is the mean over folds.

    Parameters
    ----------
    adata
        Units with embeddings and a column of classes.
    target
        Column of `obs`; units without a value are left out.
    use_rep
        Entries of `obsm`, or `"X"`; all embeddings on record if left out. Mean marker expression is always scored
        beside them.
    cluster_key
        Columns of `obs` that hold clusters already (of :func:`cluster` or Leiden, say), to score as well, under the
        name of the column.
    n_clusters
        Number of clusters; the number of classes if left out.
    method
        `"kmeans"`, `"minibatch"` for units that do not fit into memory, or `"auto"`; see :func:`cluster`.
    fold_key
        Column of `obs` with folds (:func:`kronos_sc.pp.spatial_folds` writes `"fold"`); units in no fold are left out.
        All units are clustered at once if left out.
    n_init
        Starts of k-means, of which the best is kept.
    max_units
        Most units for the silhouette, whose time grows with their square; drawn at random, the same ones for every
        representation.
    rng
        Seed or generator.
    key_added
        Name of the result; `"{target}_ari"` if left out.
    copy
        Return a new AnnData instead of adding to this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `uns['{target}_ari' | key_added]`
        `scores`: one row per representation and fold (`"all"` without folds) with `n_units`, `n_clusters`, `ari`
        (adjusted Rand index: 0 by chance, 1 if clusters are the classes), `nmi` (normalised mutual information, 0 to 1)
        and `silhouette` (−1 to 1, of the embedding with the *classes* as clusters; missing for `cluster_key`).
        `summary`: mean and standard deviation over folds. `params`.

    Raises
    ------
    KeyError
        There is no such column or representation.
    ValueError
        The target has fewer than two classes, or a fold fewer units than clusters.

    Warns
    -----
    UserWarning
        Some units have NaN in a representation: they are left out of all.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128))["table"]
    >>> ks.tl.ari(cells, "cell_type", use_rep="X")
    >>> list(ks.get.result(cells, "cell_type_ari", table="summary")["metric"])
    ['ari', 'nmi', 'silhouette']
    """
    run = AnalysisRun(adata, "ari", key_added or f"{target}_ari", copy=copy)
    truth = as_target(adata, target)
    reps = representations(adata, use_rep)
    existing = _existing(adata, cluster_key)
    k = len(truth.classes) if n_clusters is None else positive_integer(n_clusters, name="n_clusters")
    options = ClusterOptions(method, k, n_init)
    if method == "leiden":
        msg = (
            "method='leiden' does not take a number of clusters; run tl.cluster(adata, method='leiden') and score its "
            "column with cluster_key=."
        )
        raise ValueError(msg)
    positive_integer(max_units, name="max_units")
    folds = _folds(adata, fold_key, truth, reps)
    for name, members in folds.items():
        options.require(len(members), what=f"Fold {name!r}" if fold_key else f"obs[{target!r}]")

    run.announce()
    # a seed of its own for each fold: every representation meets the same starts and the same sample
    seeds = [(integer(child), integer(child)) for child in start(rng).spawn(len(folds))]
    rows: list[dict[str, Any]] = []
    work = [(rep, name, *pair) for rep in reps for name, pair in zip(folds, seeds, strict=True)]
    for rep, name, fit_seed, sample_seed in track(work, description="zero-shot clusters", unit="fit"):
        members = folds[name]
        clusters = partition(rep, members, options, np.random.default_rng(fit_seed)).labels
        sample = _sample(members, max_units, sample_seed)
        scored = agreement(truth.codes[members], clusters) | {
            "silhouette": silhouette(rep.rows(sample), truth.codes[sample])
        }
        rows.append(
            {"representation": rep.label, "fold": name, "n_units": len(members), "n_clusters": int(clusters.max()) + 1}
            | scored
        )
    for name, clusters_of_column in existing.items():
        rows += _score_existing(name, clusters_of_column, truth, folds)
    scores = pd.DataFrame(rows)

    params = {
        "target": target,
        "representations": [rep.label for rep in reps],
        "cluster_key": list(existing),
        "n_clusters": k,
        "method": method,
        "fold_key": fold_key,
        "n_init": n_init,
        "max_units": max_units,
        "rng": seed(rng),
    }
    tables = {"scores": scores, "summary": results.summary(scores, by="representation", metrics=_METRICS)}
    run.store(params=params, tables=tables)
    return run.finish(f"added uns[{run.key!r}]: ARI {results.in_words(scores, 'ari')} ({run.elapsed})")


def _existing(adata: AnnData, names: str | Sequence[str] | None) -> dict[str, ClassColumn]:
    """Return existing columns of clusters."""
    every = [names] if isinstance(names, str) else list(names or ())
    return {name: classes_of(column(adata, name, argument="cluster_key"), name=name) for name in every}


def _folds(
    adata: AnnData, fold_key: str | None, truth: ClassColumn, reps: Sequence[Representation]
) -> dict[str, np.ndarray]:
    """Return the units (row numbers) of each fold that have a class, and values in all representations.

    `"all"` without folds.
    """
    if fold_key is None:
        return {"all": np.flatnonzero(truth.labelled & usable_in(reps, truth))}
    folds = classes_of(column(adata, fold_key, argument="fold_key"), name=fold_key)
    inside = truth.keep(folds.labelled)
    if not inside.labelled.any():
        msg = (
            f"No unit with a value in obs[{truth.name!r}] is in a fold of obs[{fold_key!r}]. Make folds with "
            "pp.spatial_folds(adata), or leave fold_key out."
        )
        raise ValueError(msg)
    usable = inside.labelled & usable_in(reps, inside)
    return {str(name): np.flatnonzero((folds.codes == code) & usable) for code, name in enumerate(folds.classes)}


def _sample(rows: np.ndarray, most: int, sample_seed: int) -> np.ndarray:
    """Return at most `most` of the rows, in order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(sample_seed).choice(rows, most, replace=False))


def _score_existing(
    name: str, clusters: ClassColumn, truth: ClassColumn, folds: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Return the scores of an existing column, fold by fold."""
    scores = []
    for fold, rows in folds.items():
        members = rows[clusters.labelled[rows]]
        labels = clusters.codes[members]
        scored = dict.fromkeys(("ari", "nmi"), np.nan)
        if len(members):
            scored = agreement(truth.codes[members], labels)
        scores.append(
            {
                "representation": name,
                "fold": fold,
                "n_units": len(members),
                "n_clusters": len(np.unique(labels)),
                **scored,
                "silhouette": np.nan,
            }
        )
    return scores
