"""What every probe does: train per fold, predict the fold that was left out, say how well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._core.checks import positive_integer, positive_number
from kronos_sc._core.keys import storable
from kronos_sc._methods import metrics
from kronos_sc._methods.choose_c import HIGH, LOW, choose
from kronos_sc._methods.logistic import Linear, Problem, balanced_weight
from kronos_sc._methods.scaling import Scaler, fit_scaler
from kronos_sc._methods.splits import first_of_each

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kronos_sc._analysis.cv_plan import CVPlan
    from kronos_sc._core.representation import Representation
    from kronos_sc._core.target import ClassColumn
    from kronos_sc._methods.splits import Split


@dataclass(frozen=True)
class Probe:
    """A classifier with the scaling it was trained on, and how its C was found."""

    scaler: Scaler
    linear: Linear
    C: float
    trials: pd.DataFrame
    n_train: int

    def proba(self, x: np.ndarray) -> np.ndarray:
        """Return probabilities (n × classes, float64) of rows as they are."""
        return self.linear.proba(self.scaler.apply(x))


@dataclass(frozen=True)
class CSearch:
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


def train(
    rep: Representation,
    labels: ClassColumn,
    split: Split,
    *,
    sizes: Sequence[int | None],
    search: CSearch,
    seed: int,
    device: str = "cpu",
    tell: Callable[[], None] = lambda: None,
) -> list[Probe]:
    """Return one probe per training size (units per class).

    Scaling, search and fit see training and validation units only.
    """
    largest = max(sizes, key=lambda n: np.inf if n is None else n)
    most = first_of_each(split.train, labels.codes, largest)
    features = rep.rows(most)
    held_out = rep.rows(split.validation)
    probes = []
    for size in sizes:
        part = np.isin(most, first_of_each(most, labels.codes, size))
        rows = most[part]
        x = features if part.all() else features[part]
        scaler = fit_scaler(x)
        present = np.unique(labels.codes[rows])
        y = np.searchsorted(present, labels.codes[rows])
        problem = Problem(scaler.apply(x), y, len(present), weight=balanced_weight(y, len(present)), device=device)
        # validation units of classes that this size has no training unit of cannot judge a C
        judged = np.isin(labels.codes[split.validation], present)
        truth = np.searchsorted(present, labels.codes[split.validation][judged])
        choice = choose(
            problem,
            scaler.apply(held_out[judged]),
            truth,
            C=search.C,
            n_trials=search.n_trials,
            rng=np.random.default_rng([seed, size or 0]),  # a search does not depend on which other sizes there are
            low=search.low,
            high=search.high,
            tell=tell,
        )
        probes.append(
            Probe(scaler, _widen(choice.linear, present, len(labels.classes)), choice.C, choice.trials, len(rows))
        )
    return probes


def _widen(linear: Linear, present: np.ndarray, n_classes: int) -> Linear:
    """Return a classifier over all classes; those it never saw have probability 0."""
    if len(present) == n_classes:
        return linear
    coef = np.zeros((n_classes, linear.coef.shape[1]), np.float32)
    intercept = np.full(n_classes, -np.inf, np.float32)
    coef[present] = linear.coef
    intercept[present] = linear.intercept
    return Linear(coef, intercept, linear.objective, linear.iterations)


def cross_validate(
    plan: CVPlan,
    rep: Representation,
    *,
    sizes: Sequence[int | None],
    search: CSearch,
    seeds: Sequence[int],
    device: str,
    tell: Callable[[], None],
) -> tuple[list[list[Probe]], list[np.ndarray]]:
    """Return the probes (folds × sizes), and per size the probabilities of all units (units × classes).

    Those of a unit are by the probe of its own fold. `seeds` holds one seed per fold: every representation gets the
    same draws, so that only features differ.
    """
    probas = [np.full((rep.n_units, len(plan.target.classes)), np.nan) for _ in sizes]
    probes = []
    for number, (split, seed) in enumerate(zip(plan.splits, seeds, strict=True)):
        fitted = train(rep, plan.target, split, sizes=sizes, search=search, seed=seed, device=device, tell=tell)
        for part, values in rep.blocks(np.flatnonzero((plan.folds == number) & plan.usable)):
            for probe, proba in zip(fitted, probas, strict=True):
                proba[part] = probe.proba(values)
        probes.append(fitted)
    return probes, probas


def evaluate(
    truth: np.ndarray, proba: np.ndarray, classes: np.ndarray, labels: dict[str, object]
) -> tuple[dict[str, object], pd.DataFrame]:
    """Return the scores of some units (a row) and per class (a frame); `labels` are columns that say what was run."""
    row = {**labels, "n_test": len(truth), **metrics.scores(truth, proba)}
    by_class = metrics.per_class(truth, proba)
    by_class["class"] = classes[by_class["class"]]
    for i, (name, value) in enumerate(labels.items()):
        by_class.insert(i, name, value)
    return row, by_class


def confusion(truth: np.ndarray, proba: np.ndarray, classes: np.ndarray, label: str) -> pd.DataFrame:
    """Return counts of units: `representation`, `true`, `predicted`, `count`."""
    counts = metrics.confusion(truth, proba.argmax(axis=1), len(classes))
    true, predicted = np.meshgrid(classes, classes, indexing="ij")
    return pd.DataFrame(
        {"representation": label, "true": true.ravel(), "predicted": predicted.ravel(), "count": counts.ravel()}
    )


def predicted_classes(proba: np.ndarray, classes: np.ndarray) -> pd.Categorical:
    """Return the most probable class of each unit, as a column of `obs`; missing where there is no prediction."""
    is_predicted = ~np.isnan(proba).any(axis=1)
    codes = np.full(len(proba), -1)
    codes[is_predicted] = proba[is_predicted].argmax(axis=1)
    return pd.Categorical.from_codes(codes, categories=[str(name) for name in classes])


def proba_frame(proba: np.ndarray, classes: np.ndarray, units: pd.Index) -> pd.DataFrame:
    """Return probabilities (units × classes, float32) as an entry of `obsm`; NaN where there is no prediction."""
    return pd.DataFrame(proba.astype(np.float32), index=units, columns=storable(classes))
