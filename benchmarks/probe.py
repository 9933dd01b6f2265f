"""One fold of the linear probe, against the same protocol in scikit-learn and Optuna.

It is scaling, 25 fits, the choice of C, and prediction.
"""

import argparse
import time
import warnings

import numpy as np
import optuna
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from kronos_sc._analysis import probe as _probe
from kronos_sc._core.representation import Representation
from kronos_sc._core.target import ClassColumn
from kronos_sc._methods.splits import Split


def simulate(classes: int, units: int, features: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Classes that overlap, seen through correlated features whose spectrum falls off, with noise of their own."""
    y = rng.integers(0, classes, units)
    hidden = rng.normal(size=(classes, 96))[y] * 0.3 + rng.normal(size=(units, 96))
    mixing = rng.normal(size=(96, features)) * np.exp(-np.arange(96) / 30)[:, None]
    x = (hidden @ mixing).astype(np.float32)
    x += rng.standard_normal(x.shape, dtype=np.float32)
    return x, y


def plain(x: np.ndarray, y: np.ndarray, split: Split, trials: int) -> np.ndarray:
    scaler = StandardScaler().fit(x[split.train])
    train, validation, test = (scaler.transform(x[rows]) for rows in (split.train, split.validation, split.test))
    models = {}

    def evaluate(trial: optuna.Trial) -> float:
        C = trial.suggest_float("C", 1e-10, 1e5, log=True)
        models[trial.number] = LogisticRegression(C=C, class_weight="balanced", max_iter=1000).fit(
            train, y[split.train]
        )
        return f1_score(y[split.validation], models[trial.number].predict(validation), average="macro")

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(evaluate, n_trials=trials)
    print(f"  scikit-learn: C {study.best_params['C']:.3g}, validation macro F1 {study.best_value:.4f}")
    return models[study.best_trial.number].predict(test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=16)
    parser.add_argument("--per-class", type=int, default=1000)
    parser.add_argument("--features", type=int, default=6912)
    parser.add_argument("--trials", type=int, default=25)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    train, validation, test = (
        options.classes * n for n in (options.per_class, options.per_class // 4, options.per_class // 2)
    )
    x, y = simulate(options.classes, train + validation + test, options.features, rng)
    rows = np.arange(len(y))
    split = Split("0", rows[:train], rows[train : train + validation], rows[train + validation :])
    column = ClassColumn("class", y, np.arange(options.classes).astype(str))
    start = time.perf_counter()
    search = _probe.CSearch(None, options.trials)
    (probe,) = _probe.train(Representation("X", x), column, split, sizes=[None], search=search, seed=0)
    ours = probe.proba(x[split.test]).argmax(1)
    seconds = time.perf_counter() - start
    print(
        f"  kronos_sc: C {probe.C:.3g}, validation macro F1 {probe.trials['macro_f1'].max():.4f}, {seconds:.0f} s",
        flush=True,
    )
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = plain(x, y, split, options.trials)
    reference = time.perf_counter() - start
    scores = [f1_score(y[split.test], predicted, average="macro") for predicted in (ours, theirs)]
    print(
        f"{options.classes} classes × {options.per_class} × {options.features} features, {options.trials} trials: "
        f"kronos_sc {seconds:.0f} s, scikit-learn + Optuna {reference:.0f} s, ratio {reference / seconds:.1f}; "
        f"test macro F1 {scores[0]:.4f} and {scores[1]:.4f}"
    )


if __name__ == "__main__":
    main()
