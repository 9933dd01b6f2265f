"""Scores of a dense probe on regions, in the tables that other classifiers leave in `uns`."""

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


def positive_class(classes: tuple[str, ...], name: str | None) -> str | None:
    """Return the positive one of two classes: as named, else the second. None for more classes, of which none is."""
    if name is None:
        return classes[1] if len(classes) == 2 else None
    if len(classes) != 2:
        msg = (
            f"positive={name!r} names one of two classes, and the regions have {len(classes)} ({listed(classes)}). "
            "Leave positive out: per_class holds F1 and average precision of each."
        )
        raise ValueError(msg)
    return known(name, classes, what="class", fix="Name one of these with options=DenseOptions(positive=...).")


@dataclass(frozen=True)
class ScoredRegions:
    """Regions that count for the scores of one representation, as predicted by the probes that did not see them.

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


def scored_regions(regions: pd.DataFrame, classes: tuple[str, ...]) -> list[ScoredRegions]:
    """Return the scored regions of a probe, representation by representation."""
    codes = {name: code for code, name in enumerate(classes)}
    if "scored" in regions:  # files of earlier probes lack the column: all of their regions count
        regions = regions[regions["scored"].astype(bool)]
    parts = []
    for label, rows in regions.groupby("representation", sort=False):
        proba = rows[[f"p_{name}" for name in classes]].to_numpy(float)
        true = rows["true"].map(codes).to_numpy(np.int64)
        parts.append(ScoredRegions(str(label), rows["fold"].astype(str).to_numpy(), true, proba))
    return parts


def with_later_scores(
    scores: pd.DataFrame, regions: pd.DataFrame, classes: tuple[str, ...], positive: str | None
) -> pd.DataFrame:
    """Return scores with the columns that an earlier version did not write, computed from the regions."""
    if not set(ADDED) - set(scores.columns):
        return scores
    code = None if positive is None else classes.index(positive)
    computed = {}
    for scored in scored_regions(regions, classes):
        every = np.ones(len(scored.true), bool)
        for fold, rows in (*scored.folds(), ("all", every)):
            computed[scored.label, fold] = by_region.further_scores(scored.true[rows], scored.proba[rows], code)

    missing = dict.fromkeys(ADDED, np.nan)
    added = [computed.get((row.representation, str(row.fold)), missing) for row in scores.itertuples()]
    return scores.assign(**{name: [row[name] for row in added] for name in ADDED})


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Return mean, sd, number and 95 % interval of each score over the folds; scores that no fold has are left out."""
    folds = scores[scores["fold"].astype(str) != "all"]
    metrics = [name for name in SCORES if folds[name].notna().any()]
    return results.summary(folds, by="representation", metrics=metrics)


def tables(
    scores: pd.DataFrame, regions: pd.DataFrame, classes: tuple[str, ...], positive: str | None
) -> dict[str, pd.DataFrame]:
    """Return all tables in the columns of :func:`kronos_sc.tl.linear_probe`.

    These are `scores`, `summary`, `per_class`, `confusion`, `roc` and `regions`.
    """
    names = np.array(classes, object)
    per_class = []
    confusion = []
    curves = []
    for scored in scored_regions(regions, classes):
        confusion.append(probe.confusion(scored.true, scored.proba, names, scored.label))
        for fold, rows in scored.folds():
            labels = {"representation": scored.label, "fold": fold}
            per_class.append(probe.evaluate(scored.true[rows], scored.proba[rows], names, labels)[1])
        if fold_curves := _curves(scored, classes, positive):
            curves.append(mean_curve(fold_curves).assign(representation=scored.label))

    frames = {
        "scores": scores[scores["fold"].astype(str) != "all"],
        "summary": summary(scores),
        "per_class": pd.concat(per_class),
        "confusion": pd.concat(confusion),
        "regions": regions,
    }
    if curves:
        frames["roc"] = pd.concat(curves)
    return frames


def _curves(scored: ScoredRegions, classes: tuple[str, ...], positive: str | None) -> list[np.ndarray]:
    """Return one ROC curve per fold that tests two classes: of the positive class, or the mean over classes."""
    true = scored.true
    proba = scored.proba
    if positive is not None and positive != classes[-1]:
        # of two classes the curve is that of the second column, so the positive one goes there
        true = 1 - true
        proba = proba[:, ::-1]
    curves = [split_curve(true[rows], proba[rows]) for _, rows in scored.folds()]
    return [curve for curve in curves if curve is not None]  # a fold of one class has none
