"""The paper's pairwise batch protocol."""

from itertools import combinations

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, silhouette_score

import kronos_sc as ks

CONDITIONS = ["warm", "cold", "long"]


@pytest.fixture
def table():
    """Three conditions: the embedding hardly tells them apart, mean marker expression does."""
    rng = np.random.default_rng(0)
    n = 150
    condition = rng.permutation(np.repeat([0, 1, 2], n // 3))
    factors = rng.standard_normal((n, 4)) * [3, 2, 1, 1]
    shift = np.array([[0, 0, 0, 0], [1, -1, 0, 2], [-4, 3, 2, 0]])
    embedding = (factors + 0.3 * shift[condition]) @ rng.standard_normal((4, 30)) + 0.3 * rng.standard_normal((n, 30))
    marker = (factors + 2 * shift[condition]) @ rng.standard_normal((4, 6))
    obs = pd.DataFrame(
        {"condition": pd.Categorical.from_codes(condition, CONDITIONS)}, index=[f"p{i}" for i in range(n)]
    )
    return anndata.AnnData(
        obs=obs, obsm={"X_kronos": embedding.astype(np.float32), "X_mean_marker": marker.astype(np.float32)}
    )


def scores(table, key="condition_silhouette"):
    return ks.get.result(table, key).set_index(["representation", "batch_a", "batch_b"])


def test_it_agrees_with_the_plain_loop(table):
    assert ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos") is None
    found = scores(table)
    assert list(found.index) == [
        (rep, *pair) for rep in ("kronos", "mean_marker") for pair in combinations(CONDITIONS, 2)
    ]
    for rep in ("kronos", "mean_marker"):
        for a, b in combinations(CONDITIONS, 2):
            here = table.obs["condition"].isin([a, b]).to_numpy()
            x, label = table.obsm[f"X_{rep}"][here], table.obs["condition"].to_numpy()[here]
            exact = PCA(2, svd_solver="full").fit(x)
            line = found.loc[(rep, a, b)]
            assert line["silhouette"] == pytest.approx(silhouette_score(exact.transform(x), label), abs=1e-4)
            assert line["ari"] == pytest.approx(
                adjusted_rand_score(label, KMeans(2, n_init=10, random_state=0).fit(x).labels_), abs=0.05
            )
            np.testing.assert_allclose(line[["pc1", "pc2"]].astype(float), exact.explained_variance_ratio_, rtol=1e-3)
            assert line["n_a"] == line["n_b"] == 50


def test_summary_is_over_pairs_and_higher_where_conditions_lie_apart(table):
    ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos")
    summary = ks.get.result(table, "condition_silhouette", table="summary").set_index(["representation", "metric"])
    every = scores(table)["silhouette"]
    assert summary.loc[("kronos", "silhouette"), "mean"] == pytest.approx(every["kronos"].mean())
    assert summary.loc[("kronos", "silhouette"), "sd"] == pytest.approx(every["kronos"].std(ddof=1))
    assert summary.loc[("kronos", "silhouette"), "n"] == 3
    assert summary.loc[("mean_marker", "silhouette"), "mean"] > 0.2 + summary.loc[("kronos", "silhouette"), "mean"]


def test_shuffled_conditions_are_mixed(table):
    table.obs["condition"] = np.random.default_rng(1).permutation(table.obs["condition"].to_numpy().astype(str))
    ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos")
    assert scores(table)["silhouette"].abs().max() < 0.03
    assert scores(table)["ari"].abs().max() < 0.1


def test_order_of_units_and_company_do_not_matter(table):
    ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos")
    shuffled = table[np.random.default_rng(2).permutation(table.n_obs)].copy()
    ks.tl.batch_silhouette(shuffled, "condition", use_rep=["X_mean_marker", "X_kronos"])
    one, two = scores(table), scores(shuffled).loc[scores(table).index]
    pd.testing.assert_frame_equal(one.drop(columns="ari"), two.drop(columns="ari"), atol=1e-5)
    np.testing.assert_allclose(one["ari"], two["ari"], atol=0.01)  # k-means starts from other rows


def _few(table, rng):
    return ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos", max_per_batch=20, rng=rng, copy=True)


def test_the_same_seed_gives_the_same(table):
    one, two, other = (_few(table, rng) for rng in (3, 3, 4))
    pd.testing.assert_frame_equal(scores(one), scores(two))
    assert not scores(one)["silhouette"].equals(scores(other)["silhouette"])
    assert (scores(one)[["n_a", "n_b"]] == 20).all(axis=None)
    assert ks.get.result(one, "condition_silhouette", table="coordinates")["unit"].nunique() <= 60
    assert "condition_silhouette" not in table.uns


def test_missing_conditions_and_values_are_left_out(table, caplog):
    caplog.set_level("INFO", "kronos_sc")
    table.obs.loc[table.obs_names[:5], "condition"] = np.nan
    table.obsm["X_kronos"][10:14] = np.nan
    with pytest.warns(UserWarning, match="4 units have no finite features"):
        ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos")
    assert "5 of 150 units have no 'condition'" in caplog.text
    kept = table[np.isfinite(table.obsm["X_kronos"]).all(axis=1) & table.obs["condition"].notna()].copy()
    before = scores(table)
    ks.tl.batch_silhouette(kept, "condition", use_rep="X_kronos")
    pd.testing.assert_frame_equal(before, scores(kept))


def test_coordinates_are_those_of_the_lowest_middle_and_highest_pair(table):
    ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos")
    points = ks.get.result(table, "condition_silhouette", table="coordinates")
    assert list(points.columns) == ["representation", "batch_a", "batch_b", "unit", "batch", "pc1", "pc2"]
    assert len(points) == 2 * 3 * 100
    assert (table.obs["condition"].astype(str)[points["unit"]].to_numpy() == points["batch"].to_numpy()).all()
    for (rep, a, b), here in points.groupby(["representation", "batch_a", "batch_b"]):
        assert silhouette_score(here[["pc1", "pc2"]], here["batch"]) == pytest.approx(
            scores(table).loc[(rep, a, b), "silhouette"], abs=1e-5
        )


def test_kept_pairs_are_those_named_and_thinned(table, monkeypatch):
    from kronos_sc.tl import _batch_silhouette as module

    monkeypatch.setattr(module, "_SHOWN", 7)
    ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos", keep=[("long", "warm")], n_components=3)
    points = ks.get.result(table, "condition_silhouette", table="coordinates")
    assert set(zip(points["batch_a"], points["batch_b"], strict=True)) == {("warm", "long")}
    assert points.groupby(["representation", "batch"]).size().unique().tolist() == [7]
    assert "pc3" in points
    ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos", keep=[], key_added="bare")
    assert ks.get.result(table, "bare", table="coordinates").empty


@pytest.mark.parametrize("keep", [None, []])
@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_results_survive_a_file(table, tmp_path, form, keep):
    ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos", keep=keep)
    getattr(table, f"write_{form}")(tmp_path / "t")
    back = getattr(anndata, f"read_{form}")(tmp_path / "t")
    for name in ("scores", "summary", "coordinates"):
        pd.testing.assert_frame_equal(
            ks.get.result(table, "condition_silhouette", table=name),
            ks.get.result(back, "condition_silhouette", table=name),
        )


def test_a_lazy_embedding_gives_the_same_and_is_announced(table, caplog):
    import dask.array as da

    caplog.set_level("INFO", "kronos_sc")
    ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos")
    before = scores(table)
    table.obsm["X_kronos"] = da.from_array(table.obsm["X_kronos"], chunks=(31, 30))
    ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos")
    pd.testing.assert_frame_equal(before, scores(table))
    assert "into memory, one condition at a time" in caplog.text


def test_two_conditions_are_one_pair(table):
    pair = table[table.obs["condition"] != "long"].copy()
    ks.tl.batch_silhouette(pair, "condition", use_rep="X_kronos")
    assert len(scores(pair)) == 2
    assert np.isnan(ks.get.result(pair, "condition_silhouette", table="summary")["sd"]).all()


def test_a_constant_representation_is_warned_about(table):
    table.obsm["X_flat"] = np.ones((table.n_obs, 3), np.float32)
    with pytest.warns(UserWarning, match="flat: all units are alike in 3 of 3 pairs"):
        ks.tl.batch_silhouette(table, "condition", use_rep="X_flat")
    assert (scores(table).loc["flat", ["silhouette", "ari"]] == 0).all(axis=None)
    table.obsm["X_kronos"][:, 3] = 7
    ks.tl.batch_silhouette(table, "condition", use_rep="X_kronos")


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"batch_key": "conditions"}, KeyError, "no column in obs 'conditions'.*Did you mean 'condition'.*batch_key="),
        ({"batch_key": "one"}, ValueError, "at least 2 are needed"),
        ({"batch_key": "rare"}, ValueError, r"fewer than 3 units: 'lone \(1\)'.*isin"),
        ({"use_rep": "X_uni"}, KeyError, "no representation in obsm 'X_uni'"),
        ({"n_components": 7}, ValueError, r"fewer features: 'X_mean_marker \(6\)'"),
        ({"n_components": 0}, ValueError, "n_components must be a whole number of at least 1"),
        ({"n_clusters": 1.5}, ValueError, "n_clusters must be a whole number"),
        ({"n_init": 0}, ValueError, "n_init must be a whole number"),
        ({"max_per_batch": 2}, ValueError, "max_per_batch=2 leaves fewer than the 3 units"),
        ({"keep": [("warm", "hot")]}, KeyError, "keep names 'hot'.*it has 'warm', 'cold', 'long'"),
        ({"keep": ["warm"]}, ValueError, "keep has 'warm'; pairs of two different conditions"),
    ],
)
def test_error(table, how, error, message):
    table.obs["one"] = "same"
    table.obs["rare"] = ["lone", *["many"] * (table.n_obs - 1)]
    with pytest.raises(error, match=message):
        ks.tl.batch_silhouette(table, how.pop("batch_key", "condition"), **{"use_rep": "X_kronos"} | how)
    assert not table.uns


def test_not_a_table():
    with pytest.raises(TypeError, match="Expected an AnnData, got ndarray"):
        ks.tl.batch_silhouette(np.ones((3, 3)), "condition")
