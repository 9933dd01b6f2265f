"""One representation, one method: what is prepared once, and what is fitted anew in each split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.rng import Seed, integer, start
from kronos_sc._methods.case_logistic import logistic_proba
from kronos_sc._methods.case_options import AttentionMIL, CaseMethod, Composition, Logistic, MeanMLP
from kronos_sc._methods.case_pca import case_sums, fit_reduction, reduced_means
from kronos_sc._methods.cases import case_means, draw_units, projected, projected_blocks, random_directions
from kronos_sc._methods.nearest_case import cluster_shares, nearest_proba

if TYPE_CHECKING:
    from kronos_sc._analysis.cases import Cases
    from kronos_sc._core.representation import Representation
    from kronos_sc._methods.mil import Training

# (training cases, test cases, generator) → probabilities (test × classes)
Predict = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Draws:
    """Random streams of one call; those of a split are the same for every representation and any number of splits.

    Parameters
    ----------
    splits
        One generator per split, for its cases.
    units, directions, clusters
        Seeds of the units drawn, of random directions, and of clusters fitted once.
    fits
        Seed of what is fitted in each split.
    """

    splits: list[np.random.Generator]
    units: int
    directions: int
    clusters: int
    fits: np.ndarray

    @classmethod
    def of(cls, rng: Seed, n_splits: int) -> Draws:
        """Return the streams of a call."""
        cases, once, fits = start(rng).spawn(3)
        seeds = [integer(once) for _ in range(3)]
        return cls(cases.spawn(n_splits), *seeds, fits.integers(2**63 - 1, size=n_splits))

    def fit(self, split: int) -> np.random.Generator:
        """Return the generator of what is fitted in a split."""
        return np.random.default_rng(self.fits[split])


def predictor(rep: Representation, cases: Cases, options: CaseMethod, draws: Draws) -> Predict:
    """Read what the method needs of a representation, and return what fits and predicts one split."""
    if isinstance(options, Composition):
        return _composition(rep, cases, options, draws)
    if isinstance(options, AttentionMIL):
        return _attention(rep, cases, options, draws)
    reduce = _reduced_means(rep, cases, options, draws)
    if isinstance(options, Logistic):
        return lambda train, test, rng: logistic_proba(reduce(train), cases.labels, train, test, c=options.C)
    return _mean_mlp(reduce, cases, options)


def _sample_rows(
    rep: Representation, cases: Cases, options: CaseMethod, draws: Draws
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows of the units drawn and the directions onto which they are projected, if any."""
    rows = draw_units(cases.codes, options.max_per_case, np.random.default_rng(draws.units))
    return rows, random_directions(rep.width, options.max_features, np.random.default_rng(draws.directions))


def _sample(
    rep: Representation, cases: Cases, options: Composition | AttentionMIL, draws: Draws
) -> tuple[np.ndarray, np.ndarray]:
    """Return units (n × features) and their cases."""
    rows, directions = _sample_rows(rep, cases, options, draws)
    return projected(rep, rows, directions), cases.codes[rows]


def _reduced_means(
    rep: Representation, cases: Cases, options: Logistic | MeanMLP, draws: Draws
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what reduces the means of all cases by the PCA of training cases.

    Sums over units are taken here, once for all splits.
    """
    rows, directions = _sample_rows(rep, cases, options, draws)
    means = case_means(rep, cases.codes, len(cases.names)).astype(np.float32)
    if directions is not None:
        means = means @ directions
    sums = case_sums(projected_blocks(rep, rows, directions), cases.codes, near=means)
    return lambda train: reduced_means(means, sums, train, options.n_components)


def _composition(rep: Representation, cases: Cases, options: Composition, draws: Draws) -> Predict:
    units, codes = _sample(rep, cases, options, draws)
    clustering = {name: getattr(options, name) for name in ("n_clusters", "scale", "max_fit", "n_init")}
    share = partial(cluster_shares, units, codes, n_cases=len(cases.names), **clustering)
    # clusters of all cases do not depend on the split, so they are fitted once
    shares_of_all = None
    if options.fit_on == "all":
        shares_of_all = share(fit=np.ones(len(units), bool), rng=np.random.default_rng(draws.clusters))

    def predict(train: np.ndarray, test: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shares = shares_of_all
        if shares is None:
            shares = share(fit=np.isin(codes, train), rng=rng)
        return nearest_proba(shares, cases.labels, train, test, len(cases.classes))

    return predict


def _mean_mlp(reduce: Callable[[np.ndarray], np.ndarray], cases: Cases, options: MeanMLP) -> Predict:
    from kronos_sc._methods.mil import Bags, MeanPool, bag_proba

    rows = [np.array([case]) for case in range(len(cases.names))]
    n_classes = len(cases.classes)
    training = _training(options, None)

    def predict(train: np.ndarray, test: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        units = reduce(train)
        build = partial(MeanPool, units.shape[1], n_classes, hidden=options.hidden, dropout=options.dropout)
        return bag_proba(build, Bags(units, rows, cases.labels), train, test, n_classes, training, rng)

    return predict


def _attention(rep: Representation, cases: Cases, options: AttentionMIL, draws: Draws) -> Predict:
    from kronos_sc._methods.mil import Bags, GatedAttention, bag_proba

    units, codes = _sample(rep, cases, options, draws)
    rows = [np.flatnonzero(codes == case) for case in range(len(cases.names))]
    near = np.stack([units[own].mean(axis=0, dtype=np.float64) for own in rows])
    sums = case_sums([(np.arange(len(units)), units)], codes, near)
    n_classes = len(cases.classes)
    training = _training(options, options.bag_size)
    sizes = {"hidden": options.hidden, "attention": options.attention, "dropout": options.dropout}

    def predict(train: np.ndarray, test: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        reduced = fit_reduction(sums, train, options.n_components).apply(units)
        build = partial(GatedAttention, reduced.shape[1], n_classes, **sizes)
        return bag_proba(build, Bags(reduced, rows, cases.labels), train, test, n_classes, training, rng)

    return predict


def _training(options: MeanMLP | AttentionMIL, bag_size: int | None) -> Training:
    from kronos_sc._methods.mil import Training

    return Training(
        options.epochs,
        options.learning_rate,
        options.weight_decay,
        options.validation,
        bag_size,
        device=options.device or "cpu",
    )
