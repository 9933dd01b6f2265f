"""Votes of the nearest neighbours in other folds."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import kronos_sc as ks


@pytest.fixture
def cells() -> AnnData:
    rng = np.random.default_rng(0)
    n = 160
    kind = rng.choice(["B", "T", "M"], n)
    obs = pd.DataFrame(
        {"kind": kind, "fold": np.where(np.arange(n) < 150, (np.arange(n) % 4).astype(str), None)},
        index=[str(i) for i in range(n)],
    )
    signal = np.eye(3)[[["B", "T", "M"].index(k) for k in kind]]
    adata = AnnData((signal + rng.normal(size=(n, 3))).astype(np.float32), obs=obs)
    adata.obsm["X_kronos"] = (signal @ rng.normal(0, 2, (3, 12)) + rng.normal(size=(n, 12))).astype(
        np.float32
    ) * np.geomspace(1, 50, 12, dtype=np.float32)
    return adata


@pytest.mark.parametrize(("metric", "scale"), [("euclidean", True), ("cosine", True), ("euclidean", False)])
def test_votes_are_those_of_scikit_learn(cells: AnnData, metric: str, scale: bool) -> None:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler

    ks.tl.knn_probe(cells, "kind", use_rep="X_kronos", k=7, metric=metric, scale=scale, max_per_class=None)
    x, fold = cells.obsm["X_kronos"].astype(float), cells.obs["fold"]
    for name in "0123":
        train, test = (fold.notna() & (fold != name)).to_numpy(), (fold == name).to_numpy()
        z = StandardScaler().fit(x[train]).transform(x) if scale else x
        model = KNeighborsClassifier(7, metric=metric, algorithm="brute").fit(z[train], cells.obs["kind"][train])
        np.testing.assert_allclose(
            cells.obsm["kind_knn_proba"][test], model.predict_proba(z[test])[:, [0, 1, 2]], atol=1e-6
        )


def test_tables_and_slots(cells: AnnData) -> None:
    ks.tl.knn_probe(cells, "kind", use_rep="X_kronos", k=(5, 1))
    scores = ks.get.result(cells, "kind_knn")
    assert list(scores)[:4] == ["representation", "fold", "k", "n_test"]
    assert len(scores) == 2 * 4 * 2
    assert set(scores["representation"]) == {"kronos", "X"}
    assert scores["n_test"].sum() == 150 * 4
    assert set(cells.obs) >= {"kind_knn", "kind_knn_X"}
    assert cells.obs["kind_knn"].isna().sum() == 10  # in no fold
    summary = ks.get.result(cells, "kind_knn", table="summary")
    assert list(summary) == ["representation", "k", "metric", "mean", "sd", "n", "low", "high"]
    confusion = ks.get.result(cells, "kind_knn", table="confusion")
    assert confusion.groupby("representation")["count"].sum().tolist() == [150, 150]
    assert set(ks.get.result(cells, "kind_knn", table="per_class")["class"]) == {"B", "T", "M"}
    # predictions are those of the first k
    right = (cells.obs["kind_knn"].astype(str) == cells.obs["kind"])[:150].mean()
    table = confusion[confusion["representation"] == "kronos"]
    assert right == pytest.approx(table.loc[table["true"] == table["predicted"], "count"].sum() / 150)


def test_no_more_voters_than_told(cells: AnnData) -> None:
    ks.tl.knn_probe(cells, "kind", use_rep="X_kronos", k=5, max_per_class=4)
    assert (ks.get.result(cells, "kind_knn")["n_train"] == 12).all()


def test_shuffled_labels_give_chance(cells: AnnData) -> None:
    cells.obs["kind"] = np.random.default_rng(1).permutation(cells.obs["kind"])
    ks.tl.knn_probe(cells, "kind", use_rep="X_kronos", k=11)
    scores = ks.get.result(cells, "kind_knn")
    assert scores["balanced_accuracy"].mean() == pytest.approx(1 / 3, abs=0.1)


def test_lazy_arrays_and_blocks_change_nothing(cells: AnnData, monkeypatch) -> None:
    ks.tl.knn_probe(cells, "kind", use_rep="X_kronos", k=3)
    before = cells.obsm["kind_knn_proba"]
    cells.obsm["X_kronos"] = da.from_array(cells.obsm["X_kronos"], chunks=(30, 12))
    monkeypatch.setattr(ks.settings, "block_memory", 4 * 12 * 9)
    ks.tl.knn_probe(cells, "kind", use_rep="X_kronos", k=3, key_added="again")
    assert cells.obsm["again_proba"].equals(before)


def test_copy_and_files(cells: AnnData, tmp_path) -> None:
    import anndata

    new = ks.tl.knn_probe(cells, "kind", use_rep="X_kronos", k=3, copy=True)
    assert "kind_knn" not in cells.obs
    new.write_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(
        ks.get.result(new, "kind_knn"), ks.get.result(anndata.read_h5ad(tmp_path / "a.h5ad"), "kind_knn")
    )


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        ({"k": 200}, ValueError, "k=200 neighbours are asked for, but fold '.' has 11. voting units"),
        ({"k": 0}, ValueError, "k must be a whole number"),
        ({"metric": "manhattan"}, ValueError, "metric can be 'euclidean', 'cosine'"),
        ({"fold_key": "folds"}, KeyError, "pp.spatial_folds"),
    ],
)
def test_errors_change_nothing(cells: AnnData, how, error, match: str) -> None:
    before = cells.obs.copy()
    with pytest.raises(error, match=match):
        ks.tl.knn_probe(cells, "kind", use_rep="X_kronos", **how)
    assert cells.obs.equals(before)
    assert not cells.uns
