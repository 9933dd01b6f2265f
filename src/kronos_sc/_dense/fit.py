"""Token features of regions → a classifier, judged on regions whose group it did not see."""

# Shapes: t tokens, r regions, f features, k classes.
from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc._core.rng import integer
from kronos_sc._methods import regions as by_region
from kronos_sc._methods.choose_c import choose
from kronos_sc._methods.logistic import Linear, Problem, balanced_weight
from kronos_sc._methods.scaling import Scaler, fit_scaler
from kronos_sc._methods.threads import one_thread
from kronos_sc.pp._deal import deal_mixed

if TYPE_CHECKING:
    from collections.abc import Callable

    from kronos_sc._analysis.probe import CSearch
    from kronos_sc._dense.regions import Regions

_HELD_OUT = 5  # one part in so many chooses C
_SMALL = 2**21  # numbers of a training set below which threads cost more than they bring
_SEEDS = 20  # shuffles tried until every fold can be trained


@dataclass(frozen=True)
class TokenClassifier:
    """A classifier of tokens, the scaling it was trained on, and its C."""

    scaler: Scaler
    linear: Linear
    C: float

    def proba(self, x: np.ndarray) -> np.ndarray:
        """Return probabilities (t × k, float64)."""
        return self.linear.proba(self.scaler.apply(x))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a probe keeps of it, under the names that the probe gives them."""
        return {
            "coef": self.linear.coef,
            "intercept": self.linear.intercept,
            "mean": self.scaler.mean,
            "scale": self.scaler.scale,
        }


def folds(regions: Regions, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return the fold of each region (int64): groups stay together, every class is trained in every fold."""
    n_classes = len(regions.classes)
    groups_per_class = np.array([len(np.unique(regions.groups[regions.codes == c])) for c in range(n_classes)])
    if (groups_per_class < 2).any():
        rare = [name for name, n_groups in zip(regions.classes, groups_per_class, strict=True) if n_groups < 2]
        sizes = np.bincount(regions.codes, minlength=n_classes)
        counts = ", ".join(f"{name!r}: {n}" for name, n in zip(regions.classes, sizes.tolist(), strict=True))
        msg = (
            f"Class {listed(rare)} lies in a single group of regions (regions: {counts}), so it cannot be both trained "
            "and tested. Label regions of it elsewhere (one in two images, cores or patients at least), merge classes, "
            "or name smaller groups with group_key=."
        )
        raise ValueError(msg)
    count = min(n_folds, int(groups_per_class.min()))
    if count < n_folds:
        rarest = regions.classes[int(groups_per_class.argmin())]
        info(f"{count} folds instead of {n_folds}: {rarest!r} is in {count} groups of regions")

    # scikit-learn spreads classes as well as it can, which may leave a fold that nothing trains a class for
    for seed in rng.integers(2**31 - 1, size=_SEEDS).tolist():
        fold_of_region = deal_mixed(regions.groups, regions.codes, count, seed)[regions.groups]
        trained = [regions.codes[fold_of_region != fold] for fold in np.unique(fold_of_region)]
        if all(len(np.unique(codes)) == n_classes for codes in trained):
            return fold_of_region
    msg = (
        f"No {count} folds of whole groups leave every class to train on ({len(np.unique(regions.groups))} groups, "
        f"classes {listed(regions.classes)}). Label the rare classes in more groups, name smaller ones with "
        "group_key=, or lower options=DenseOptions(n_folds=...)."
    )
    raise ValueError(msg)


def comparable(regions: Regions, fold: np.ndarray, seen: np.ndarray) -> bool:
    """Whether the regions seen (flags) test every fold, and train every class for it."""
    n_classes = len(regions.classes)
    inside = [np.unique(regions.codes[seen & (fold != number)]).size == n_classes for number in np.unique(fold)]
    return all(inside) and np.isin(fold, fold[seen]).all()


def fit(
    x_tf: np.ndarray,
    region: np.ndarray,
    regions: Regions,
    *,
    search: CSearch,
    seed: int,
    device: str,
    tell: Callable[[], None],
) -> TokenClassifier:
    """Return the classifier of tokens of some regions.

    C is chosen on held-out groups among them, then all of them train.
    """
    rng = np.random.default_rng(seed)
    codes = regions.codes[region]
    scaler = fit_scaler(x_tf)
    z_tf = scaler.apply(x_tf)

    start: Linear | None = None
    if search.C is not None and np.size(search.C) == 1:
        C = float(np.ravel(search.C)[0])
        tell()
    else:
        judging = _held_out(region, regions, rng)
        trained = ~judging
        if not judging.any():  # one token of each class: nothing can be held out
            judging = trained = np.ones(len(region), bool)
        problem = _problem(z_tf[trained], codes[trained], len(regions.classes), device)
        kwargs: dict[str, Any] = {"C": search.C, "n_trials": search.n_trials, "low": search.low, "high": search.high}
        choice = choose(problem, z_tf[judging], codes[judging], rng=rng, tell=tell, **kwargs)
        C = choice.C
        start = choice.linear

    # the final fit starts where the search ended, and sees the held-out tokens too
    problem = _problem(z_tf, codes, len(regions.classes), device)
    with one_thread() if problem.size < _SMALL else nullcontext():
        return TokenClassifier(scaler, problem.fit(C, start=start), C)


def _problem(x_tf: np.ndarray, codes: np.ndarray, n_classes: int, device: str) -> Problem:
    return Problem(x_tf, codes, n_classes, weight=balanced_weight(codes, n_classes), device=device)


def _held_out(region: np.ndarray, regions: Regions, rng: np.random.Generator) -> np.ndarray:
    """Return which tokens choose C (bool).

    Those of some groups if that leaves every class on both sides, else a fifth of each class. A class of one token is
    trained alone; where every class has one only, nothing is held out.
    """
    present = np.unique(region)
    groups = np.unique(regions.groups[present], return_inverse=True)[1]
    codes = regions.codes[present]

    # whole groups first: tokens of one group resemble each other, and would make any C look good
    n_parts = min(_HELD_OUT, *(len(np.unique(groups[codes == c])) for c in np.unique(codes)))
    if n_parts > 1:
        part = deal_mixed(groups, codes, n_parts, integer(rng))[groups]
        if all(len(np.unique(codes[side])) == len(np.unique(codes)) for side in (part == 0, part != 0)):
            return np.isin(region, present[part == 0])

    held_out = np.zeros(len(region), bool)
    for c in np.unique(codes):
        members = np.flatnonzero(regions.codes[region] == c)
        count = max(len(members) // _HELD_OUT, int(len(members) > 1))
        held_out[rng.permutation(members)[:count]] = True
    return held_out


def evaluate(
    label: str,
    x_tf: np.ndarray,
    region: np.ndarray,
    regions: Regions,
    fold: np.ndarray,
    scored: np.ndarray,
    *,
    positive: int | None,
    search: CSearch,
    seed: int,
    device: str,
    tell: Callable[[], None],
) -> dict[str, pd.DataFrame]:
    """Return `scores`, `per_class` and `regions` of one representation.

    Each fold is predicted by what the others trained. Only the regions `scored` (flags) count for the scores, so that
    representations with tokens of different sizes are compared on the same. `positive` is the class whose own scores
    stand beside the means, if there are two.
    """
    proba = np.full((len(regions), len(regions.classes)), np.nan)
    seen = np.bincount(region, minlength=len(regions)) > 0  # a region may be smaller than a token of the baseline
    rng = np.random.default_rng(seed)

    def score(which: np.ndarray) -> tuple[dict[str, Any], pd.DataFrame]:
        return by_region.scores(regions.codes[which], proba[which], regions.groups[which], rng, positive=positive)

    rows = []
    for number in np.unique(fold).tolist():
        tested = fold[region] == number
        trained = ~tested
        classifier = fit(
            x_tf[trained], region[trained], regions, search=search, seed=seed + number, device=device, tell=tell
        )
        means = by_region.region_means(classifier.proba(x_tf[tested]), region[tested], len(regions))
        in_fold = (fold == number) & seen
        proba[in_fold] = means[in_fold]

        counted = in_fold & scored
        facts = {"fold": str(number), "n_regions": int(counted.sum())}
        facts |= {"n_tokens": int(trained.sum()), "C": classifier.C}
        rows.append(facts | score(counted)[0])

    # once more over the regions of all folds, each predicted by the probe that did not see it
    row, classes = score(scored)
    rows.append({"fold": "all", "n_regions": int(scored.sum()), "n_tokens": len(region), "C": np.nan} | row)
    classes["class"] = [regions.classes[c] for c in classes["class"]]
    frames = {
        "scores": pd.DataFrame(rows),
        "per_class": classes,
        "regions": _predicted(region, regions, fold, proba, scored)[seen],
    }
    for frame in frames.values():
        frame.insert(0, "representation", label)
    return frames


def _predicted(
    region: np.ndarray, regions: Regions, fold: np.ndarray, proba: np.ndarray, scored: np.ndarray
) -> pd.DataFrame:
    """Return one row per region: where it is, what it is, what it was taken for."""
    names = np.array(regions.classes, object)
    n_tokens = np.bincount(region, minlength=len(regions))
    frame = regions.names.assign(fold=fold.astype(str), n_tokens=n_tokens, scored=scored, true=names[regions.codes])
    frame["predicted"] = names[proba.argmax(axis=1)]
    return pd.concat([frame, pd.DataFrame(proba, columns=[f"p_{name}" for name in names])], axis=1)
