import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from kronos_sc._methods.case_pca import case_sums, fit_reduction, reduced_means

N_CASES = 12
WIDTH = 30
TRAIN = np.array([0, 2, 3, 5, 6, 8, 9, 11])


def means_of(x, codes):
    return np.stack([x[codes == case].mean(axis=0, dtype=np.float64) for case in range(N_CASES)])


def sums_of(x, codes, near=None, step=1000):
    blocks = ((np.arange(i, min(i + step, len(x))), x[i : i + step]) for i in range(0, len(x), step))
    return case_sums(blocks, codes, means_of(x, codes) if near is None else near)


@pytest.fixture
def units():
    """Units of cases of unequal size, out of order.

    Far from zero, with spreads that fall off, so that components are well apart.
    """
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.repeat(np.arange(N_CASES), np.arange(20, 20 + N_CASES)))
    basis = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0] * 1.4 ** -np.arange(WIDTH)
    x = rng.normal(size=(len(codes), WIDTH)) @ basis.T + 0.3 * (rng.normal(size=(N_CASES, WIDTH)) @ basis.T)[codes]
    return (x * rng.gamma(2.0, size=WIDTH) + 50).astype(np.float32), codes


def test_it_is_scaling_and_pca_of_scikit_learn_on_units_of_training_cases(units):
    x, codes = units
    found = fit_reduction(sums_of(x, codes), TRAIN, 6)
    own = x[np.isin(codes, TRAIN)].astype(np.float64)
    scaler = StandardScaler().fit(own)
    pca = PCA(6, svd_solver="full").fit(scaler.transform(own))
    np.testing.assert_allclose(found.scaler.mean, scaler.mean_, rtol=1e-6)
    np.testing.assert_allclose(found.scaler.scale, scaler.scale_, rtol=1e-4)
    np.testing.assert_allclose(np.abs((found.components * pca.components_).sum(axis=1)), 1, atol=1e-4)
    assert found.scale == pytest.approx(np.sqrt(pca.explained_variance_.mean()), rel=1e-2)


def test_means_are_projected_and_training_cases_brought_to_one_variance(units):
    x, codes = units
    reduced = reduced_means(means_of(x, codes), sums_of(x, codes), TRAIN, 6)
    fitted = fit_reduction(sums_of(x, codes), TRAIN, 6)
    by_unit = means_of(fitted.apply(x), codes)  # mean and projection commute
    np.testing.assert_allclose(reduced / reduced.std(), by_unit / by_unit.std(), atol=1e-4)
    assert reduced[TRAIN].var(axis=0).mean() == pytest.approx(1, rel=1e-5)


def test_units_limit_the_components_not_cases(units):
    x, codes = units
    assert fit_reduction(sums_of(x, codes), TRAIN, 64).components.shape == (WIDTH, WIDTH)
    assert fit_reduction(sums_of(x, codes), TRAIN, 20).components.shape == (20, WIDTH)  # from 8 cases
    alone = np.arange(N_CASES)
    assert fit_reduction(sums_of(x[:N_CASES], alone), TRAIN, 64).components.shape == (7, WIDTH)  # from 8 units


def test_other_cases_change_nothing(units):
    """The units of all other cases become noise; the fit and the training cases stay as they were, bit for bit."""
    x, codes = units
    other = ~np.isin(codes, TRAIN)
    noise = x.copy()
    noise[other] = np.random.default_rng(9).normal(size=(other.sum(), WIDTH)) * 1e3
    one, two = (fit_reduction(sums_of(v, codes), TRAIN, 6) for v in (x, noise))
    np.testing.assert_array_equal(one.components, two.components)
    np.testing.assert_array_equal(one.scaler.scale, two.scaler.scale)
    np.testing.assert_array_equal(
        *(reduced_means(means_of(v, codes), sums_of(v, codes), TRAIN, 6)[TRAIN] for v in (x, noise))
    )


def test_blocks_and_the_place_deviations_are_taken_from_change_nothing(units):
    x, codes = units
    whole = sums_of(x, codes)
    for other in (sums_of(x, codes, step=7), sums_of(x, codes, near=means_of(x, codes) + 0.5)):
        assert np.array_equal(other.sizes, whole.sizes)
        np.testing.assert_allclose(other.means, whole.means, rtol=1e-6)
        np.testing.assert_allclose(other.scatters, whole.scatters, atol=2e-3 * np.abs(whole.scatters).max())


def test_distances_between_cases_survive_when_all_components_are_kept(units):
    """Components brought to a variance of one each would not keep them."""
    x, codes = units
    reduced = reduced_means(means_of(x, codes), sums_of(x, codes), TRAIN, WIDTH)
    scaler = StandardScaler().fit(x[np.isin(codes, TRAIN)])
    ratio = pdist(reduced) / pdist(scaler.transform(means_of(x, codes)))
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=2e-3)


def test_constant_units_are_no_error():
    x = np.full((24, 4), 7.3, np.float32)
    codes = np.repeat(np.arange(N_CASES), 2)
    np.testing.assert_allclose(reduced_means(means_of(x, codes), sums_of(x, codes), TRAIN, 3), 0, atol=1e-5)
