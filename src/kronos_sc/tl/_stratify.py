"""Telling groups of patients apart, over many random splits of the cases."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.case_classifiers import Draws, predictor
from kronos_sc._analysis.cases import Cases, labelled_cases
from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._core import results
from kronos_sc._core.checks import listed, one_of, positive_integer
from kronos_sc._core.keys import storable
from kronos_sc._core.progress import bar
from kronos_sc._core.record import freeze
from kronos_sc._core.representation import Representation, representations
from kronos_sc._core.rng import Seed, seed
from kronos_sc._methods.case_options import BY_NAME, AttentionMIL, CaseMethod, Composition, Logistic, MeanMLP
from kronos_sc._methods.case_scores import case_scores
from kronos_sc._methods.case_splits import draw_split, training_counts
from kronos_sc._methods.roc import mean_curve, split_curve
from kronos_sc._methods.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

# training cases in the paper's two protocols
_PER_CLASS = 5
_SHARE = 0.8
_METRICS = ("auroc", "balanced_accuracy", "macro_f1")


def stratify(
    adata: AnnData,
    target: str,
    *,
    case_key: str,
    use_rep: str | Sequence[str] | None = None,
    method: str | Composition | Logistic | MeanMLP | AttentionMIL = "logistic",
    train_size: float | None = None,
    n_splits: int = 100,
    rng: Seed = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Ask how well cases (patients, donors) can be told apart by their tissue :cite:p:`Shaban2025`.

    Classifiers are trained and tested over random splits of the cases. All units of a case are on the same side of a
    split, and whatever is fitted (scaling, PCA, clusters, networks) sees training cases only. All representations get
    the same splits, so that they can be compared split by split; mean marker expression is always among them.

    The interval in `summary` is that of the mean over the splits, as in the paper. It says how far the mean depends on
    the draws and shrinks with `n_splits`; it does *not* say how the score would vary with other patients. With fewer
    than some thirty cases that variation is much larger.

    Parameters
    ----------
    adata
        Table of cells or patches of all cases.
    target
        Column of `obs` with the group of each case (response, diagnosis); the same for all units of a case. Cases
        without one are left out.
    case_key
        Column of `obs` that names the case of each unit. Name the patient, not the image: images of one patient on both
        sides of a split make scores that do not hold.
    use_rep
        Entries of `obsm`, or `"X"`; all embeddings on record if left out.
    method
        `"logistic"` (mean per case on principal components of the units, logistic regression), `"composition"` (shares
        of k-means clusters, nearest case), `"mlp"` (as `"logistic"`, with a small network) or `"attention"`
        (attention-based multiple instance learning), each with its defaults; or an instance of :class:`Logistic`,
        :class:`Composition`, :class:`MeanMLP` or :class:`AttentionMIL` with parameters of your own. Their pages say
        where they go beyond the paper.
    train_size
        Training cases of a split: a share of each class (0.8), or a whole number of cases per class (5). All other
        cases are the test. As in the paper if left out: 5 per class for `"composition"`, 0.8 otherwise.
    n_splits
        Random splits.
    rng
        Seed or generator of splits, draws of units, and everything fitted.
    key_added
        Name of the result; `{target}_stratify` if left out.
    copy
        Return a new AnnData instead of writing to `adata`.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `uns['{target}_stratify' | key_added]`
        Tables `scores` (representation, split, `auroc`, `balanced_accuracy`, `macro_f1`, `n_train`, `n_test`),
        `summary` (mean, sd, n, low, high), `predictions` (representation, split, case, true, predicted, and
        `probability: {class}` for each class, with "|" for a "/" in its name) and `roc` (mean curve and its interval
        for :func:`kronos_sc.pl.roc`); `params`, `classes`. With more than two classes `auroc` is the mean over classes,
        each against the rest. Probabilities of `"composition"` are closeness to the nearest training case: they rank,
        and are not calibrated.

    Raises
    ------
    KeyError
        A column or representation does not exist.
    ValueError
        A case has two groups, a group has too few cases for `train_size`, or an option is out of range.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128), n_images=6, n_donors=6)["table"]
    >>> ks.tl.stratify(cells, "group", case_key="donor", use_rep="X", train_size=2, n_splits=10)
    >>> ks.get.result(cells, "group_stratify", table="summary")["metric"].tolist()
    ['auroc', 'balanced_accuracy', 'macro_f1']
    """
    run = AnalysisRun(adata, "stratify", key_added or f"{target}_stratify", copy=copy)
    options = _options(method)
    n_splits = positive_integer(n_splits, name="n_splits")
    size = _train_size(train_size, options)
    reps = representations(adata, use_rep)
    cases = labelled_cases(adata, case_key, target, argument="target", reps=reps)
    n_train = _training_counts(cases, size, target, case_key)

    run.announce(
        f"{cases.described}, {n_splits} splits of {n_train.sum()} training and {len(cases.names) - n_train.sum()} test "
        f"cases: {type(options).__name__} on {listed([rep.label for rep in reps])}"
    )
    params = {
        "target": target,
        "case_key": case_key,
        "use_rep": [rep.name for rep in reps],
        "method": type(options).__name__,
        "options": asdict(options),
        "train_size": size,
        "n_splits": n_splits,
        "rng": seed(rng),
    }
    params = freeze(params)  # what cannot be recorded fails here, not after the work
    draws = Draws.of(rng, n_splits)
    splits = [draw_split(cases.labels, n_train, child) for child in draws.splits]
    probabilities = _predict(reps, cases, options, splits, draws)
    tables = _tables([rep.label for rep in reps], cases, splits, probabilities)
    run.store(params=params, tables=tables, classes=cases.classes)
    return run.finish(f"added uns[{run.key!r}] ({n_splits} splits × {len(reps)} representations, {run.elapsed})")


def _options(method: str | CaseMethod) -> CaseMethod:
    """Return the method with its parameters."""
    if isinstance(method, CaseMethod):
        return method
    one_of(method, tuple(BY_NAME), name="method")
    return BY_NAME[method]()


def _train_size(train_size: float | None, options: CaseMethod) -> float:
    if train_size is None:
        return _PER_CLASS if isinstance(options, Composition) else _SHARE
    whole = isinstance(train_size, int | np.integer) and not isinstance(train_size, bool)
    if whole and train_size >= 1:
        return int(train_size)
    if isinstance(train_size, float | np.floating) and 0 < train_size < 1:
        return float(train_size)
    msg = f"train_size must be a share of cases (0.8) or a whole number of cases per class (5), got {train_size!r}."
    raise ValueError(msg)


def _training_counts(cases: Cases, train_size: float, target: str, case_key: str) -> np.ndarray:
    """Return training cases per class; a class too small to leave a test case is an error."""
    occurring = f"obs[{case_key!r}] × obs[{target!r}]: {cases.described}"
    if len(cases.classes) < 2:
        msg = (
            f"Two groups of cases are needed; {occurring}. Name another column with target=, or add cases of another "
            "group."
        )
        raise ValueError(msg)
    least = train_size + 1 if isinstance(train_size, int) else 2
    if cases.counts.min() < least:
        hint = "Leave that group out, or merge groups"
        if cases.counts.min() > 1:
            hint = f"Choose train_size of at most {cases.counts.min() - 1}"
        msg = (
            f"A group needs {least} cases to train on and leave one for the test; {occurring}. {hint}; or name another "
            "case_key."
        )
        raise ValueError(msg)
    return training_counts(cases.counts, train_size)


def _predict(
    reps: list[Representation],
    cases: Cases,
    options: CaseMethod,
    splits: list[tuple[np.ndarray, np.ndarray]],
    draws: Draws,
) -> list[list[np.ndarray]]:
    """Return probabilities (test × classes) of every split of every representation."""
    probabilities = []
    with bar(total=len(reps) * len(splits), description="stratify", unit="split") as shown:
        for rep in reps:
            predict = predictor(rep, cases, options, draws)
            by_split = []
            with one_thread(blas=True):
                for number, (train, test) in enumerate(splits):
                    by_split.append(predict(train, test, draws.fit(number)))
                    shown.update()
            probabilities.append(by_split)
    return probabilities


def _tables(
    names: list[str], cases: Cases, splits: list[tuple[np.ndarray, np.ndarray]], probabilities: list[list[np.ndarray]]
) -> dict[str, pd.DataFrame]:
    scores = pd.DataFrame(_score_rows(names, cases, splits, probabilities))
    predictions = []
    curves = []
    for name, by_split in zip(names, probabilities, strict=True):
        predictions += [_predictions(name, i, cases, test, by_split[i]) for i, (_, test) in enumerate(splits)]
        if split_curves := _curves(cases, splits, by_split):
            table = mean_curve(split_curves)
            table.insert(0, "representation", name)
            curves.append(table)
    return {
        "scores": scores,
        "summary": results.summary(scores, by="representation", metrics=list(_METRICS)),
        "predictions": pd.concat(predictions, ignore_index=True),
        "roc": pd.concat(curves, ignore_index=True),
    }


def _score_rows(
    names: list[str], cases: Cases, splits: list[tuple[np.ndarray, np.ndarray]], probabilities: list[list[np.ndarray]]
) -> Iterator[dict[str, object]]:
    for name, by_split in zip(names, probabilities, strict=True):
        for number, ((train, test), proba) in enumerate(zip(splits, by_split, strict=True)):
            values = case_scores(cases.labels[test], proba)
            yield {"representation": name, "split": number, **values, "n_train": len(train), "n_test": len(test)}


def _curves(cases: Cases, splits: list[tuple[np.ndarray, np.ndarray]], by_split: list[np.ndarray]) -> list[np.ndarray]:
    every = [split_curve(cases.labels[test], proba) for (_, test), proba in zip(splits, by_split, strict=True)]
    return [curve for curve in every if curve is not None]


def _predictions(name: str, split: int, cases: Cases, test: np.ndarray, proba: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "representation": name,
            "split": split,
            "case": cases.names[test],
            "true": cases.classes[cases.labels[test]],
            "predicted": cases.classes[proba.argmax(axis=1)],
            **dict(zip(storable(f"probability: {label}" for label in cases.classes), proba.T, strict=True)),
        }
    )
