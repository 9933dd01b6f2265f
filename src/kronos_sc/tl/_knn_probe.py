"""How well a unit's nearest neighbours in feature space tell its class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis import cv_plan, probe
from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._core import results
from kronos_sc._core.checks import one_of, positive_integer
from kronos_sc._core.progress import bar
from kronos_sc._core.rng import seed, start
from kronos_sc._methods.metrics import SCORES
from kronos_sc._methods.scaling import fit_scaler
from kronos_sc._methods.splits import Split, first_of_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from kronos_sc._core.representation import Representation


def knn_probe(
    adata: AnnData,
    target: str,
    *,
    use_rep: str | Sequence[str] | None = None,
    fold_key: str = "fold",
    k: int | Sequence[int] = 20,
    metric: str = "euclidean",
    scale: bool = True,
    max_per_class: int | None = 1000,
    rng: int | np.random.Generator | None = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Cross-validate a classification by nearest neighbours in frozen features.

    Each unit of a fold gets the classes of its `k` nearest units of the other folds as votes. Nothing is fitted, so the
    score tells how the space is laid out as it is, where :func:`linear_probe` tells what can be read from it. With
    `max_per_class` both learn from the same number of units per class. The search is exact.

    Parameters
    ----------
    adata
        Table of cells or patches.
    target
        Column of `obs` to predict. Units without a value do not vote and are not scored, but are predicted.
    use_rep
        Entries of `obsm`, or `"X"`; all embeddings on record if left out. Mean marker expression is added.
    fold_key
        Column of `obs` with the folds (:func:`kronos_sc.pp.spatial_folds`). Units without a fold, as in a guard band,
        take no part.
    k
        Number of neighbours, or several to compare; predictions are written for the first. Larger values smooth.
    metric
        `"euclidean"`, or `"cosine"`, which ignores how long a vector is.
    scale
        Standardise features on the voting units first, so that every feature counts alike.
    max_per_class
        Most voting units per class; common classes win every vote without a cap. None for all.
    rng
        Seed or generator; it draws who votes.
    key_added
        Name that all slots are derived from; `{target}_knn` if left out.
    copy
        Return a new table instead of changing this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `obs['{target}_knn' | key_added]`
        Class of most of a unit's neighbours in other folds (first representation; others have their name appended).
    `obsm['{target}_knn_proba' | key_added + '_proba']`
        Shares of the votes (units × classes, float32), NaN where there is no prediction.
    `uns['{target}_knn' | key_added]`
        Frames for :func:`kronos_sc.get.result`, as of :func:`linear_probe`. `scores`: one row per representation, fold
        and `k`. `summary`: mean and sd over folds. `per_class`: precision, recall, F1 and AP. `confusion`: counts for
        the first `k`. `params`.

    Raises
    ------
    KeyError
        Unknown target, folds or representation.
    ValueError
        More neighbours than voting units, fewer than two classes or folds, or a class that the other folds do not hold
        twice.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(200, 200))["table"]
    >>> cells.obs["follicle"] = (cells.obs["region"] == "follicle").astype(str)
    >>> ks.pp.spatial_folds(cells, n_folds=2, block_size=50)
    >>> ks.tl.knn_probe(cells, "follicle", use_rep="X", k=5)
    >>> sorted(ks.get.result(cells, "follicle_knn")["fold"])
    ['0', '1']
    """
    from kronos_sc._methods.neighbours import METRICS

    values_of_k = np.atleast_1d(np.asarray(k, object)).tolist()
    ks = list(dict.fromkeys(positive_integer(value, name="k") for value in values_of_k))
    one_of(metric, METRICS, name="metric")
    most = None if max_per_class is None else positive_integer(max_per_class, name="max_per_class")
    run = AnalysisRun(adata, "knn_probe", key_added or f"{target}_knn", target, fold_key, copy=copy)
    plan = cv_plan.plan(adata, target, use_rep, fold_key, start(rng))
    voters = [_voters(plan, split, most) for split in plan.splits]
    _check(ks, voters, plan)

    run.announce(cv_plan.described("nearest neighbours", plan, target))
    parts = []
    votes = []
    with bar(total=len(plan.reps) * len(voters), description="neighbours", unit="fold") as shown:
        for rep in plan.reps:
            shares = np.full((len(ks), rep.n_units, len(plan.target.classes)), np.nan, np.float32)
            for number, rows in enumerate(voters):
                _vote(shares, plan, rep, number, rows, ks=ks, metric=metric, scale=scale)
                shown.update()
            parts.append(_tables(plan, rep, shares, voters, ks))
            votes.append(shares[0])  # predictions are written for the first k

    tables = {name: pd.concat([part[name] for part in parts]) for name in parts[0]}
    tables["summary"] = results.summary(tables["scores"], by=["representation", "k"], metrics=list(SCORES))
    params = {
        "target": target,
        "fold_key": fold_key,
        "k": ks,
        "metric": metric,
        "scale": bool(scale),
        "max_per_class": most,
        "representations": [rep.label for rep in plan.reps],
        "classes": list(plan.target.classes),
        "rng": seed(rng),
    }
    votes_by_key = dict(zip(results.keys_of(run.key, params["representations"]), votes, strict=True))
    classes = plan.target.classes
    run.store(
        params=params,
        tables=tables,
        obs={name: probe.predicted_classes(shares, classes) for name, shares in votes_by_key.items()},
        obsm={
            f"{name}_proba": probe.proba_frame(shares, classes, adata.obs_names)
            for name, shares in votes_by_key.items()
        },
    )
    return run.finish(f"{_added(tables['scores'], run.key, ks[0])} ({run.elapsed})")


def _voters(plan: cv_plan.CVPlan, split: Split, most: int | None) -> np.ndarray:
    """Return the units of the other folds that vote.

    Those a linear probe would train on come first, then those it would validate on.
    """
    return np.sort(first_of_each(np.concatenate([split.train, split.validation]), plan.target.codes, most))


def _check(ks: list[int], voters: list[np.ndarray], plan: cv_plan.CVPlan) -> None:
    fewest = min(range(len(voters)), key=lambda i: len(voters[i]))
    if max(ks) > len(voters[fewest]):
        msg = (
            f"k={max(ks)} neighbours are asked for, but fold {plan.splits[fewest].name!r} has {len(voters[fewest])} "
            "voting units in the other folds. "
            "Choose a smaller k, or a larger max_per_class."
        )
        raise ValueError(msg)


def _vote(
    shares: np.ndarray,
    plan: cv_plan.CVPlan,
    rep: Representation,
    number: int,
    rows: np.ndarray,
    *,
    ks: list[int],
    metric: str,
    scale: bool,
) -> None:
    """Write the shares of votes (numbers of neighbours × units × classes) of the units of one fold."""
    from kronos_sc._methods.neighbours import top_k

    reference = rep.rows(rows)
    scaler = fit_scaler(reference) if scale else None
    if scaler is not None:
        reference = scaler.apply(reference)
    member = np.eye(len(plan.target.classes), dtype=np.float32)[plan.target.codes[rows]]
    for part, values in rep.blocks(np.flatnonzero((plan.folds == number) & plan.usable)):
        queries = values if scaler is None else scaler.apply(values)
        _, nearest = top_k(reference, queries, max(ks), metric=metric)
        # votes of the first k neighbours for every k at once: class counts summed along the ranks
        counts = np.cumsum(member[nearest], axis=1)
        for i, k in enumerate(ks):
            shares[i, part] = counts[:, k - 1] / k


def _tables(
    plan: cv_plan.CVPlan, rep: Representation, shares: np.ndarray, voters: list[np.ndarray], ks: list[int]
) -> dict[str, pd.DataFrame]:
    """Return what there is to say about one representation."""
    scores = []
    per_class = []
    for split, rows in zip(plan.splits, voters, strict=True):
        for i, k in enumerate(ks):
            labels = {"representation": rep.label, "fold": split.name, "k": k}
            row, classes = probe.evaluate(
                plan.target.codes[split.test], shares[i][split.test], plan.target.classes, labels
            )
            scores.append(row | {"n_train": len(rows)})
            per_class.append(classes)
    confusion = probe.confusion(plan.target.codes[plan.tested], shares[0][plan.tested], plan.target.classes, rep.label)
    return {"scores": pd.DataFrame(scores), "per_class": pd.concat(per_class), "confusion": confusion}


def _added(scores: pd.DataFrame, key: str, k: int) -> str:
    means = results.in_words(scores[scores["k"] == k], "balanced_accuracy")
    return f"added obs[{key!r}], obsm['{key}_proba'] and uns[{key!r}]: balanced accuracy of {k} neighbours {means}"
