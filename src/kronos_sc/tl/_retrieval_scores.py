"""How often a search finds units of the query's kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.cv_plan import folds_of
from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._analysis.groups import usable_in
from kronos_sc._analysis.search import SearchSet, as_is, nearest
from kronos_sc._core import results
from kronos_sc._core.checks import known, listed, one_of, positive_integer
from kronos_sc._core.progress import track
from kronos_sc._core.representation import Representation, representations
from kronos_sc._core.rng import Seed, seed, start
from kronos_sc._core.target import ClassColumn
from kronos_sc._core.target import target as as_target
from kronos_sc._methods import retrieval_metrics as metrics
from kronos_sc._methods.scaling import fit_scaler
from kronos_sc._methods.splits import first_of_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_FITTED = 20_000  # references that the scaling is fitted on, at most
_PER_CLASS = 1000  # units of each class that the paper's probes are trained on, and its cell retrieval searches


def retrieval_scores(
    adata: AnnData,
    target: str | None = None,
    *,
    use_rep: str | Sequence[str] | None = None,
    fold_key: str = "fold",
    k: int | Sequence[int] = (1, 3, 5),
    metric: str = "euclidean",
    scale: bool = False,
    max_per_class: int | None = _PER_CLASS,
    composition_key: str | None = None,
    rng: Seed = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Score a search by whether what it finds has the query's type, or its composition :cite:p:`Shaban2025`.

    The paper's cell retrieval (`target`) and patch retrieval (`composition_key`), fold by fold. Every unit of a fold is
    a query; units of the other folds are searched. All representations see the same units, mean marker expression among
    them.

    For cells the paper searches what its probe was trained on: 1,000 cells per type, out of 80 % of the other folds. So
    does this, by `max_per_class`; only a type with fewer than 1,250 cells in the other folds has more of them here,
    since no cells are held back for a validation. Accuracies with another `max_per_class`, and those with None above
    all, are not the paper's: the more often a type is among the units searched, the easier it is hit, whatever the
    embedding. Of patches the paper names no such number, and all are searched.

    Read `accuracy@k` beside `chance@k`, what answers drawn at random would reach, or the table `per_class`.

    Parameters
    ----------
    adata
        Table of cells or patches.
    target
        Column of `obs`: an answer is right if it has the query's value. Left out, only compositions are scored.
    use_rep
        Entries of `obsm`, or `"X"`; all embeddings on record if left out. Mean marker expression is added.
    fold_key
        Column of `obs` with the folds (:func:`kronos_sc.pp.spatial_folds`). Units without a fold, as in a guard band,
        take no part.
    k
        Numbers of answers to score.
    metric
        `"euclidean"` as in the paper, or `"cosine"`.
    scale
        Standardise features on the units searched (on 20,000 of them at most): bright markers no longer outweigh dim
        ones. The paper mentions no such step.
    max_per_class
        Most units per class to search, drawn at random, so that all types are about equally easy to hit; a smaller
        class is searched whole. With the `rng`, folds and representations of :func:`linear_probe` they are the units
        that its probe is trained on. None for all units of the other folds. Without a target there are no classes, and
        all are searched.
    composition_key
        Entry of `obsm` with shares of classes per patch, 0 to 1 (:func:`kronos_sc.pp.majority_labels` writes
        `"composition"`). Beside a target it is scored on the units that `max_per_class` leaves.
    rng
        Seed or generator of the draws of `max_per_class` and `scale`.
    key_added
        Name of the result; `{target}_retrieval`, or `{composition_key}_retrieval` without a target, if left out.
    copy
        Return a new AnnData instead of adding to this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `uns['{target}_retrieval' | key_added]`
        `scores`: one row per representation and fold with `n_reference`, `n_query` and, for each k, means over the
        queries of `accuracy@k` (any of the first k answers is right), `precision@k` (share of right ones), `map@k`
        (mean average precision: Σᵢ P(i) · rel(i) / min(k, right ones there are), 1 if all right answers come first) and
        `chance@k` (accuracy of random answers); with compositions `rmse@k`: root mean squared difference of the shares
        in percent, of the best of the first k answers (smaller is better). `summary`: mean and sd over folds.
        `per_class`: `n_query`, `accuracy@k` and `chance@k` by representation, fold and class. `params`.

    Raises
    ------
    KeyError
        A column, composition or representation does not exist.
    ValueError
        Neither target nor compositions were given, shares are not between 0 and 1, or a fold leaves fewer than `k`
        units to search.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128))["table"]
    >>> ks.pp.spatial_folds(cells, n_folds=2)
    >>> ks.tl.retrieval_scores(cells, "cell_type", use_rep="X", k=1)
    >>> ks.get.result(cells, "cell_type_retrieval", table="summary")["metric"].tolist()
    ['accuracy@1', 'precision@1', 'map@1', 'chance@1']
    """
    from kronos_sc._methods.neighbours import METRICS

    run = AnalysisRun(adata, "retrieval_scores", key_added or f"{target or composition_key}_retrieval", copy=copy)
    one_of(metric, METRICS, name="metric")
    ks = sorted({positive_integer(one, name="k") for one in (k if np.iterable(k) else [k])})
    most = None if max_per_class is None else positive_integer(max_per_class, name="max_per_class")
    truth = _truth(adata, target, composition_key, most)
    if truth.target is None:
        most = None
    folds = folds_of(adata, fold_key)
    reps = representations(adata, use_rep)
    scorable = folds.keep(truth.is_known)
    usable = scorable.labelled & usable_in(reps, scorable)
    generator = start(rng)
    # the first draw of a probe, too: equal seeds give its training units
    order = None if most is None else generator.permutation(adata.n_obs)
    children = generator.spawn(len(folds.classes))
    plans = [_plan(truth, folds, i, usable, child, order, most) for i, child in enumerate(children)]
    _require_enough(plans, ks[-1], most)

    run.announce(f"retrieval in {len(plans)} folds of {usable.sum():,} units: {listed(rep.label for rep in reps)}")
    rows = []
    per_class = []
    work = [(rep, plan) for rep in reps for plan in plans]
    for rep, plan in track(work, description="retrieval", unit="fold"):
        labels = {"representation": rep.label, "fold": plan.name}
        answers = _answers(rep, plan, ks[-1], metric=metric, scale=scale)
        scored = _scored(truth, plan, answers, ks)
        counts = {"n_reference": len(plan.reference), "n_query": len(plan.query)}
        rows.append(labels | counts | {name: values.mean() for name, values in scored.items()})
        per_class.append(_per_class(labels, truth, plan, scored))

    scores = pd.DataFrame(rows)
    tables = {
        "scores": scores,
        "summary": results.summary(scores, by="representation", metrics=list(scores.columns[4:])),
    }
    if target is not None:
        tables["per_class"] = pd.concat(per_class)
    params = {
        "target": target,
        "composition_key": composition_key,
        "representations": [rep.label for rep in reps],
        "fold_key": fold_key,
        "k": ks,
        "metric": metric,
        "scale": scale,
        "max_per_class": most,
        "rng": seed(rng),
    }
    run.store(params=params, tables=tables)
    return run.finish(f"added uns[{run.key!r}]: {_in_words(scores)} ({run.elapsed})")


@dataclass(frozen=True)
class _Truth:
    """What makes an answer good: the same class, a like composition (units × classes, float64), or both."""

    target: ClassColumn | None
    composition: np.ndarray | None

    @property
    def is_known(self) -> np.ndarray:
        """Units of which it is known (bool)."""
        masks = []
        if self.target is not None:
            masks.append(self.target.labelled)
        if self.composition is not None:
            masks.append(np.isfinite(self.composition).all(axis=1))
        return np.logical_and.reduce(masks)


@dataclass(frozen=True)
class _Plan:
    """One fold: row numbers of queries, of what is searched, and of what a scaling is fitted on."""

    name: str
    query: np.ndarray
    reference: np.ndarray
    fitted: np.ndarray


def _truth(adata: AnnData, target: str | None, composition_key: str | None, most: int | None) -> _Truth:
    if target is None and composition_key is None:
        msg = (
            "Nothing says which answers are good. Name a column of obs (target) or an entry of obsm with shares "
            "(composition_key='composition')."
        )
        raise ValueError(msg)
    if target is None and most not in (None, _PER_CLASS):
        msg = f"max_per_class={most} needs classes. Name a column of obs with target=, or leave max_per_class out."
        raise ValueError(msg)
    labels = None if target is None else as_target(adata, target)
    return _Truth(labels, _composition(adata, composition_key))


def _composition(adata: AnnData, key: str | None) -> np.ndarray | None:
    """Return shares (units × classes, float64); NaN where unknown."""
    if key is None:
        return None
    known(
        key,
        list(adata.obsm),
        what="composition in obsm",
        fix="Make it with pp.majority_labels(sdata, target), or name it with composition_key=.",
    )
    shares = np.asarray(adata.obsm[key], dtype=np.float64)
    if (
        shares.ndim != 2
        or np.nanmin(shares, initial=0) < 0
        or np.nanmax(np.nansum(shares, axis=1), initial=0) > 1 + 1e-3
    ):
        msg = (
            f"obsm[{key!r}] must hold shares (units × classes) between 0 and 1 that add up to at most 1 per unit. "
            "Divide counts by their sum."
        )
        raise ValueError(msg)
    return shares


def _plan(
    truth: _Truth,
    folds: ClassColumn,
    fold: int,
    usable: np.ndarray,
    rng: np.random.Generator,
    order: np.ndarray | None,
    most: int | None,
) -> _Plan:
    reference = np.flatnonzero(usable & (folds.codes != fold))
    if order is not None and truth.target is not None:
        # a probe trains on the beginning of this order and validates on its end, class by class
        in_order = reference[np.argsort(order[reference], kind="stable")]
        reference = np.sort(first_of_each(in_order, truth.target.codes, most))
    fitted = np.sort(rng.permutation(reference)[:_FITTED])
    return _Plan(str(folds.classes[fold]), np.flatnonzero(usable & (folds.codes == fold)), reference, fitted)


def _require_enough(plans: Sequence[_Plan], k: int, most: int | None) -> None:
    more = "" if most is None else f"raise max_per_class={most}, "
    for plan in plans:
        if len(plan.query) == 0 or len(plan.reference) < k:
            msg = (
                f"Fold {plan.name!r} has {len(plan.query):,} queries and {len(plan.reference):,} units to search, and "
                f"k={k} answers are wanted. "
                f"Lower k, {more}or make other folds with pp.spatial_folds(adata)."
            )
            raise ValueError(msg)


def _answers(rep: Representation, plan: _Plan, k: int, *, metric: str, scale: bool) -> np.ndarray:
    """Return rows of the answers (queries × k, int64)."""
    transform = fit_scaler(rep.rows(plan.fitted)).apply if scale else as_is
    reference = SearchSet(rep, plan.reference, transform)
    query = SearchSet(rep, plan.query, transform)
    return nearest(reference, query, k, metric=metric)[1]


def _scored(truth: _Truth, plan: _Plan, index: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """Return every score of every query."""
    scores: dict[str, np.ndarray] = {}
    if truth.target is not None:
        codes = truth.target.codes
        relevant = codes[index] == codes[plan.query][:, None]
        n_relevant = np.bincount(codes[plan.reference], minlength=len(truth.target.classes))[codes[plan.query]]
        for name, score in (("accuracy", metrics.accuracy_at), ("precision", metrics.precision_at)):
            scores |= {f"{name}@{k}": score(relevant, k) for k in ks}
        # a query whose class is nowhere to be found scores 0, as in its accuracy
        scores |= {f"map@{k}": np.nan_to_num(metrics.average_precision_at(relevant, n_relevant, k)) for k in ks}
        scores |= {f"chance@{k}": metrics.chance_at(n_relevant, len(plan.reference), k) for k in ks}
    if truth.composition is not None:
        error = metrics.composition_error(
            truth.composition[plan.query], [truth.composition[column] for column in index.T]
        )
        scores |= {f"rmse@{k}": metrics.best_at(error, k) for k in ks}
    return scores


def _per_class(labels: dict[str, str], truth: _Truth, plan: _Plan, scored: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return accuracy and chance by the query's class."""
    if truth.target is None:
        return pd.DataFrame()
    shown = pd.DataFrame({name: values for name, values in scored.items() if name.startswith(("accuracy", "chance"))})
    classes = truth.target.classes
    groups = shown.groupby(pd.Categorical(classes[truth.target.codes[plan.query]], categories=classes), observed=True)
    means = groups.mean()
    front = pd.DataFrame(labels | {"class": means.index.astype(str), "n_query": groups.size().to_numpy()})
    return pd.concat([front, means.reset_index(drop=True)], axis=1)


def _in_words(scores: pd.DataFrame) -> str:
    name = next(column for column in scores.columns if column.startswith(("accuracy", "rmse")))
    return f"{name} {results.in_words(scores, name, digits='.3g')}"
