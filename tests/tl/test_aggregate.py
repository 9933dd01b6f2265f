import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad, read_zarr

from kronos_sc import tl


@pytest.fixture
def cells():
    """Twelve cells of three donors, out of order; one cell has no donor."""
    rng = np.random.default_rng(0)
    donor = np.array(["b", "a", "c", "a", "b", "c", "a", "a", "b", "c", "c", None], dtype=object)
    group = pd.Series(donor).map({"a": "sick", "b": "well", "c": "well"})
    obs = pd.DataFrame(
        {
            "donor": pd.Categorical(donor),
            "group": pd.Categorical(group, categories=["well", "sick", "other"]),
            "age": pd.Series(donor).map({"a": 60.0, "b": 50.0, "c": np.nan}).to_numpy(),
            "type": pd.Categorical(["T", "B"] * 6),
            "area": rng.random(12),
        },
        index=[f"cell_{i}" for i in range(12)],
    )
    x = rng.random((12, 3), dtype=np.float32)
    adata = AnnData(
        x,
        obs=obs,
        var=pd.DataFrame(index=["CD3", "CD8", "DAPI"]),
        obsm={"X_kronos": rng.random((12, 4), dtype=np.float32)},
    )
    adata.uns["group_colors"] = ["#000000", "#ffffff", "#ff0000"]
    return adata


def test_means_are_those_of_pandas(cells):
    out = tl.aggregate(cells, "donor", use_rep="X")
    expected = pd.DataFrame(cells.X).groupby(cells.obs["donor"].to_numpy()).mean()
    np.testing.assert_allclose(out.X, expected, rtol=1e-6)
    assert list(out.obs_names) == ["a", "b", "c"]
    assert list(out.var_names) == ["CD3", "CD8", "DAPI"]
    assert out.obs["n_units"].tolist() == [4, 3, 4]
    assert out.X.dtype == np.float32


def test_only_what_holds_for_a_whole_case_is_carried(cells):
    out = tl.aggregate(cells, "donor")
    assert list(out.obs.columns) == ["donor", "group", "age", "n_units"]
    assert out.obs["group"].tolist() == ["sick", "well", "well"]
    assert list(out.obs["group"].cat.categories) == ["well", "sick", "other"]
    assert list(out.uns["group_colors"]) == ["#000000", "#ffffff", "#ff0000"]
    assert np.isnan(out.obs["age"].iloc[2])
    assert list(tl.aggregate(cells, "donor", obs_keys=["age"]).obs.columns) == ["donor", "age", "n_units"]
    assert list(tl.aggregate(cells, "donor", obs_keys=[]).obs.columns) == ["donor", "n_units"]


@pytest.mark.parametrize("obs_keys", [None, ["n_units", "age"]])
def test_a_column_that_is_called_like_the_count_gives_way(cells, obs_keys):
    cells.obs["n_units"] = 7
    out = tl.aggregate(cells, "donor", obs_keys=obs_keys)
    assert out.obs.columns.is_unique
    assert out.obs["n_units"].tolist() == [4, 3, 4]


def test_moments_stand_side_by_side(cells):
    out = tl.aggregate(cells, "donor", how="moments")
    groups = pd.DataFrame(cells.obsm["X_kronos"].astype(float)).groupby(cells.obs["donor"].to_numpy())
    np.testing.assert_allclose(out.X, np.hstack([groups.mean(), groups.std(ddof=0)]), rtol=1e-5)
    assert list(out.var_names) == [*(f"kronos_{i}_mean" for i in range(4)), *(f"kronos_{i}_std" for i in range(4))]


def test_composition_is_a_cross_table(cells):
    out = tl.aggregate(cells, "donor", how="composition", cluster_key="type")
    expected = pd.crosstab(cells.obs["donor"], cells.obs["type"], normalize="index")
    np.testing.assert_allclose(out.X, expected, rtol=1e-6)
    assert list(out.var_names) == ["B", "T"]


def test_features_are_named_by_marker(make):
    sdata = make(shape=(60, 60), channels=("DAPI", "CD8"))
    tl.embed(sdata, model="mean-marker")
    table = sdata["table"]
    table.obs["case"] = np.where(np.arange(table.n_obs) % 2, "odd", "even")
    assert list(tl.aggregate(table, "case", use_rep="X_mean_marker").var_names) == ["DAPI", "CD8"]
    table.obsm["X_mean_marker"] = np.repeat(
        table.obsm["X_mean_marker"], 3, axis=1
    )  # as a network with three features per marker
    var = tl.aggregate(table, "case", use_rep="X_mean_marker").var
    assert list(var.index) == ["DAPI_0", "DAPI_1", "DAPI_2", "CD8_0", "CD8_1", "CD8_2"]
    assert var["marker"].tolist() == ["DAPI"] * 3 + ["CD8"] * 3


def test_a_frame_keeps_its_columns(cells):
    cells.obsm["X_scores"] = pd.DataFrame(np.ones((12, 2)), index=cells.obs_names, columns=["one", "two"])
    assert list(tl.aggregate(cells, "donor", use_rep="X_scores").var_names) == ["one", "two"]


def test_components_are_those_of_scikit_learn(cells):
    from sklearn.decomposition import PCA

    out = tl.aggregate(cells, "donor", n_components=5)  # three cases have two
    pca = PCA(2, svd_solver="full").fit(out.X)
    np.testing.assert_allclose(np.abs(out.obsm["X_pca"]), np.abs(pca.transform(out.X)), atol=1e-5)
    np.testing.assert_allclose(out.uns["pca"]["variance_ratio"], pca.explained_variance_ratio_, rtol=1e-4)
    assert "X_pca" not in tl.aggregate(cells, "donor", n_components=None).obsm


def test_the_order_of_units_and_laziness_change_nothing(cells):
    whole = tl.aggregate(cells, "donor", how="moments")
    shuffled = cells[np.random.default_rng(1).permutation(12)].copy()
    shuffled.obsm["X_kronos"] = da.from_array(shuffled.obsm["X_kronos"], chunks=(5, 4))
    np.testing.assert_allclose(tl.aggregate(shuffled, "donor", how="moments").X, whole.X, rtol=1e-5)


def test_units_with_nan_are_left_out(cells):
    cells.obsm["X_kronos"][[1, 2]] = np.nan
    with pytest.warns(UserWarning, match=r"2 of 12 units have NaN in 'X_kronos'"):
        out = tl.aggregate(cells, "donor")
    assert out.obs["n_units"].tolist() == [3, 3, 3]
    cells.obsm["X_kronos"][(cells.obs["donor"] == "c").to_numpy()] = np.nan
    with (
        pytest.warns(UserWarning, match="5 of 12 units have NaN"),
        pytest.warns(UserWarning, match=r"1 of 3 cases have no unit with a value and are left out \('c'\)"),
    ):
        out = tl.aggregate(cells, "donor")
    assert list(out.obs_names) == ["a", "b"]
    assert list(out.obs["group"]) == ["sick", "well"]


def test_the_table_is_not_touched(cells):
    before = cells.copy()
    tl.aggregate(cells, "donor")
    assert cells.obs.equals(before.obs)
    assert set(cells.uns) == set(before.uns)
    assert set(cells.obsm) == set(before.obsm)


def test_round_trip(cells, tmp_path):
    out = tl.aggregate(cells, "donor")
    out.write_h5ad(tmp_path / "cases.h5ad")
    out.write_zarr(tmp_path / "cases.zarr")
    for back in (read_h5ad(tmp_path / "cases.h5ad"), read_zarr(tmp_path / "cases.zarr")):
        np.testing.assert_array_equal(back.X, out.X)
        assert back.uns["aggregate"]["how"] == "mean"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"case_key": "patient"}, KeyError, "no column in obs 'patient'.*case_key="),
        ({"use_rep": "X_none"}, KeyError, "no representation in obsm 'X_none'"),
        ({"how": "median"}, ValueError, "how='median' is not a choice"),
        ({"how": "composition"}, ValueError, "cluster_key="),
        (
            {"obs_keys": ["area"]},
            ValueError,
            r"obs\['area'\] differs within 3 of 3 cases.*'group', 'age'|obs\['area'\] differs within 3",
        ),
        ({"obs_keys": ["sex"]}, KeyError, "obs has no column 'sex'"),
        ({"n_components": 0}, ValueError, "n_components must be a whole number"),
    ],
)
def test_error(cells, arguments, error, message):
    with pytest.raises(error, match=message):
        tl.aggregate(cells, **({"case_key": "donor"} | arguments))


def test_a_spatialdata_is_pointed_to_its_table(make):
    with pytest.raises(TypeError, match=r"pass one, as in sdata\['table'\]"):
        tl.aggregate(make(shape=(60, 60)), "donor")


def test_no_unit_is_left(cells):
    cells.obsm["X_kronos"][:] = np.nan
    with pytest.raises(ValueError, match="No unit has a case"), pytest.warns(UserWarning, match="have NaN"):
        tl.aggregate(cells, "donor")
