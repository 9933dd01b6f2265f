import numpy as np
import pytest

from kronos_sc._methods.case_scores import auroc, case_scores
from kronos_sc._methods.metrics import scores


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("digits", [1, 8])
def test_scores_are_those_of_scikit_learn(n_classes, digits):
    rng = np.random.default_rng(n_classes)
    for _ in range(20):
        true = rng.permutation(np.append(np.arange(2), rng.integers(0, n_classes, 7)))  # two classes at least
        proba = rng.dirichlet(np.ones(n_classes), 9).round(digits)  # with ties, or none
        wanted = scores(true, proba)
        found = case_scores(true, proba)
        assert found["auroc"] == pytest.approx(wanted["auroc_ovr"])
        assert found["balanced_accuracy"] == pytest.approx(wanted["balanced_accuracy"])
        assert found["macro_f1"] == pytest.approx(wanted["macro_f1"])


def test_by_hand():
    assert auroc(np.array([True, True, False]), np.array([0.9, 0.4, 0.4])) == 0.75
    found = case_scores(np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]]))
    assert np.isnan(found["auroc"])
    assert found["balanced_accuracy"] == 0.5
