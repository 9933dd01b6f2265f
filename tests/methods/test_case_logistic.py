import numpy as np
from sklearn.linear_model import LogisticRegression

from kronos_sc._methods.case_logistic import logistic_proba

TRAIN = np.arange(20)
TEST = np.arange(20, 30)


def test_it_is_the_balanced_regression_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = (np.arange(30) % 3 == 0).astype(np.int64)
    x = (rng.normal(size=(30, 8)) + 0.8 * labels[:, None]).astype(np.float32)
    found = logistic_proba(x, labels, TRAIN, TEST, c=0.5)
    weights = len(TRAIN) / (2 * np.bincount(labels[TRAIN]))[labels[TRAIN]]
    model = LogisticRegression(C=0.5, max_iter=1000).fit(x[TRAIN].astype(float), labels[TRAIN], sample_weight=weights)
    np.testing.assert_allclose(found, model.predict_proba(x[TEST].astype(float)), atol=1e-4)


def test_constant_vectors_are_no_error():
    proba = logistic_proba(np.zeros((6, 3), np.float32), np.array([0, 1] * 3), np.arange(4), np.arange(4, 6), c=1.0)
    np.testing.assert_allclose(proba, 0.5, atol=1e-6)
