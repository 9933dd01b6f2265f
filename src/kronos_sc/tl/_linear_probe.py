"""How well a linear classifier reads a target from frozen features."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis import cv_plan
from kronos_sc._analysis import probe as _probe
from kronos_sc._core import results
from kronos_sc._core import rng as chance
from kronos_sc._core.checks import one_of, positive_integer
from kronos_sc._core.features import feature_frame, has_named_features, owners, require_distinct
from kronos_sc._core.free_key import free_key
from kronos_sc._core.log import info
from kronos_sc._core.progress import bar
from kronos_sc._methods.metrics import SCORES
from kronos_sc.models.inference.placement import fit_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from kronos_sc._core.representation import Representation

PROTOCOLS = ("default", "tutorial")


def linear_probe(
    adata: AnnData,
    target: str,
    *,
    use_rep: str | Sequence[str] | None = None,
    fold_key: str = "fold",
    max_per_class: int | None = 1000,
    C: float | Sequence[float] | None = None,
    n_trials: int = 25,
    protocol: str = "default",
    device: str | None = None,
    rng: int | np.random.Generator | None = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Cross-validate a linear classifier on frozen features: the paper's cell phenotyping :cite:p:`Shaban2025`.

    For every fold, the other folds go 80/20, class by class, to training and validation (20,000 units of it at most,
    each class by its share). Features are standardised on the training units, and a logistic regression with balanced
    classes and an L2 penalty is fitted for each C tried. The one with the best macro F1 on the validation units
    predicts the fold. Every representation sees the same units. The paper names neither standardisation nor class
    weights; its released tutorial has both. The fit minimises scikit-learn's objective and reaches its minimum in a
    fraction of the time.

    Compare with mean marker expression, which is always in the table: what an embedding adds is the difference.

    Parameters
    ----------
    adata
        Table of cells or patches.
    target
        Column of `obs` to predict. Units without a value do not train and are not scored, but are predicted.
    use_rep
        Entries of `obsm`, or `"X"`; all embeddings on record if left out. Mean marker expression is added.
    fold_key
        Column of `obs` with the folds (:func:`kronos_sc.pp.spatial_folds`). Units without a fold, as in a guard band,
        take no part.
    max_per_class
        Most training units per class; the test is never capped. None for all: slower, and a little better for common
        classes.
    C
        Inverse strength of the penalty: a value, a grid to choose from, or None for Bayesian optimisation over 1e-10 to
        1e5 (seeded).
    n_trials
        Fits of the optimisation; 25 in the paper. Irrelevant if `C` is given.
    protocol
        `"default"`, or `"tutorial"` to reproduce how the released tutorial counts: it searches 1/C over the same range
        (so C over 1e-5 to 1e10), and its standard deviation is that of five numbers, the four folds and their mean:
        √(4/5) of the deviation over four (n), √(3/5) of ours (n − 1). No interval is given for it. Its AUROC is
        `auroc_ovr`, the paper's is `auroc_ovo`; both are always there. It draws unseeded, this does not.
    device
        Where to fit, `"cpu"` or `"cuda"`; CUDA if there is one.
    rng
        Seed or generator of splits and search.
    key_added
        Name that all slots are derived from; `{target}_probe` if left out.
    copy
        Return a new table instead of changing this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `obs['{target}_probe' | key_added]`
        Class predicted for each unit by the model that did not see its fold (first representation; others have their
        name appended).
    `obsm['{target}_probe_proba' | key_added + '_proba']`
        Probabilities (units × classes, float32), NaN where there is no prediction.
    `uns['{target}_probe' | key_added]`
        Frames for :func:`kronos_sc.get.result`. `scores`: one row per representation and fold with balanced accuracy,
        macro F1, macro average precision (AP), macro AUROC one-vs-one and one-vs-rest, chosen `C`. `summary`: mean and
        sd over folds. `per_class`: precision, recall, F1 and AP. `confusion`: counts. `importance`: share of each
        marker in the squared weights of a class, and `feature_importance`: of each feature, where the model names them
        (`CD3_mean` of `mean-marker+`). `trials`: the search. `params`.

    Raises
    ------
    KeyError
        Unknown target, folds or representation.
    ValueError
        Fewer than two classes or folds, or a class that the other folds do not hold twice.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(200, 200))["table"]
    >>> cells.obs["follicle"] = (cells.obs["region"] == "follicle").astype(str)
    >>> ks.pp.spatial_folds(cells, n_folds=2, block_size=50)
    >>> ks.tl.linear_probe(cells, "follicle", use_rep="X", n_trials=3)
    >>> sorted(ks.get.result(cells, "follicle_probe")["fold"])
    ['0', '1']
    """
    one_of(protocol, PROTOCOLS, name="protocol")
    most = None if max_per_class is None else positive_integer(max_per_class, name="max_per_class")
    search = _probe.Search(C, n_trials, *((1e-5, 1e10) if protocol == "tutorial" else ()))
    key = free_key(adata, key_added or f"{target}_probe", target, fold_key)
    where, draw = fit_device(device), chance.start(rng)
    plan = cv_plan.plan(adata, target, use_rep, fold_key, draw)
    features = [_features(adata, rep) for rep in plan.reps]
    seeds = draw.integers(2**63, size=len(plan.splits))
    cv_plan.announce("linear probe", plan, target)
    began, parts, probas = time.perf_counter(), [], []
    with bar(total=len(plan.reps) * len(plan.splits) * search.fits, description="linear probe", unit="fit") as shown:
        for rep, names in zip(plan.reps, features, strict=True):
            how = {"sizes": [most], "search": search, "seeds": seeds, "device": where}
            probes, (proba,) = _probe.cross_validate(plan, rep, **how, tell=shown.update)
            parts.append(_tables(plan, rep, [fold[0] for fold in probes], proba, names))
            probas.append(proba)
    tables = {name: pd.concat([part[name] for part in parts]) for name in parts[0]}
    if tables["feature_importance"].empty:
        del tables["feature_importance"]  # most models number their features
    tables["summary"] = _summary(tables["scores"], protocol)
    given = {
        "target": target,
        "fold_key": fold_key,
        "max_per_class": most,
        "C": C,
        "n_trials": n_trials,
        "protocol": protocol,
    }
    params = given | {
        "representations": [rep.label for rep in plan.reps],
        "classes": list(plan.target.classes),
        "rng": chance.seed(rng),
    }
    table = adata.copy() if copy else adata
    for name, proba in zip(results.keys_of(key, params["representations"]), probas, strict=True):
        _probe.write_predictions(table, name, proba, plan.target.classes)
    results.store(table, key, kind="linear_probe", params=params, tables=tables)
    _report(tables["scores"], key, time.perf_counter() - began)
    return table if copy else None


def _tables(
    plan: cv_plan.CVPlan, rep: Representation, probes: list[_probe.Probe], proba: np.ndarray, names: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Return what there is to say about one representation."""
    scores, per_class, trials = [], [], []
    for split, probe in zip(plan.splits, probes, strict=True):
        labels = {"representation": rep.label, "fold": split.name}
        row, classes = _probe.evaluate(plan.target.codes[split.test], proba[split.test], plan.target.classes, labels)
        scores.append(row | {"n_train": probe.n_train, "n_validation": len(split.validation), "C": probe.C})
        per_class.append(classes)
        trials.append(probe.trials.assign(**labels))
    squares = np.mean([np.square(probe.linear.coef) for probe in probes], axis=0)
    return {
        "scores": pd.DataFrame(scores),
        "per_class": pd.concat(per_class),
        "confusion": _probe.confusion(
            plan.target.codes[plan.tested], proba[plan.tested], plan.target.classes, rep.label
        ),
        "importance": _importance(rep.label, squares, plan.target.classes, names),
        "feature_importance": _feature_importance(rep.label, squares, plan.target.classes, names),
        "trials": pd.concat(trials),
    }


def _summary(scores: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Return mean and sd over folds; in the tutorial's way, the sd (n) of the folds and their mean taken together."""
    out = results.summary(scores, by="representation", metrics=list(SCORES))
    if protocol == "tutorial":
        out[["low", "high"]] = np.nan
        groups = scores.groupby("representation", sort=False)
        out["sd"] = [
            float(np.std([*(v := groups.get_group(r)[m]), v.mean()]))
            for r, m in zip(out["representation"], out["metric"], strict=True)
        ]
    return out


def _features(adata: AnnData, rep: Representation) -> pd.DataFrame:
    """Return the names of the columns of a representation, which must be told apart for their weights to mean something."""
    names = feature_frame(adata, rep)
    require_distinct(list(names.index), rep.name)
    return names


def _importance(label: str, squares: np.ndarray, classes: np.ndarray, names: pd.DataFrame) -> pd.DataFrame:
    """Return the share of each marker in the squared weights (classes × features) of each class.

    No rows where features have no names.
    """
    owner, markers = pd.factorize(np.asarray(owners(names) or [], dtype=object))
    sums = np.zeros((len(markers), len(classes)))
    np.add.at(sums, owner, squares.T[: len(owner)])
    row, column = np.meshgrid(classes, markers, indexing="ij")
    return pd.DataFrame(
        {"representation": label, "class": row.ravel(), "marker": column.ravel(), "weight": _shares(sums.T).ravel()}
    )


def _feature_importance(label: str, squares: np.ndarray, classes: np.ndarray, names: pd.DataFrame) -> pd.DataFrame:
    """Return the share of each feature; no rows where features of a marker have numbers for names."""
    named = has_named_features(names)
    features = np.asarray(names.index if named else [], dtype=object)
    markers = np.asarray(owners(names) if named else [], dtype=object)
    row, column = np.meshgrid(classes, np.arange(len(features)), indexing="ij")
    column = column.ravel()
    weight = _shares(squares[:, : len(features)]).ravel()
    found = {"class": row.ravel(), "feature": features[column], "marker": markers[column], "weight": weight}
    return pd.DataFrame({"representation": label} | found)


def _shares(squares: np.ndarray) -> np.ndarray:
    """Return squared weights as shares of each class."""
    return squares / np.maximum(squares.sum(axis=1, keepdims=True), 1e-30)


def _report(scores: pd.DataFrame, key: str, seconds: float) -> None:
    means = results.in_words(scores, "balanced_accuracy")
    info(f"added obs[{key!r}], obsm['{key}_proba'] and uns[{key!r}]: balanced accuracy {means} ({seconds:.1f} s)")
