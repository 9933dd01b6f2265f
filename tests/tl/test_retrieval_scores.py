"""Scores of a search against the protocol written plainly with scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad, read_zarr

import kronos_sc as ks

CLASSES = np.array(["B cell", "Tumor", "Treg"])


@pytest.fixture
def cells() -> AnnData:
    """An embedding that tells classes apart, an X that does not, three folds and a guard band."""
    rng = np.random.default_rng(0)
    codes = rng.choice(3, 240, p=[0.6, 0.3, 0.1])
    fold = pd.Categorical(rng.choice(["0", "1", "2", None], 240, p=[0.3, 0.3, 0.3, 0.1]))
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical(CLASSES[codes]), "fold": fold}, index=[f"cell_{i}" for i in range(240)]
    )
    adata = AnnData(rng.normal(size=(240, 4)).astype(np.float32), obs=obs, var=pd.DataFrame(index=list("abcd")))
    adata.obsm["X_kronos"] = (2 * np.eye(3)[codes] + rng.normal(size=(240, 3))).astype(np.float32)
    shares = rng.dirichlet(np.ones(5), 240)
    adata.obsm["composition"] = pd.DataFrame(shares, index=adata.obs_names, columns=list("vwxyz"))
    return adata


def plain(adata, key, fold, k, *, reference=None):
    """Answers of scikit-learn: rows of the queries and of the k nearest units of other folds."""
    from sklearn.neighbors import NearestNeighbors

    x = np.asarray(adata.X if key == "X" else adata.obsm[key], float)
    folds = adata.obs["fold"].astype(object)
    query = np.flatnonzero(folds == fold)
    reference = np.flatnonzero(folds.notna() & (folds != fold)) if reference is None else reference
    index = NearestNeighbors(n_neighbors=k).fit(x[reference]).kneighbors(x[query], return_distance=False)
    return query, reference[index]


@pytest.mark.parametrize("key", ["X_kronos", "X"])
def test_cell_retrieval(cells, key):
    ks.tl.retrieval_scores(cells, "cell_type", use_rep="X_kronos")
    scores = ks.get.result(cells, "cell_type_retrieval").set_index(["representation", "fold"])
    types = cells.obs["cell_type"].to_numpy().astype(str)
    for fold in "012":
        query, answers = plain(cells, key, fold, 5)
        right = types[answers] == types[query][:, None]
        row = scores.loc[(key.removeprefix("X_"), fold)]
        assert row["n_query"] == len(query)
        for k in (1, 3, 5):
            assert row[f"accuracy@{k}"] == pytest.approx(right[:, :k].any(axis=1).mean())
            assert row[f"precision@{k}"] == pytest.approx(right[:, :k].mean())
        assert row["map@1"] == pytest.approx(right[:, 0].mean())
    summary = ks.get.result(cells, "cell_type_retrieval", table="summary").set_index(["representation", "metric"])
    assert summary.loc[("kronos", "accuracy@1"), "mean"] > summary.loc[("X", "accuracy@1"), "mean"] + 0.2
    assert summary.loc[("kronos", "accuracy@1"), "mean"] == pytest.approx(scores.loc["kronos", "accuracy@1"].mean())


def test_labels_without_meaning_score_chance(cells):
    types = cells.obs["cell_type"].to_numpy()
    means = []
    for seed in range(5):
        cells.obs["shuffled"] = np.random.default_rng(seed).permutation(types)
        ks.tl.retrieval_scores(cells, "shuffled", use_rep="X_kronos", k=(1, 3))
        means.append(
            ks.get.result(cells, "shuffled_retrieval").groupby("representation").mean(numeric_only=True).loc["kronos"]
        )
    mean = pd.concat(means, axis=1).mean(axis=1)
    assert mean["accuracy@1"] == pytest.approx(mean["chance@1"], abs=0.05)
    assert mean["accuracy@3"] == pytest.approx(mean["chance@3"], abs=0.05)


def test_patch_retrieval(cells):
    shares = cells.obsm["composition"].to_numpy()
    ks.tl.retrieval_scores(cells, use_rep="X_kronos", composition_key="composition", k=(1, 3))
    scores = ks.get.result(cells, "composition_retrieval").set_index(["representation", "fold"])
    assert list(scores.columns) == ["n_reference", "n_query", "rmse@1", "rmse@3"]
    query, answers = plain(cells, "X_kronos", "1", 3)
    error = [
        [100 * np.sqrt(np.mean((shares[q] - shares[a]) ** 2)) for a in row]
        for q, row in zip(query, answers, strict=True)
    ]
    assert scores.loc[("kronos", "1"), "rmse@1"] == pytest.approx(np.mean([row[0] for row in error]))
    assert scores.loc[("kronos", "1"), "rmse@3"] == pytest.approx(np.mean([min(row) for row in error]))


def test_both_at_once_on_units_that_have_both(cells):
    cells.obsm["composition"].iloc[:20] = np.nan
    ks.tl.retrieval_scores(cells, "cell_type", use_rep="X", composition_key="composition", k=2)
    scores = ks.get.result(cells, "cell_type_retrieval")
    assert {"accuracy@2", "rmse@2"} <= set(scores.columns)
    assert scores["n_query"].sum() == cells.obs["fold"][20:].notna().sum()


def test_per_class(cells):
    ks.tl.retrieval_scores(cells, "cell_type", use_rep="X_kronos", k=1)
    table = ks.get.result(cells, "cell_type_retrieval", table="per_class")
    scores = ks.get.result(cells, "cell_type_retrieval")
    one = table[(table["representation"] == "kronos") & (table["fold"] == "0")]
    assert one["class"].tolist() == sorted(CLASSES)
    assert np.average(one["accuracy@1"], weights=one["n_query"]) == pytest.approx(scores["accuracy@1"][0])


def test_balanced_references(cells):
    ks.tl.retrieval_scores(cells, "cell_type", use_rep="X", k=1, max_per_class=9, rng=3)
    scores = ks.get.result(cells, "cell_type_retrieval")
    assert (scores["n_reference"] <= 27).all()
    np.testing.assert_allclose(scores["chance@1"], 1 / 3, atol=0.05)


def test_common_types_are_drawn_and_rare_ones_searched_whole():
    """On a line: eight B far to the right, two T near 0.

    Whichever two B are drawn, each query finds its own type first.
    """
    x = np.array([100, 101, 102, 103, 104, 105, 106, 107, 0, 1, 200, 300, 0.5], np.float32)
    types = ["B"] * 8 + ["T"] * 2 + ["B", "B", "T"]
    obs = pd.DataFrame({"fold": ["a"] * 10 + ["b"] * 3, "type": types}, index=[f"u{i}" for i in range(13)])
    units = AnnData(x[:, None], obs=obs)
    found = {}
    for most in (2, 1000, None):
        ks.tl.retrieval_scores(units, "type", use_rep="X", k=3, max_per_class=most, key_added=f"at_{most}")
        found[most] = ks.get.result(units, f"at_{most}").set_index("fold").loc["b"]
    assert found[2]["n_reference"] == 4
    assert found[2]["precision@3"] == pytest.approx(2 / 3)
    assert found[2]["chance@3"] == 1.0  # three of four, of which two are right
    assert found[None]["n_reference"] == 10
    assert found[None]["precision@3"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert found[None]["chance@3"] == pytest.approx(
        (1 + 1 + (1 - 8 / 10 * 7 / 9 * 6 / 8)) / 3
    )  # two T leave room for three B
    pd.testing.assert_series_equal(found[1000], found[None])


def test_the_units_searched_are_those_a_probe_is_trained_on(cells, monkeypatch):
    from kronos_sc._methods.splits import cross_validation, first_of_each
    from kronos_sc.tl import _retrieval_scores

    codes = pd.Categorical(cells.obs["cell_type"]).codes.astype(np.int64)
    folds = cells.obs["fold"].cat.codes.to_numpy()
    splits = cross_validation(
        np.where(folds >= 0, codes, -1), folds, np.array(list("012")), np.random.default_rng(7).permutation(240)
    )
    nearest, searched = _retrieval_scores.nearest, []
    monkeypatch.setattr(
        _retrieval_scores, "nearest", lambda side, *a, **k: (searched.append(side.rows), nearest(side, *a, **k))[1]
    )
    ks.tl.retrieval_scores(cells, "cell_type", use_rep="X_kronos", k=1, max_per_class=9, rng=7)
    of_the_first, of_the_second = searched[:3], searched[3:]
    for rows, other, split in zip(of_the_first, of_the_second, splits, strict=True):
        np.testing.assert_array_equal(rows, other)
        np.testing.assert_array_equal(rows, np.sort(first_of_each(split.train, codes, 9)))
    assert dict(ks.get.result(cells, "cell_type_retrieval").groupby("fold")["n_reference"].first()) == dict.fromkeys(
        "012", 27
    )
    params = cells.uns["cell_type_retrieval"]["params"]
    assert (params["max_per_class"], params["rng"]) == (9, 7)


def test_the_draw_is_that_of_its_seed(cells):
    def scores(rng):
        table = ks.tl.retrieval_scores(cells, "cell_type", use_rep="X", k=1, max_per_class=9, rng=rng, copy=True)
        return ks.get.result(table, "cell_type_retrieval")

    pd.testing.assert_frame_equal(scores(1), scores(1))
    pd.testing.assert_frame_equal(scores(np.random.default_rng(1)), scores(1))
    assert not scores(1)["accuracy@1"].equals(scores(2)["accuracy@1"])


def test_compositions_alone_are_searched_whole(cells):
    ks.tl.retrieval_scores(cells, use_rep="X", composition_key="composition", k=1)
    scores = ks.get.result(cells, "composition_retrieval")
    folded = cells.obs["fold"].notna().sum()
    assert (scores["n_reference"] + scores["n_query"] == folded).all()
    assert cells.uns["composition_retrieval"]["params"]["max_per_class"] in ("", None)


def test_scale_is_fitted_on_the_units_searched(cells):
    from sklearn.preprocessing import StandardScaler

    cells.X = cells.X * np.array([1, 1, 1, 1000], np.float32)
    ks.tl.retrieval_scores(cells, "cell_type", use_rep="X", k=1, scale=True)
    types, x = cells.obs["cell_type"].to_numpy().astype(str), cells.X
    folds = cells.obs["fold"].astype(object)
    cells.obsm["X_scaled"] = StandardScaler().fit(x[folds.notna() & (folds != "2")]).transform(x)
    query, answers = plain(cells, "X_scaled", "2", 1)
    expected = (types[answers[:, 0]] == types[query]).mean()
    assert ks.get.result(cells, "cell_type_retrieval")["accuracy@1"][2] == pytest.approx(expected)


def test_order_of_units_does_not_matter(cells):
    ks.tl.retrieval_scores(cells, "cell_type", use_rep="X_kronos")
    other = cells[np.random.default_rng(0).permutation(240)].copy()
    ks.tl.retrieval_scores(other, "cell_type", use_rep="X_kronos")
    pd.testing.assert_frame_equal(
        ks.get.result(other, "cell_type_retrieval"), ks.get.result(cells, "cell_type_retrieval")
    )


def test_embeddings_that_lie_elsewhere(cells, monkeypatch):
    import dask.array as da

    ks.tl.retrieval_scores(cells, "cell_type", use_rep="X_kronos", scale=True)
    expected = ks.get.result(cells, "cell_type_retrieval")
    cells.obsm["X_kronos"] = da.from_array(cells.obsm["X_kronos"], chunks=(50, 3))
    monkeypatch.setattr(ks.settings, "block_memory", 4 * 3 * 20)
    ks.tl.retrieval_scores(cells, "cell_type", use_rep="X_kronos", scale=True)
    pd.testing.assert_frame_equal(ks.get.result(cells, "cell_type_retrieval"), expected)


def test_units_with_nan_are_left_out_of_all_representations(cells):
    cells.obsm["X_kronos"][:5] = np.nan
    with pytest.warns(UserWarning, match="units have no finite features in .*'X_kronos'"):
        ks.tl.retrieval_scores(cells, "cell_type", use_rep="X_kronos")
    counts = ks.get.result(cells, "cell_type_retrieval").groupby("representation")["n_query"].sum()
    assert (counts == cells.obs["fold"][5:].notna().sum()).all()


def test_copy_and_files(cells, tmp_path):
    out = ks.tl.retrieval_scores(
        cells, "cell_type", use_rep="X_kronos", composition_key="composition", key_added="search", copy=True
    )
    assert "search" not in cells.uns
    out.write_h5ad(tmp_path / "a.h5ad")
    out.write_zarr(tmp_path / "a.zarr")
    for back in (read_h5ad(tmp_path / "a.h5ad"), read_zarr(tmp_path / "a.zarr")):
        for table in ("scores", "summary", "per_class"):
            pd.testing.assert_frame_equal(
                ks.get.result(back, "search", table=table), ks.get.result(out, "search", table=table)
            )


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({}, ValueError, "Nothing says which answers are good"),
        ({"target": "type"}, KeyError, "no column in obs 'type'"),
        ({"composition_key": "shares"}, KeyError, "no composition in obsm 'shares'.*pp.majority_labels"),
        ({"composition_key": "counts"}, ValueError, "must hold shares"),
        ({"composition_key": "composition", "max_per_class": 3}, ValueError, "max_per_class=3 needs classes"),
        ({"target": "cell_type", "k": 0}, ValueError, "k must be a whole number"),
        ({"target": "cell_type", "k": 200}, ValueError, "k=200 answers are wanted"),
        (
            {"target": "cell_type", "k": 9, "max_per_class": 2},
            ValueError,
            "6 units to search.*raise max_per_class=2, or",
        ),
        ({"target": "cell_type", "fold_key": "block"}, KeyError, "pp.spatial_folds"),
        ({"target": "cell_type", "metric": "l1"}, ValueError, "metric='l1' is not a choice"),
    ],
)
def test_error(cells, how, error, message):
    cells.obsm["counts"] = np.full((240, 2), 3.0)
    with pytest.raises(error, match=message):
        ks.tl.retrieval_scores(cells, use_rep="X", **how)
    assert not cells.uns
