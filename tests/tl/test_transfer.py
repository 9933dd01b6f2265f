"""From one cohort to another with a different panel."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import kronos_sc as ks
from kronos_sc._core.record import freeze

IDS = {"DAPI": 4, "CD3": 222, "CD8": 270, "CD20": 206, "FOXP3": 314, "CD68": 264}
KINDS = {"B": "CD20", "T": "CD3", "M": "CD68"}
BLOCK = 4


def _cohort(markers: list[str], n: int, seed: int, kinds: str = "BTM", key: str = "kronos") -> AnnData:
    """Cells whose type raises the block of its marker; other blocks are noise."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(list(kinds), n)
    level = np.array([[KINDS.get(k) == m for m in markers] for k in kind], np.float32)
    obs = pd.DataFrame({"kind": kind, "fold": (np.arange(n) % 4).astype(str)}, index=[f"{seed}_{i}" for i in range(n)])
    adata = AnnData(
        (level + rng.normal(0, 0.8, level.shape)).astype(np.float32), obs=obs, var=pd.DataFrame(index=markers)
    )
    values = 3 * np.repeat(level, BLOCK, axis=1) + rng.normal(size=(n, len(markers) * BLOCK))
    adata.obsm[f"X_{key}"] = values.astype(np.float32)
    panel = pd.DataFrame(
        {
            "channel": markers,
            "marker": markers,
            "id": [IDS[m] for m in markers],
            "mean": 0.0,
            "std": 1.0,
            "how": "exact",
        }
    )
    adata.uns[key] = freeze(
        {
            "model": {"name": "kronos", "sha256": "abc"},
            "panel": panel,
            "params": {"features": ["marker"], "patch_size": [64]},
        }
    )
    return adata


@pytest.fixture
def reference() -> AnnData:
    return _cohort(["DAPI", "CD3", "CD20", "CD68", "CD8"], 200, 1)


@pytest.fixture
def cells() -> AnnData:
    return _cohort(["CD68", "FOXP3", "CD20", "DAPI", "CD3"], 120, 2)


def test_panels_are_aligned_by_marker(cells: AnnData, reference: AnnData) -> None:
    before = reference.copy()
    ks.tl.transfer(cells, reference, target="kind", C=1.0)
    scores = ks.get.result(cells, "kind_transfer").set_index("representation")
    assert scores.loc["kronos", "balanced_accuracy"] > 0.97
    assert 0.5 < scores.loc["X", "balanced_accuracy"] < scores.loc["kronos", "balanced_accuracy"]
    assert scores["fold"].tolist() == ["all", "all"]
    assert (scores["n_train"] == 160).all()
    assert (scores["n_test"] == 120).all()
    markers = ks.get.result(cells, "kind_transfer", table="markers")
    assert markers.loc[markers["representation"] == "kronos", "marker"].tolist() == ["DAPI", "CD3", "CD20", "CD68"]
    assert (cells.obs["kind_transfer"].astype(str) == cells.obs["kind"]).mean() > 0.97
    np.testing.assert_allclose(cells.obs["kind_transfer_confidence"], cells.obsm["kind_transfer_proba"].max(axis=1))
    assert "kind_transfer_X" in cells.obs
    assert reference.obs.equals(before.obs)
    assert set(reference.uns) == {"kronos"}


def test_it_is_the_logistic_regression_of_scikit_learn(cells: AnnData, reference: AnnData) -> None:
    """The fixed C is fitted to four fifths of each class: those the table counts."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    reference.obsm["X_kronos"] += (
        np.random.default_rng(0).normal(0, 3, reference.obsm["X_kronos"].shape).astype(np.float32)
    )
    ks.tl.transfer(cells, reference, target="kind", use_rep="X_kronos", C=0.01)
    left = [i * BLOCK + j for i in (0, 1, 2, 3) for j in range(BLOCK)]
    right = [i * BLOCK + j for i in (3, 4, 2, 0) for j in range(BLOCK)]
    x, y = reference.obsm["X_kronos"][:, left].astype(float), reference.obs["kind"]
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=0.01, class_weight="balanced", tol=1e-8).fit(scaler.transform(x), y)
    theirs = model.predict(scaler.transform(cells.obsm["X_kronos"][:, right].astype(float)))
    assert (cells.obs["kind_transfer"].astype(str) == theirs).mean() > 0.9


def test_one_model_per_fold_as_in_the_paper(cells: AnnData, reference: AnnData) -> None:
    ks.tl.transfer(cells, reference, target="kind", use_rep="X_kronos", fold_key="fold", C=[0.1, 1.0])
    scores = ks.get.result(cells, "kind_transfer")
    assert scores.groupby("representation")["fold"].apply(list).tolist() == [["0", "1", "2", "3"]] * 2
    assert (scores["n_test"] == 120).all()
    summary = ks.get.result(cells, "kind_transfer", table="summary")
    assert (summary["n"] == 4).all()
    assert len(ks.get.result(cells, "kind_transfer", table="trials")) == 2 * 4 * 2
    confusion = ks.get.result(cells, "kind_transfer", table="confusion")
    assert confusion.groupby("representation")["count"].sum().tolist() == [120, 120]


def test_cells_to_predict_do_not_touch_the_model(cells: AnnData, reference: AnnData) -> None:
    """Neither the scaler nor the fit sees them.

    What is predicted for a cell does not depend on the others, or on their labels.
    """
    ks.tl.transfer(cells, reference, target="kind", C=1.0)
    some = cells[:30].copy()
    some.obsm["X_kronos"][5:] *= 100
    some.obs["kind"] = np.random.default_rng(0).permutation(some.obs["kind"])
    ks.tl.transfer(some, reference, target="kind", C=1.0)
    np.testing.assert_allclose(some.obsm["kind_transfer_proba"][:5], cells.obsm["kind_transfer_proba"][:5], atol=1e-5)


def test_shuffled_labels_give_chance(cells: AnnData, reference: AnnData) -> None:
    accuracy = []
    for seed in range(6):
        reference.obs["kind"] = np.random.default_rng(seed).permutation(reference.obs["kind"])
        ks.tl.transfer(cells, reference, target="kind", C=1.0)
        accuracy.append(ks.get.result(cells, "kind_transfer")["balanced_accuracy"].mean())
    assert np.mean(accuracy) == pytest.approx(1 / 3, abs=0.12)


def test_without_labels_only_predictions(cells: AnnData, reference: AnnData) -> None:
    truth = cells.obs.pop("kind")
    ks.tl.transfer(cells, reference, target="kind", C=1.0)
    assert (cells.obs["kind_transfer"].astype(str) == truth).mean() > 0.97
    assert "balanced_accuracy" not in ks.get.result(cells, "kind_transfer")
    with pytest.raises(KeyError, match="per_class"):
        ks.get.result(cells, "kind_transfer", table="per_class")


def test_classes_that_the_reference_lacks_are_counted(cells: AnnData, reference: AnnData) -> None:
    cells.obs.loc[cells.obs_names[:7], "kind"] = "NK"
    cells.obs.loc[cells.obs_names[7], "kind"] = None
    with pytest.warns(UserWarning, match="7 units have classes that the reference has not \\('NK'\\)"):
        ks.tl.transfer(cells, reference, target="kind", C=1.0)
    assert (ks.get.result(cells, "kind_transfer")["n_test"] == 112).all()
    assert cells.obs["kind_transfer"].notna().all()


def test_scores_are_over_the_classes_that_there_are(reference: AnnData) -> None:
    cells = _cohort(["CD68", "CD20", "CD3"], 60, 3, kinds="BT")
    ks.tl.transfer(cells, reference, target="kind", C=1.0)
    assert ks.get.result(cells, "kind_transfer").set_index("representation").loc["kronos", "balanced_accuracy"] > 0.95
    assert list(cells.obs["kind_transfer"].cat.categories) == ["B", "M", "T"]


def test_units_without_features(cells: AnnData, reference: AnnData) -> None:
    cells.obsm["X_kronos"][3, 0] = np.nan
    reference.obsm["X_kronos"][:2, 0] = np.nan
    with pytest.warns(UserWarning, match="2 units have no finite features"):
        ks.tl.transfer(cells, reference, target="kind", C=1.0)
    assert np.flatnonzero(cells.obs["kind_transfer"].isna()).tolist() == [3]
    assert np.isnan(cells.obs["kind_transfer_confidence"].iloc[3])
    assert (ks.get.result(cells, "kind_transfer")["n_test"] == 119).all()


def test_lazy_arrays_change_nothing(cells: AnnData, reference: AnnData) -> None:
    ks.tl.transfer(cells, reference, target="kind", C=1.0)
    for adata in (cells, reference):
        adata.obsm["X_kronos"] = da.from_array(adata.obsm["X_kronos"], chunks=(50, 8))
    ks.tl.transfer(cells, reference, target="kind", C=1.0, key_added="again")
    np.testing.assert_allclose(cells.obsm["again_proba"], cells.obsm["kind_transfer_proba"], atol=1e-6)


def test_a_baseline_that_does_not_line_up_is_left_out(cells: AnnData, reference: AnnData) -> None:
    cells.var_names = [f"ch{i}" for i in range(5)]
    ks.tl.transfer(cells, reference, target="kind", C=1.0)
    assert ks.get.result(cells, "kind_transfer")["representation"].tolist() == ["kronos"]
    with pytest.raises(ValueError, match="no marker in common"):
        ks.tl.transfer(cells, reference, target="kind", use_rep="X", C=1.0)


def test_embeddings_of_one_table_only_are_left_out(cells: AnnData, reference: AnnData) -> None:
    cells.uns["uni"], cells.obsm["X_uni"] = cells.uns["kronos"], cells.obsm["X_kronos"]
    cells.obsm["X_mean_marker"] = cells.X.copy()
    ks.tl.transfer(cells, reference, target="kind", C=1.0)
    assert ks.get.result(cells, "kind_transfer")["representation"].tolist() == ["kronos", "X"]
    del reference.obsm["X_kronos"], reference.uns["kronos"]
    reference.var_names = list("abcde")
    with pytest.raises(ValueError, match="no representation in common"):
        ks.tl.transfer(cells, reference, target="kind", C=1.0)


def test_copy_and_files(cells: AnnData, reference: AnnData, tmp_path) -> None:
    import anndata

    new = ks.tl.transfer(cells, reference, target="kind", C=1.0, copy=True)
    assert "kind_transfer" not in cells.obs
    new.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    for table in ("scores", "summary", "markers", "per_class", "confusion", "trials"):
        pd.testing.assert_frame_equal(
            ks.get.result(new, "kind_transfer", table=table), ks.get.result(back, "kind_transfer", table=table)
        )


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        ({"target": "type"}, KeyError, "no column in obs 'type'"),
        ({"use_rep": "X_uni"}, KeyError, "no representation in obsm 'X_uni'"),
        ({"fold_key": "folds"}, KeyError, "pp.spatial_folds"),
        ({"C": 0.0}, ValueError, "C must be a positive number"),
        ({"max_per_class": 0}, ValueError, "max_per_class must be"),
    ],
)
def test_errors_change_nothing(cells: AnnData, reference: AnnData, how, error, match: str) -> None:
    before = cells.obs.copy()
    with pytest.raises(error, match=match):
        ks.tl.transfer(cells, reference, **{"target": "kind"} | how)
    assert cells.obs.equals(before)
    assert set(cells.uns) == {"kronos"}


def test_other_models_and_too_little_to_learn_from(cells: AnnData, reference: AnnData) -> None:
    other = cells.copy()
    other.uns["kronos"]["model"] = {"name": "kronos", "sha256": "def"}
    with pytest.raises(ValueError, match="features of two models cannot be compared"):
        ks.tl.transfer(other, reference, target="kind", C=1.0)
    reference.obs["kind"] = np.where(np.arange(200) == 0, "B", np.where(np.arange(200) == 1, "T", None))
    with pytest.raises(ValueError, match="fewer than two classes of 'kind' with two units each"):
        ks.tl.transfer(cells, reference, target="kind", C=1.0)
    with pytest.raises(TypeError, match="Expected an AnnData, got str"):
        ks.tl.transfer(cells, "reference", target="kind")
