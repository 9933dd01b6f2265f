"""A classifier of drawn units, and what it predicts where a marker is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._analysis.cv_plan import CVPlan, folds_of
from kronos_sc._analysis.probe import CSearch, cross_validate
from kronos_sc._core.checks import listed
from kronos_sc._core.representation import Representation
from kronos_sc._core.target import target as target_of
from kronos_sc._methods.logistic import softmax
from kronos_sc._methods.splits import cross_validation
from kronos_sc.models.inference.placement import fit_device
from kronos_sc.models.views.ablation import AblationView, FoldClassifier

if TYPE_CHECKING:
    from kronos_sc import models
    from kronos_sc._core.target import ClassColumn
    from kronos_sc._embedding.readout import Readout
    from kronos_sc._methods.splits import Split

_GRID = (1e-4, 1e-2, 1.0)  # of C; the best on validation units counts


@dataclass(frozen=True)
class AblationProbe:
    """Classifiers, and the units that they predict.

    Parameters
    ----------
    classifier
        One per fold, as the view takes them.
    folds
        Fold of each unit (n).
    truth
        Class of each unit (n).
    """

    classifier: FoldClassifier
    folds: np.ndarray
    truth: np.ndarray

    def width(self, dropped: int) -> int:
        """Return the number of scores per unit."""
        return (1 + dropped) * self.classifier.intercept.size

    def compare(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """Return what changes without each marker, by unit and marker (n × k).

        Whether the predicted class changes, what probability the true class had, and how much that falls.
        """
        units = np.arange(len(scores))
        folds, classes = self.classifier.intercept.shape
        # of the classifiers of all folds only the one that did not see the unit counts
        own = scores.reshape(len(scores), -1, folds, classes)[units, :, self.folds]
        proba = softmax(own.reshape(-1, classes)).reshape(own.shape)
        best = proba.argmax(2)
        true = proba[units, :, self.truth]
        with_all = np.broadcast_to(true[:, :1], true[:, 1:].shape)
        return {
            "changed": (best[:, 1:] != best[:, :1]).astype(np.float64),
            "p_true": with_all,
            "p_fall": with_all - true[:, 1:],
        }


def fit_probe(
    run: Readout, encoder: models.Model, features: str, names: tuple[str, str], rng: np.random.Generator
) -> AblationProbe:
    """Encode the units with all markers, and train one classifier per fold on the others."""
    sample = run.table[run.rows]
    target = target_of(sample, names[0])
    folds = folds_of(sample, names[1])
    splits = cross_validation(target.codes, folds.codes, folds.classes, rng.permutation(len(run.rows)))
    for split in splits:
        _require_learnable(split, target, names[0])

    view = AblationView(encoder, (), features)
    x = run.compute(view, {features: encoder.width(features, len(run.used))})[features]
    rep = Representation("X", x)
    plan = CVPlan(target, folds.codes, splits, [rep], np.ones(len(x), bool))
    seeds = rng.integers(2**63, size=len(splits))
    device = fit_device(run.device)
    fitted, _ = cross_validate(
        plan, rep, sizes=[None], search=CSearch(_GRID, 1), seeds=seeds, device=device, tell=lambda: None
    )
    probes = [fold[0] for fold in fitted]

    # weights of raw features: the view has no scaler, and takes a dropped marker at its mean in training
    classifier = FoldClassifier(
        coef=np.stack([probe.linear.coef / probe.scaler.scale for probe in probes]),
        intercept=np.stack([probe.linear.intercept for probe in probes]),
        mean=np.stack([probe.scaler.mean for probe in probes]),
    )
    return AblationProbe(classifier, folds.codes, target.codes)


def _require_learnable(split: Split, target: ClassColumn, name: str) -> None:
    """Raise a ValueError unless a fold's training units hold two classes, and all of those that it tests."""
    trained = np.unique(target.codes[split.train])
    tested = np.unique(target.codes[split.test])
    if len(trained) >= 2 and np.isin(tested, trained).all():
        return
    missing = [target.classes[code] for code in np.setdiff1d(tested, trained)]
    lacking = f" and lack {listed(missing)}" if missing else ""
    msg = (
        f"Of the {len(target.codes):,} units drawn, those outside fold {split.name!r} hold {len(trained)} classes of "
        f"{name!r}{lacking}, so what the fold needs cannot be learnt. Draw more with n_units=, set rare classes to "
        "missing, or make other folds with pp.spatial_folds."
    )
    raise ValueError(msg)
