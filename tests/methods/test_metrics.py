"""Scores against scikit-learn's own multi-class functions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from kronos_sc._methods import metrics


@pytest.fixture(scope="module")
def predicted():
    rng = np.random.default_rng(0)
    true = rng.choice(4, 500, p=[0.1, 0.2, 0.3, 0.4])
    proba = rng.random((500, 4)) + 1.2 * np.eye(4)[true] * rng.random((500, 1))
    return true, proba / proba.sum(1, keepdims=True)


def test_scores(predicted) -> None:
    true, proba = predicted
    ours = metrics.scores(true, proba)
    guess = proba.argmax(1)
    assert tuple(ours) == metrics.SCORES
    theirs = {
        "balanced_accuracy": sk.balanced_accuracy_score(true, guess),
        "macro_f1": sk.f1_score(true, guess, average="macro"),
        "macro_ap": sk.average_precision_score(np.eye(4)[true], proba, average="macro"),
        "auroc_ovo": sk.roc_auc_score(true, proba, multi_class="ovo", average="macro"),
        "auroc_ovr": sk.roc_auc_score(true, proba, multi_class="ovr", average="macro"),
    }
    assert ours == pytest.approx(theirs)


def test_classes_that_are_not_tested_do_not_count(predicted) -> None:
    true, proba = predicted
    some = true != 2
    ours = metrics.scores(true[some], proba[some])
    recall = [(proba[true == c].argmax(1) == c).mean() for c in (0, 1, 3)]
    assert ours["balanced_accuracy"] == pytest.approx(np.mean(recall))
    assert list(metrics.per_class(true[some], proba[some])["class"]) == [0, 1, 3]
    alone = metrics.scores(true[true == 1], proba[true == 1])
    assert np.isnan([alone["auroc_ovo"], alone["auroc_ovr"]]).all()
    assert alone["balanced_accuracy"] == pytest.approx(recall[1])


def test_per_class_and_confusion_by_hand() -> None:
    true = np.array([0, 0, 1, 1])
    proba = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    table = metrics.per_class(true, proba)
    assert table["precision"].tolist() == [1.0, pytest.approx(2 / 3)]
    assert table["recall"].tolist() == [0.5, 1.0]
    assert table["n_test"].tolist() == [2, 2]
    assert metrics.confusion(true, proba.argmax(1), 2).tolist() == [[1, 1], [0, 2]]
