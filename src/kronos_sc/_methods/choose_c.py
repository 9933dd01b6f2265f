"""Choice of C: Bayesian optimisation, a grid, or a fixed value, judged by macro F1 on validation units."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._methods.metrics import macro_f1
from kronos_sc._methods.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kronos_sc._methods.logistic import Linear, Problem

_SMALL = 2**21  # numbers of a training set below which threads cost more than they bring
LOW, HIGH = 1e-10, 1e5
"""Range of C in the paper (Online Methods, cell phenotyping)."""


@dataclass(frozen=True)
class Choice:
    """What a search found.

    Parameters
    ----------
    C
        The best value.
    linear
        The classifier fitted with it.
    trials
        One row per fit: `trial`, `C`, `macro_f1` (validation), `iterations`.
    """

    C: float
    linear: Linear
    trials: pd.DataFrame


def choose(
    problem: Problem,
    x: np.ndarray,
    y: np.ndarray,
    *,
    C: float | Sequence[float] | None,
    n_trials: int,
    rng: np.random.Generator,
    low: float = LOW,
    high: float = HIGH,
    tell: Callable[[], None] = lambda: None,
) -> Choice:
    """Fit `problem` for several C and keep the best macro F1 on the validation units `x` (standardised) and `y`.

    `C` is a value, a grid, or None for `n_trials` of a tree-structured Parzen estimator (optuna) on log C between `low`
    and `high`. Among equal scores the lower cross-entropy wins, so that probabilities mean something where the classes
    are easy. `tell` is called after each fit.
    """
    fits: dict[float, tuple[tuple[float, float], Linear]] = {}
    rows = []

    def evaluate(value: float) -> float:
        if value not in fits:
            # the nearest solution so far is the best place to start from
            nearest = min(fits, key=lambda other: abs(np.log(other / value)), default=None)
            linear = problem.fit(value, start=None if nearest is None else fits[nearest][1])
            fits[value] = (_validation_scores(linear.proba(x), y), linear)
        (score, _), linear = fits[value]
        rows.append((len(rows), value, score, linear.iterations))
        tell()
        return score

    with one_thread() if problem.size < _SMALL else nullcontext():
        if C is None:
            _optimise(evaluate, n_trials, rng, low, high)
        else:
            for value in np.sort(np.atleast_1d(np.asarray(C, float))).tolist():
                evaluate(value)
    best = min(fits, key=lambda value: (-fits[value][0][0], fits[value][0][1], value))
    return Choice(best, fits[best][1], pd.DataFrame(rows, columns=["trial", "C", "macro_f1", "iterations"]))


def _validation_scores(proba: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return macro F1 and mean cross-entropy of validation units."""
    truth = np.maximum(proba[np.arange(len(y)), y], 1e-30)
    return macro_f1(y, proba.argmax(axis=1)), float(-np.log(truth).mean())


def _optimise(
    evaluate: Callable[[float], float], n_trials: int, rng: np.random.Generator, low: float, high: float
) -> None:
    import optuna

    sampler = optuna.samplers.TPESampler(seed=int(rng.integers(2**31 - 1)))
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line per trial would drown ours; put back below
    try:
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.optimize(lambda trial: evaluate(trial.suggest_float("C", low, high, log=True)), n_trials=n_trials)
    finally:
        optuna.logging.set_verbosity(level)
