"""What every cross-validated probe does: check target and folds, train per fold, predict the fold that was left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._core.checks import listed, positive_integer, positive_number
from kronos_sc._core.log import info
from kronos_sc._core.representation import Representation, representations
from kronos_sc._core.target import Target, classes_of, column, require_anndata, target
from kronos_sc._core.warn import warn
from kronos_sc._methods import metrics
from kronos_sc._methods.logistic import Linear, Problem, balanced_weight
from kronos_sc._methods.scaling import Scaler, fit_scaler
from kronos_sc._methods.search import HIGH, LOW, choose
from kronos_sc._methods.splits import Split, cross_validation, first_of_each

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData


@dataclass(frozen=True)
class Plan:
    """A checked cross-validation.

    Parameters
    ----------
    target
        Classes of the units that take part; -1 for all others.
    folds
        Fold of each unit (int64), -1 for none.
    splits
        Training, validation and test rows per fold.
    reps
        Representations to compare.
    usable
        Units whose features are numbers in every representation (bool).
    """

    target: Target
    folds: np.ndarray
    splits: list[Split]
    reps: list[Representation]
    usable: np.ndarray


@dataclass(frozen=True)
class Probe:
    """A classifier with the scaling it was trained on, and how its C was found."""

    scaler: Scaler
    linear: Linear
    C: float
    trials: pd.DataFrame
    n_train: int

    def proba(self, x: np.ndarray) -> np.ndarray:
        """Return probabilities (n × classes, float32) of rows as they are."""
        return self.linear.proba(self.scaler.apply(x))


@dataclass(frozen=True)
class Search:
    """How C is chosen: a value, a grid, or None for `n_trials` of Bayesian optimisation between `low` and `high`."""

    C: float | Sequence[float] | None
    n_trials: int
    low: float = LOW
    high: float = HIGH

    def __post_init__(self) -> None:
        positive_integer(self.n_trials, name="n_trials")
        if self.C is not None:
            values = np.atleast_1d(np.asarray(self.C, object)).tolist()
            if not values:
                msg = "C is empty. Pass a positive number, a list of them, or None for a search."
                raise ValueError(msg)
            for value in values:
                positive_number(value, name="each value of C" if np.ndim(self.C) else "C")

    @property
    def fits(self) -> int:
        """Number of fits per training set."""
        return self.n_trials if self.C is None else np.size(self.C)


def plan(
    adata: AnnData, name: str, use_rep: str | Sequence[str] | None, fold_key: str, rng: np.random.Generator, order_key: str | None = None
) -> Plan:
    """Check target, folds and representations; draw who trains and who validates."""
    require_anndata(adata)
    wanted = target(adata, name)
    folds = folds_of(adata, fold_key)
    reps = representations(adata, use_rep)
    usable = np.logical_and.reduce([rep.finite for rep in reps])
    if lost := int((wanted.labelled & ~usable).sum()):
        warn(f"{lost:,} units have no finite features in {listed(rep.name for rep in reps)} and are left out.")
    kept = wanted.keep(usable & (folds.codes >= 0))
    order = _order(adata, order_key) if order_key else rng.permutation(adata.n_obs)
    splits = cross_validation(kept.codes, folds.codes, folds.classes, order)
    _check_classes(kept, splits, fold_key)
    return Plan(kept, folds.codes, splits, reps, usable)


def folds_of(adata: AnnData, fold_key: str) -> Target:
    """Return the folds of a column of `obs`; at least two."""
    if fold_key not in adata.obs:
        msg = (
            f"There is no column {fold_key!r} in obs; there are: {listed(adata.obs.columns)}. "
            "Make folds with pp.spatial_folds(adata), or name a column with fold_key=."
        )
        raise KeyError(msg)
    folds = classes_of(column(adata, fold_key, argument="fold_key"), name=fold_key)
    if len(folds.classes) < 2:
        msg = f"obs[{fold_key!r}] has {len(folds.classes)} folds ({listed(folds.classes)}); at least 2 are needed. Make them with pp.spatial_folds(adata)."
        raise ValueError(msg)
    return folds


def _order(adata: AnnData, key: str) -> np.ndarray:
    return column(adata, key, argument="order_key").to_numpy()


def _check_classes(wanted: Target, splits: list[Split], fold_key: str) -> None:
    """Raise an error for classes that some fold cannot be trained on; warn where a fold does not test one."""
    if not len(wanted.classes) or not wanted.labelled.any():
        msg = f"No unit has {wanted.name!r}, a fold and features. Look at obs[[{wanted.name!r}, {fold_key!r}]]."
        raise ValueError(msg)
    for split in splits:
        tested = np.unique(wanted.codes[split.test])
        trained = np.bincount(wanted.codes[split.train], minlength=len(wanted.classes))
        validated = np.bincount(wanted.codes[split.validation], minlength=len(wanted.classes))
        if weak := [str(wanted.classes[c]) for c in tested if trained[c] == 0 or validated[c] == 0]:
            counts = dict(zip(wanted.classes, wanted.counts, strict=True))
            sizes = ", ".join(f"{name!r}: {counts[name]}" for name in weak[:10])
            msg = (
                f"Fold {split.name!r} tests classes that have fewer than 2 units in the other folds ({sizes} units in all), so they cannot be learnt. "
                f"Merge them, set obs[{wanted.name!r}] to missing there, or make folds that share classes out: pp.spatial_folds(adata, block_size=...)."
            )
            raise ValueError(msg)
        if not len(split.test):
            msg = (
                f"Fold {split.name!r} of {fold_key!r} has no unit with {wanted.name!r}. "
                "Leave the fold out (set it to missing), or make other folds with pp.spatial_folds(adata)."
            )
            raise ValueError(msg)
    some = [s.name for s in splits if len(np.unique(wanted.codes[s.test])) < len(np.unique(wanted.codes[wanted.labelled]))]
    if some:
        warn(
            f"Folds {listed(some)} of {fold_key!r} hold not every class of {wanted.name!r}; their scores are means over the classes they hold."
        )


def train(
    rep: Representation,
    wanted: Target,
    split: Split,
    *,
    sizes: Sequence[int | None],
    search: Search,
    rng: np.random.Generator,
    device: str = "cpu",
    tell: Callable[[], None] = lambda: None,
) -> list[Probe]:
    """Return one probe per training size (units per class); scaling, search and fit see training and validation units only."""
    largest = max(sizes, key=lambda n: np.inf if n is None else n)
    most = first_of_each(split.train, wanted.codes, largest)
    features, held_out = rep.rows(most), rep.rows(split.validation)
    probes = []
    for size, child in zip(sizes, rng.spawn(len(sizes)), strict=True):
        part = np.isin(most, first_of_each(most, wanted.codes, size))
        rows = most[part]
        x = features if part.all() else features[part]
        scaler = fit_scaler(x)
        present = np.unique(wanted.codes[rows])
        y = np.searchsorted(present, wanted.codes[rows])
        problem = Problem(scaler.apply(x), y, len(present), weight=balanced_weight(y, len(present)), device=device)
        judged = np.isin(wanted.codes[split.validation], present)
        truth = np.searchsorted(present, wanted.codes[split.validation][judged])
        found = choose(
            problem,
            scaler.apply(held_out[judged]),
            truth,
            C=search.C,
            n_trials=search.n_trials,
            rng=child,
            low=search.low,
            high=search.high,
            tell=tell,
        )
        probes.append(Probe(scaler, _widen(found.linear, present, len(wanted.classes)), found.C, found.trials, len(rows)))
    return probes


def _widen(linear: Linear, present: np.ndarray, n_classes: int) -> Linear:
    """Return a classifier over all classes; those it never saw have probability 0."""
    if len(present) == n_classes:
        return linear
    coef = np.zeros((n_classes, linear.coef.shape[1]), np.float32)
    intercept = np.full(n_classes, -np.inf, np.float32)
    coef[present], intercept[present] = linear.coef, linear.intercept
    return Linear(coef, intercept, linear.objective, linear.iterations)


def cross_validate(
    plan: Plan,
    rep: Representation,
    *,
    sizes: Sequence[int | None],
    search: Search,
    seeds: Sequence[int],
    device: str,
    tell: Callable[[], None],
) -> tuple[list[list[Probe]], list[np.ndarray]]:
    """Return the probes (folds × sizes), and per size the probabilities (units × classes) of each unit by the probe of its own fold.

    `seeds` holds one seed per fold: every representation gets the same draws, so that only features differ.
    """
    probas = [np.full((rep.n_units, len(plan.target.classes)), np.nan, np.float32) for _ in sizes]
    probes = []
    for number, (split, seed) in enumerate(zip(plan.splits, seeds, strict=True)):
        fitted = train(rep, plan.target, split, sizes=sizes, search=search, rng=np.random.default_rng(seed), device=device, tell=tell)
        for part, values in rep.blocks(np.flatnonzero((plan.folds == number) & plan.usable)):
            for probe, proba in zip(fitted, probas, strict=True):
                proba[part] = probe.proba(values)
        probes.append(fitted)
    return probes, probas


def evaluate(plan: Plan, proba: np.ndarray, labels: dict[str, object], fold: Split) -> tuple[dict[str, object], pd.DataFrame]:
    """Return the scores of one fold (a row) and per class (a frame); `labels` are columns that say what was run."""
    truth = plan.target.codes[fold.test]
    row = {**labels, "n_test": len(truth), **metrics.scores(truth, proba[fold.test])}
    classes = metrics.per_class(truth, proba[fold.test])
    classes["class"] = plan.target.classes[classes["class"]]
    for i, (name, value) in enumerate(labels.items()):
        classes.insert(i, name, value)
    return row, classes


def confusion(plan: Plan, proba: np.ndarray, label: str) -> pd.DataFrame:
    """Return counts over all folds: `representation`, `true`, `predicted`, `count`."""
    rows = np.concatenate([split.test for split in plan.splits])
    classes = plan.target.classes
    counts = metrics.confusion(plan.target.codes[rows], proba[rows].argmax(axis=1), len(classes))
    true, predicted = np.meshgrid(classes, classes, indexing="ij")
    return pd.DataFrame({"representation": label, "true": true.ravel(), "predicted": predicted.ravel(), "count": counts.ravel()})


def write_predictions(adata: AnnData, key: str, proba: np.ndarray, classes: np.ndarray) -> None:
    """Write `obs[key]` (categorical) and `obsm[key + "_proba"]` (frame); rows without a prediction are missing and NaN."""
    there = ~np.isnan(proba).any(axis=1)
    codes = np.full(len(proba), -1)
    codes[there] = proba[there].argmax(axis=1)
    adata.obs[key] = pd.Categorical.from_codes(codes, categories=[str(c) for c in classes])
    adata.obsm[f"{key}_proba"] = pd.DataFrame(proba, index=adata.obs_names, columns=[str(c) for c in classes])


def keys_of(key: str, reps: Sequence[Representation]) -> list[str]:
    """Return the column of predictions of each representation: the plain key for the first, its name appended for the others."""
    return [key if i == 0 else f"{key}_{rep.label}" for i, rep in enumerate(reps)]


def announce(what: str, plan: Plan, target_name: str) -> None:
    """Say what is about to be computed."""
    names = ", ".join(f"{rep.label} ({rep.width:,} features)" for rep in plan.reps)
    info(
        f"{what} of {target_name!r}: {plan.target.labelled.sum():,} units, {len(plan.target.classes)} classes, {len(plan.splits)} folds; {names}"
    )


def device_of(device: str | None) -> str:
    """Return where to fit: as told, or a CUDA device if there is one."""
    import torch

    from kronos_sc.models import _precision

    return str(_precision.choose_device(device)) if device is not None else "cuda" if torch.cuda.is_available() else "cpu"
