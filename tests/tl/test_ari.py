import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from kronos_sc import get, tl


@pytest.fixture
def cells():
    """Three types in four folds: an embedding that knows them, a baseline that does not."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    x = (rng.normal(size=(3, 8))[truth] * 4 + rng.normal(size=(400, 8))).astype(np.float32)
    obs = pd.DataFrame(
        {
            "type": pd.Categorical(np.array(["B", "T", "tumour"])[truth]),
            "fold": pd.Categorical((np.arange(400) % 4).astype(str)),
        }
    )
    obs.index = obs.index.astype(str)
    return AnnData(X=rng.random((400, 5), dtype=np.float32), obs=obs, obsm={"X_kronos": x})


def test_a_good_embedding_and_a_blind_one(cells):
    tl.ari(cells, "type", use_rep="X_kronos")
    scores = get.result(cells, "type_ari").set_index("representation")
    assert list(scores.index) == ["kronos", "X"]  # the baseline stands beside it
    assert scores.loc["kronos", "ari"] > 0.98
    assert scores.loc["kronos", "nmi"] > 0.98
    assert scores.loc["kronos", "silhouette"] > 0.3
    assert abs(scores.loc["X", "ari"]) < 0.05
    assert scores["fold"].tolist() == ["all", "all"]
    assert scores["n_clusters"].tolist() == [3, 3]


def test_scores_are_those_of_scikit_learn(cells):
    tl.ari(cells, "type", use_rep="X_kronos", n_clusters=5, fold_key="fold")
    scores = get.result(cells, "type_ari")
    for fold in "0123":
        here = (cells.obs["fold"] == fold).to_numpy()
        x, types = cells.obsm["X_kronos"][here], cells.obs["type"][here]
        row = scores[(scores["fold"] == fold) & (scores["representation"] == "kronos")].iloc[0]
        assert row["silhouette"] == pytest.approx(silhouette_score(x, types), rel=1e-5)
        theirs = [adjusted_rand_score(types, KMeans(5, n_init=10, random_state=s).fit_predict(x)) for s in range(3)]
        assert min(theirs) - 0.1 < row["ari"] < max(theirs) + 0.1
    summary = get.result(cells, "type_ari", table="summary").set_index(["representation", "metric"])
    own = scores.loc[scores["representation"] == "kronos", "ari"]
    assert summary.loc[("kronos", "ari"), "mean"] == pytest.approx(own.mean())
    assert summary.loc[("kronos", "ari"), "sd"] == pytest.approx(own.std())
    assert summary.loc[("kronos", "ari"), "n"] == 4


def test_folds_count_if_they_are_named(cells):
    tl.ari(cells, "type", use_rep="X_kronos")
    assert get.result(cells, "type_ari")["fold"].unique().tolist() == ["all"]
    assert get.result(cells, "type_ari")["n_units"].unique().tolist() == [400]
    assert cells.uns["type_ari"]["params"]["fold_key"] == ""
    tl.ari(cells, "type", use_rep="X_kronos", fold_key="fold")
    assert sorted(get.result(cells, "type_ari")["fold"].unique()) == ["0", "1", "2", "3"]
    assert get.result(cells, "type_ari")["n_units"].unique().tolist() == [100]
    assert cells.uns["type_ari"]["params"]["fold_key"] == "fold"


def test_shuffled_types_score_by_chance(cells):
    cells.obs["type"] = cells.obs["type"].to_numpy()[np.random.default_rng(1).permutation(400)]
    tl.ari(cells, "type", use_rep="X_kronos")
    assert get.result(cells, "type_ari")["ari"].abs().max() < 0.03


def test_existing_clusters_are_scored_too(cells):
    cells.obs["mine"] = cells.obs["type"].cat.rename_categories({"T": "2", "B": "0", "tumour": "1"})
    cells.obs["some"] = cells.obs["mine"].where(np.arange(400) % 2 == 0)
    tl.ari(cells, "type", use_rep="X", cluster_key=["mine", "some"])
    scores = get.result(cells, "type_ari").set_index("representation")
    assert scores.loc["mine", ["ari", "nmi"]].tolist() == pytest.approx([1, 1])
    assert scores.loc["some", "n_units"] == 200
    assert np.isnan(scores.loc["mine", "silhouette"])


def test_units_without_type_fold_or_numbers_are_left_out(cells):
    cells.obs["mine"] = cells.obs["type"]
    cells.obs.loc["0", "type"] = np.nan
    cells.obs.loc["1", "fold"] = np.nan
    cells.obsm["X_kronos"][:3] = np.nan
    # the first two take no part anyhow
    with pytest.warns(UserWarning, match="1 units have no finite features in .* and are left out"):
        tl.ari(cells, "type", use_rep="X_kronos", fold_key="fold", cluster_key="mine")
    n = get.result(cells, "type_ari").groupby("representation")["n_units"].sum()
    assert n.to_dict() == {"kronos": 397, "X": 397, "mine": 397}
    with pytest.warns(UserWarning, match="2 units have no finite features"):
        tl.ari(cells, "type", use_rep="X_kronos")
    whole = get.result(cells, "type_ari")
    assert whole["n_units"].tolist() == [397, 397]
    alone = tl.ari(cells[3:].copy(), "type", use_rep="X_kronos", copy=True)
    pd.testing.assert_frame_equal(whole, get.result(alone, "type_ari"))


def test_the_silhouette_may_look_at_a_sample(cells):
    tl.ari(cells, "type", use_rep="X_kronos")
    whole = get.result(cells, "type_ari").set_index("representation").loc["kronos", "silhouette"]
    tl.ari(cells, "type", use_rep="X_kronos", max_units=150)
    sampled = get.result(cells, "type_ari").set_index("representation").loc["kronos", "silhouette"]
    assert sampled != whole
    assert sampled == pytest.approx(whole, abs=0.05)


def test_where_the_rows_lie_does_not_matter(cells):
    cells.obsm["X_lazy"] = da.from_array(cells.obsm["X_kronos"], chunks=(96, 8))
    tl.ari(cells, "type", use_rep=["X_kronos", "X_lazy"], method="minibatch")
    scores = get.result(cells, "type_ari")
    one, two = (
        scores.loc[scores["representation"] == name, ["ari", "nmi", "silhouette"]].to_numpy()
        for name in ("kronos", "lazy")
    )
    np.testing.assert_allclose(one, two)


def test_a_copy_and_a_file(cells, tmp_path):
    new = tl.ari(cells, "type", use_rep="X", key_added="zero_shot", copy=True)
    assert not cells.uns
    new.write_h5ad(tmp_path / "cells.h5ad")
    pd.testing.assert_frame_equal(
        get.result(read_h5ad(tmp_path / "cells.h5ad"), "zero_shot"), get.result(new, "zero_shot")
    )


@pytest.mark.parametrize(
    ("target", "how", "error", "message"),
    [
        ("tpye", {}, KeyError, "Did you mean 'type'"),
        ("type", {"method": "leiden"}, ValueError, "cluster_key="),
        (
            "type",
            {"fold_key": "folds"},
            KeyError,
            "no column in obs 'folds'; there are: 'type', 'fold', 'one'. Did you mean 'fold'",
        ),
        ("type", {"cluster_key": "leiden"}, KeyError, "with cluster_key="),
        (
            "type",
            {"n_clusters": 150, "fold_key": "fold"},
            ValueError,
            "Fold '0' has 100 units, too few for 150 clusters",
        ),
        ("type", {"n_clusters": 500}, ValueError, r"obs\['type'\] has 400 units, too few for 500 clusters"),
        ("type", {"max_units": 0}, ValueError, "max_units must be"),
        ("one", {}, ValueError, "at least 2 are needed"),
    ],
)
def test_bad_input_is_named_and_nothing_changes(cells, target, how, error, message):
    cells.obs["one"] = "same"
    with pytest.raises(error, match=message):
        tl.ari(cells, target, **{"use_rep": "X"} | how)
    assert not cells.uns


def test_types_outside_all_folds(cells):
    cells.obs["type"] = cells.obs["type"].where(cells.obs["fold"] == "0")
    cells.obs["fold"] = cells.obs["fold"].where(cells.obs["fold"] != "0")
    with pytest.raises(ValueError, match="is in a fold"):
        tl.ari(cells, "type", use_rep="X", fold_key="fold")
