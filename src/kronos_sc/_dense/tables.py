"""What the regions of a dense probe say about it: its scores in the tables that other classifiers leave in `uns`."""

# Shapes: r regions, k classes.
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis import probe
from kronos_sc._core import results
from kronos_sc._core.checks import known, listed
from kronos_sc._methods import regions as by_region
from kronos_sc._methods.roc import mean_curve, split_curve

if TYPE_CHECKING:
    from collections.abc import Iterator

SCORES = ("balanced_accuracy", "macro_f1", "macro_ap", "auroc", "auroc_ovo", "f1", "average_precision")
"""Scores of a fold; the last two are those of the positive class, and exist for two classes only."""
ADDED = ("auroc_ovo", "f1", "average_precision")
"""Those that files of earlier probes lack."""


def positive_class(classes: tuple[str, ...], wanted: str | None) -> str | None:
    """Return the positive one of two classes: as told, else the second. None for more classes, of which none is."""
    if wanted is None:
        return classes[1] if len(classes) == 2 else None
    if len(classes) != 2:
        msg = (
            f"positive={wanted!r} names one of two classes, and the regions have {len(classes)} ({listed(classes)}). "
            "Leave positive out: per_class holds F1 and average precision of each."
        )
        raise ValueError(msg)
    return known(wanted, classes, what="class", fix="Name one of these with options=DenseOptions(positive=...).")


@dataclass(frozen=True)
class Tested:
    """Regions that count for the scores of one representation, as the probes that did not see them took them.

    Parameters
    ----------
    label
        The representation.
    fold
        Of each region (r, text).
    true
        Class (r, int64).
    proba
        Probabilities (r × k).
    """

    label: str
    fold: np.ndarray
    true: np.ndarray
    proba: np.ndarray

    def folds(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each fold and its rows (flags)."""
        for name in dict.fromkeys(sorted(self.fold, key=lambda name: (len(name), name))):
            yield name, self.fold == name


def tested(regions: pd.DataFrame, classes: tuple[str, ...]) -> list[Tested]:
    """Return the scored regions of a probe, representation by representation."""
    number = {name: code for code, name in enumerate(classes)}
    found = []
    counted = regions[regions["scored"].astype(bool)] if "scored" in regions else regions
    for label, rows in counted.groupby("representation", sort=False):
        proba = rows[[f"p_{name}" for name in classes]].to_numpy(float)
        true = rows["true"].map(number).to_numpy(np.int64)
        found.append(Tested(str(label), rows["fold"].astype(str).to_numpy(), true, proba))
    return found


def completed(
    scores: pd.DataFrame, regions: pd.DataFrame, classes: tuple[str, ...], positive: str | None
) -> pd.DataFrame:
    """Return scores with the columns that an earlier version did not write, computed from the regions."""
    if not set(ADDED) - set(scores.columns):
        return scores
    code = None if positive is None else classes.index(positive)
    found = {}
    for one in tested(regions, classes):
        every = np.ones(len(one.true), bool)
        for fold, rows in (*one.folds(), ("all", every)):
            found[one.label, fold] = by_region.further_scores(one.true[rows], one.proba[rows], code)
    rows = [found.get((row.representation, str(row.fold)), dict.fromkeys(ADDED, np.nan)) for row in scores.itertuples()]
    return scores.assign(**{name: [row[name] for row in rows] for name in ADDED})


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Return mean, sd, number and 95 % interval of each score over the folds; scores that no fold has are left out."""
    folds = scores[scores["fold"].astype(str) != "all"]
    there = [name for name in SCORES if folds[name].notna().any()]
    return results.summary(folds, by="representation", metrics=there)


def tables(
    scores: pd.DataFrame, regions: pd.DataFrame, classes: tuple[str, ...], positive: str | None
) -> dict[str, pd.DataFrame]:
    """Return `scores`, `summary`, `per_class`, `confusion`, `roc` and `regions`, in the columns of :func:`kronos_sc.tl.linear_probe`."""
    names = np.array(classes, object)
    per_class, confusion, curves = [], [], []
    for one in tested(regions, classes):
        confusion.append(probe.confusion(one.true, one.proba, names, one.label))
        for fold, rows in one.folds():
            labels = {"representation": one.label, "fold": fold}
            per_class.append(probe.evaluate(one.true[rows], one.proba[rows], names, labels)[1])
        if drawn := _curves(one, classes, positive):
            curves.append(mean_curve(drawn).assign(representation=one.label))
    out = {"scores": scores[scores["fold"].astype(str) != "all"], "summary": summary(scores)}
    out |= {"per_class": pd.concat(per_class), "confusion": pd.concat(confusion), "regions": regions}
    return out | ({"roc": pd.concat(curves)} if curves else {})


def _curves(one: Tested, classes: tuple[str, ...], positive: str | None) -> list[np.ndarray]:
    """Return one ROC curve per fold that tests two classes: of the positive class, or the mean over classes."""
    # of two classes the curve is that of the second column
    order = slice(None) if positive is None or positive == classes[-1] else slice(None, None, -1)
    true = one.true if order == slice(None) else 1 - one.true
    every = [split_curve(true[rows], one.proba[rows][:, order]) for _, rows in one.folds()]
    return [curve for curve in every if curve is not None]
