"""Principal components read block by block are those of scikit-learn, wherever the features lie."""

from __future__ import annotations

import anndata
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import kronos_sc as ks
from kronos_sc._methods import clustering

WIDE = 1_200  # above what is solved at once


def features(n: int = 1_500, width: int = WIDE, seed: int = 0) -> np.ndarray:
    """Features with a falling spectrum, far from zero."""
    rng = np.random.default_rng(seed)
    sizes = 1 / np.arange(1, width + 1)
    mixed = (rng.normal(size=(n, width)) * sizes) @ np.linalg.qr(rng.normal(size=(width, width)))[0]
    return (mixed * rng.uniform(0.5, 3, width) + rng.normal(size=width) * 5).astype(np.float32)


@pytest.fixture(scope="module")
def wide() -> np.ndarray:
    return features()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(clustering, "VALUES_HELD", 400 * WIDE)
    monkeypatch.setattr("kronos_sc._analysis.reduce.VALUES_HELD", 400 * WIDE)


def table(x) -> anndata.AnnData:
    return anndata.AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(x.shape[0])]), obsm={"X_kronos": x})


def like(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Same axes up to their signs."""
    assert found.shape == expected.shape
    cosine = np.abs((found * expected).sum(0)) / np.linalg.norm(found, axis=0) / np.linalg.norm(expected, axis=0)
    assert cosine.min() > 1 - tolerance


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("width", [60, WIDE])
def test_components_are_those_of_scikit_learn(wide, width, scale):
    x = wide[:, :width]
    adata = table(da.from_array(x, chunks=(170, 70)))
    ks.tl.pca(adata, n_comps=12, scale=scale)
    z = StandardScaler().fit_transform(x.astype(np.float64)) if scale else x.astype(np.float64)
    oracle = PCA(12, svd_solver="full").fit(z)
    found = ks.get.result(adata, "kronos_pca")
    np.testing.assert_allclose(found["variance_ratio"], oracle.explained_variance_ratio_, rtol=1e-3)
    # scikit-learn standardises by n, as this package does, and takes variances over n − 1
    np.testing.assert_allclose(found["variance"], oracle.explained_variance_, rtol=1e-3)
    like(adata.obsm["X_kronos_pca"], oracle.transform(z), 1e-3)
    assert adata.obsm["X_kronos_pca"].dtype == np.float32
    assert found["component"].tolist() == list(range(1, 13))


def test_the_record_brings_other_units_to_the_same_axes(wide):
    adata = table(wide)
    ks.tl.pca(adata, n_comps=5, scale=True)
    entry = adata.uns["kronos_pca"]
    np.testing.assert_allclose(
        ((wide - entry["mean"]) / entry["scale"]) @ entry["loadings"], adata.obsm["X_kronos_pca"], atol=1e-4
    )
    np.testing.assert_allclose(entry["loadings"].T @ entry["loadings"], np.eye(5), atol=1e-5)


def test_where_features_lie_makes_no_difference(wide):
    found = []
    for x in (
        wide,
        da.from_array(wide, chunks=(170, -1)),
        da.from_array(wide, chunks=((1, 999, 500), 500)),
        wide.copy(order="F"),
    ):
        adata = table(x)
        ks.tl.pca(adata, n_comps=4)
        found.append(adata.obsm["X_kronos_pca"])
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_order_and_seed_do_not_matter(wide):
    order = np.random.default_rng(3).permutation(len(wide))
    one, two = table(wide), table(wide[order])
    ks.tl.pca(one, n_comps=6)
    ks.tl.pca(two, n_comps=6, rng=9)
    np.testing.assert_allclose(
        one.obsm["X_kronos_pca"][order], two.obsm["X_kronos_pca"], atol=0.02 * one.obsm["X_kronos_pca"][:, 5].std()
    )


def test_units_without_features_stay_without(wide):
    holes = wide.copy()
    holes[::7] = np.nan
    adata, rest = table(da.from_array(holes, chunks=(100, -1))), table(holes[np.isfinite(holes[:, 0])])
    ks.tl.pca(adata, n_comps=3)
    ks.tl.pca(rest, n_comps=3)
    found = adata.obsm["X_kronos_pca"]
    assert np.isnan(found[::7]).all()
    np.testing.assert_array_equal(found[np.isfinite(holes[:, 0])], rest.obsm["X_kronos_pca"])


def test_known_by_hand():
    """Points on a line: one direction holds all variance."""
    t = np.array([-2.0, -1, 0, 1, 2], np.float32)
    adata = table(np.c_[3 * t + 7, 4 * t - 1])
    ks.tl.pca(adata, n_comps=9)
    found = ks.get.result(adata, "kronos_pca")
    np.testing.assert_allclose(found["variance"], [62.5, 0], atol=1e-4)
    np.testing.assert_allclose(found["variance_ratio"], [1, 0], atol=1e-6)
    np.testing.assert_allclose(adata.obsm["X_kronos_pca"][:, 0], 5 * t, atol=1e-5)


def test_few_units_with_many_features(wide):
    adata = table(wide[:9])
    ks.tl.pca(adata)
    like(adata.obsm["X_kronos_pca"], PCA(8).fit_transform(wide[:9].astype(np.float64)), 1e-3)


def test_units_that_span_fewer_directions_than_asked_for():
    rng = np.random.default_rng(0)
    adata = table((rng.normal(size=(200, 2)) @ rng.normal(size=(2, WIDE))).astype(np.float32))
    ks.tl.pca(adata, n_comps=5)
    share = ks.get.result(adata, "kronos_pca")["variance_ratio"]
    np.testing.assert_allclose(share[:2].sum(), 1, atol=1e-5)
    np.testing.assert_allclose(share[2:], 0, atol=1e-5)
    assert adata.obsm["X_kronos_pca"].shape == (200, 5)


def test_units_that_are_all_alike():
    adata = table(np.full((20, WIDE), 3.0, np.float32))
    ks.tl.pca(adata, n_comps=2)
    assert not adata.obsm["X_kronos_pca"].any()
    assert np.isnan(ks.get.result(adata, "kronos_pca")["variance_ratio"]).all()


def test_names_copy_and_round_trip(wide, tmp_path):
    adata = table(wide[:, :40])
    out = ks.tl.pca(adata, n_comps=2, key_added="few", copy=True)
    assert set(adata.obsm) == {"X_kronos"}
    assert set(out.obsm) == {"X_kronos", "X_few"}
    out.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(ks.get.result(back, "few"), ks.get.result(out, "few"))
    np.testing.assert_array_equal(back.uns["few"]["loadings"], out.uns["few"]["loadings"])


def test_components_of_x_lie_where_scanpy_seeks_them_and_replace_none_of_its_own(wide):
    adata = anndata.AnnData(wide[:60, :8])
    for _ in range(2):  # our own are replaced
        ks.tl.pca(adata, use_rep="X", n_comps=3)
    assert set(adata.obsm) == {"X_pca"}
    sc = pytest.importorskip("scanpy")
    theirs = anndata.AnnData(wide[:60, :8])
    sc.pp.pca(theirs, n_comps=3)
    before = theirs.obsm["X_pca"].copy()
    np.testing.assert_allclose(np.abs(adata.obsm["X_pca"]), np.abs(before), rtol=1e-3, atol=1e-3)
    with pytest.raises(
        ValueError, match=r"obsm\['X_pca'\] holds components that tl\.pca did not make.*key_added='markers_pca' say"
    ):
        ks.tl.pca(theirs, use_rep="X", n_comps=3)
    del theirs.uns["pca"]
    with pytest.raises(ValueError, match="did not make"):
        ks.tl.pca(theirs, use_rep="X", n_comps=3)
    np.testing.assert_array_equal(theirs.obsm["X_pca"], before)
    ks.tl.pca(theirs, use_rep="X", n_comps=3, key_added="markers_pca")
    assert set(theirs.obsm) == {"X_pca", "X_markers_pca"}


def test_bad_input_is_named(wide):
    adata = table(wide[:, :10])
    with pytest.raises(ValueError, match=r"key_added='kronos' would replace obsm\['X_kronos'\].*'kronos_pca' say"):
        ks.tl.pca(adata, key_added="kronos")
    with pytest.raises(ValueError, match="n_comps"):
        ks.tl.pca(adata, n_comps=0)
    with pytest.raises(KeyError, match="There is no representation in obsm 'X_other'"):
        ks.tl.pca(adata, use_rep="X_other")
    with pytest.raises(ValueError, match=r"0 of 9 units have features in 'X_kronos'.*tl\.embed"):
        ks.tl.pca(table(np.full((9, 4), np.nan)))


def test_scanpy_takes_over(wide):
    import scanpy as sc

    adata = table(da.from_array(wide[:300], chunks=(170, -1)))
    ks.tl.pca(adata, n_comps=10)
    sc.pp.neighbors(adata, use_rep="X_kronos_pca", transformer="sklearn", method="gauss")
    assert adata.obsp["distances"].shape == (300, 300)
