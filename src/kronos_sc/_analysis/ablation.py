"""A classifier of drawn units, and what it decides where a marker is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._analysis.cv_plan import CVPlan, folds_of
from kronos_sc._analysis.probe import Search, cross_validate
from kronos_sc._core.checks import listed
from kronos_sc._core.representation import Representation
from kronos_sc._core.target import target as target_of
from kronos_sc._methods.logistic import softmax
from kronos_sc._methods.splits import cross_validation
from kronos_sc.models.inference.placement import fit_device
from kronos_sc.models.views.ablation import AblationView, FoldClassifier

if TYPE_CHECKING:
    from kronos_sc import models
    from kronos_sc._embedding.readout import Readout

_GRID = (1e-4, 1e-2, 1.0)  # of C; the best on validation units counts


@dataclass(frozen=True)
class Judged:
    """Classifiers, and the units they judge.

    Parameters
    ----------
    judge
        One per fold, as the view takes them.
    folds
        Fold of each unit (n).
    truth
        Class of each unit (n).
    """

    judge: FoldClassifier
    folds: np.ndarray
    truth: np.ndarray

    def width(self, dropped: int) -> int:
        """Return the number of scores per unit."""
        return (1 + dropped) * self.judge.intercept.size

    def decided(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """Return by unit and marker whether the class changes, what the true class had, and how much its probability falls (n × k)."""
        n, (folds, classes) = len(scores), self.judge.intercept.shape
        own = scores.reshape(n, -1, folds, classes)[np.arange(n), :, self.folds]
        proba = softmax(own.reshape(-1, classes)).reshape(own.shape)
        best, true = proba.argmax(2), proba[np.arange(n), :, self.truth]
        with_all = np.broadcast_to(true[:, :1], true[:, 1:].shape)
        return {
            "changed": (best[:, 1:] != best[:, :1]).astype(np.float64),
            "p_true": with_all,
            "p_fall": with_all - true[:, 1:],
        }


def fit_probe(
    run: Readout, encoder: models.Model, features: str, names: tuple[str, str], draw: np.random.Generator
) -> Judged:
    """Encode the units with all markers, and train one classifier per fold on the others."""
    sample = run.table[run.rows]
    wanted, folds = target_of(sample, names[0]), folds_of(sample, names[1])
    splits = cross_validation(wanted.codes, folds.codes, folds.classes, draw.permutation(len(run.rows)))
    for split in splits:
        trained, tested = (np.unique(wanted.codes[rows]) for rows in (split.train, split.test))
        if len(trained) < 2 or not np.isin(tested, trained).all():
            lacking = [wanted.classes[code] for code in np.setdiff1d(tested, trained)]
            msg = (
                f"Of the {len(run.rows):,} units drawn, those outside fold {split.name!r} hold {len(trained)} classes "
                f"of {names[0]!r}{' and lack ' + listed(lacking) if lacking else ''}, so what the fold needs cannot be "
                "learnt. Draw more with n_units=, set rare classes to missing, or make other folds with "
                "pp.spatial_folds."
            )
            raise ValueError(msg)
    full = run.compute(AblationView(encoder, (), features), {features: encoder.width(features, len(run.used))})[
        features
    ]
    plan = CVPlan(wanted, folds.codes, splits, [rep := Representation("X", full)], np.ones(len(full), bool))
    seeds = draw.integers(2**63, size=len(splits))
    where = fit_device(run.device)
    fitted, _ = cross_validate(
        plan, rep, sizes=[None], search=Search(_GRID, 1), seeds=seeds, device=where, tell=lambda: None
    )
    probes = [fold[0] for fold in fitted]
    coef = np.stack([probe.linear.coef / probe.scaler.scale for probe in probes])
    judge = FoldClassifier(
        coef, np.stack([probe.linear.intercept for probe in probes]), np.stack([probe.scaler.mean for probe in probes])
    )
    return Judged(judge, folds.codes, wanted.codes)
