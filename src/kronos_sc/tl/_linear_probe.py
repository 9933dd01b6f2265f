"""How well a linear classifier reads a target from frozen features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis import cv_plan
from kronos_sc._analysis import probe as _probe
from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._core import results
from kronos_sc._core.checks import one_of, positive_integer
from kronos_sc._core.features import feature_frame, has_named_features, owners, require_distinct
from kronos_sc._core.progress import bar
from kronos_sc._core.rng import seed, start
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
    bounds = (1e-5, 1e10) if protocol == "tutorial" else ()
    search = _probe.CSearch(C, n_trials, *bounds)
    run = AnalysisRun(adata, "linear_probe", key_added or f"{target}_probe", target, fold_key, copy=copy)
    fitted_on = fit_device(device)
    generator = start(rng)
    plan = cv_plan.plan(adata, target, use_rep, fold_key, generator)
    features = [_features(adata, rep) for rep in plan.reps]
    # a seed per fold: every representation meets the same search
    seeds = generator.integers(2**63, size=len(plan.splits))

    run.announce(cv_plan.described("linear probe", plan, target))
    parts = []
    probas = []
    n_fits = len(plan.reps) * len(plan.splits) * search.fits
    with bar(total=n_fits, description="linear probe", unit="fit") as shown:
        for rep, names in zip(plan.reps, features, strict=True):
            probes, (proba,) = _probe.cross_validate(
                plan, rep, sizes=[most], search=search, seeds=seeds, device=fitted_on, tell=shown.update
            )
            parts.append(_tables(plan, rep, [fold[0] for fold in probes], proba, names))
            probas.append(proba)

    tables = {name: pd.concat([part[name] for part in parts]) for name in parts[0]}
    if tables["feature_importance"].empty:
        del tables["feature_importance"]  # most models number their features
    tables["summary"] = _summary(tables["scores"], protocol)
    params = {
        "target": target,
        "fold_key": fold_key,
        "max_per_class": most,
        "C": C,
        "n_trials": n_trials,
        "protocol": protocol,
        "representations": [rep.label for rep in plan.reps],
        "classes": list(plan.target.classes),
        "rng": seed(rng),
    }
    proba_by_key = dict(zip(results.keys_of(run.key, params["representations"]), probas, strict=True))
    classes = plan.target.classes
    run.store(
        params=params,
        tables=tables,
        obs={name: _probe.predicted_classes(proba, classes) for name, proba in proba_by_key.items()},
        obsm={
            f"{name}_proba": _probe.proba_frame(proba, classes, adata.obs_names) for name, proba in proba_by_key.items()
        },
    )
    return run.finish(f"{_added(tables['scores'], run.key)} ({run.elapsed})")


def _tables(
    plan: cv_plan.CVPlan, rep: Representation, probes: list[_probe.Probe], proba: np.ndarray, names: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Return what there is to say about one representation."""
    scores = []
    per_class = []
    trials = []
    for split, probe in zip(plan.splits, probes, strict=True):
        labels = {"representation": rep.label, "fold": split.name}
        row, classes = _probe.evaluate(plan.target.codes[split.test], proba[split.test], plan.target.classes, labels)
        scores.append(row | {"n_train": probe.n_train, "n_validation": len(split.validation), "C": probe.C})
        per_class.append(classes)
        trials.append(probe.trials.assign(**labels))
    # weights of either sign count, and those of all folds alike
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
    summary = results.summary(scores, by="representation", metrics=list(SCORES))
    if protocol == "tutorial":
        summary[["low", "high"]] = np.nan
        groups = scores.groupby("representation", sort=False)
        pairs = zip(summary["representation"], summary["metric"], strict=True)
        by_fold = [groups.get_group(representation)[metric] for representation, metric in pairs]
        summary["sd"] = [float(np.std([*values, values.mean()])) for values in by_fold]
    return summary


def _features(adata: AnnData, rep: Representation) -> pd.DataFrame:
    """Return the names of the columns of a representation, which must be distinct for weights to mean something."""
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
    columns = {"class": row.ravel(), "feature": features[column], "marker": markers[column], "weight": weight}
    return pd.DataFrame({"representation": label} | columns)


def _shares(squares: np.ndarray) -> np.ndarray:
    """Return squared weights as shares of each class."""
    return squares / np.maximum(squares.sum(axis=1, keepdims=True), 1e-30)


def _added(scores: pd.DataFrame, key: str) -> str:
    means = results.in_words(scores, "balanced_accuracy")
    return f"added obs[{key!r}], obsm['{key}_proba'] and uns[{key!r}]: balanced accuracy {means}"
