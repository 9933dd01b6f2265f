import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from kronos_sc._methods.case_logistic import fit_reduction, logistic_proba


@pytest.fixture
def vectors():
    """Two groups of cases, many more features than cases."""
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 2
    return (rng.normal(size=(30, 200)) * rng.gamma(1.0, size=200) + 0.4 * labels[:, None]).astype(np.float32), labels


TRAIN, TEST = np.arange(20), np.arange(20, 30)


def test_it_is_scaling_pca_and_regression_of_scikit_learn(vectors):
    x, y = vectors
    found = logistic_proba(x, y, TRAIN, TEST, n_components=8, c=0.5, rng=np.random.default_rng(0))
    scaler = StandardScaler().fit(x[TRAIN].astype(float))
    pca = PCA(8, svd_solver="full").fit(scaler.transform(x[TRAIN]))
    scale = np.sqrt(pca.explained_variance_.mean())
    model = LogisticRegression(C=0.5, class_weight="balanced", max_iter=1000)
    model.fit(pca.transform(scaler.transform(x[TRAIN])) / scale, y[TRAIN])
    np.testing.assert_allclose(found, model.predict_proba(pca.transform(scaler.transform(x[TEST])) / scale), atol=2e-4)


def test_components_are_limited_by_training_cases(vectors):
    x, _ = vectors
    assert fit_reduction(x[TRAIN], 64, np.random.default_rng(0)).components.shape == (19, 200)
    assert fit_reduction(x[:, :5], 64, np.random.default_rng(0)).components.shape == (5, 5)


def test_distances_between_cases_survive_when_all_components_are_kept(vectors):
    """Components brought to a variance of one each would put all training cases at the same distance."""
    from scipy.spatial.distance import pdist

    x, _ = vectors
    reduced = pdist(fit_reduction(x[TRAIN], 64, np.random.default_rng(0)).apply(x[TRAIN]))
    full = pdist(StandardScaler().fit_transform(x[TRAIN]))
    np.testing.assert_allclose(reduced / full, (reduced / full).mean(), rtol=1e-4)
    assert np.ptp(reduced) > 0.1


def test_constant_vectors_are_no_error():
    x = np.ones((6, 4), np.float32)
    proba = logistic_proba(x, np.array([0, 1] * 3), np.arange(4), np.arange(4, 6), n_components=3, c=1.0, rng=np.random.default_rng(0))
    np.testing.assert_allclose(proba, 0.5, atol=1e-6)
