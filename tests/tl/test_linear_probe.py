"""The probe against the protocol written plainly with scikit-learn, and that nothing leaks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import kronos_sc as ks

CLASSES = np.array(["B cell", "CD4 T cell", "Tumor"])


@pytest.fixture
def cells() -> AnnData:
    """Three overlapping classes, four folds, an embedding that knows more than X."""
    rng = np.random.default_rng(0)
    codes = rng.choice(3, 420, p=[0.2, 0.3, 0.5])
    centres = rng.normal(size=(3, 30))
    adata = AnnData(
        X=(centres[codes, :6] * 0.4 + rng.normal(size=(420, 6))).astype(np.float32),
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(CLASSES[codes]), "fold": pd.Categorical(rng.integers(0, 4, 420).astype(str))}
        ),
    )
    adata.obs_names = [f"cell_{i}" for i in range(420)]
    adata.var_names = ["DAPI", "CD3", "CD4", "CD20", "PANCK", "KI67"]
    adata.obsm["X_kronos"] = (centres[codes] * 0.6 + rng.normal(size=(420, 30))).astype(np.float32)
    return adata


def plain_probe(adata: AnnData, key: str, C: float) -> tuple[dict[str, list[float]], np.ndarray]:
    """Scikit-learn on the same training units, which the split's own tests cover."""
    from sklearn import metrics
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from kronos_sc._core.target import target
    from kronos_sc._methods.splits import cross_validation

    codes = target(adata, "cell_type").codes
    folds = adata.obs["fold"].cat.codes.to_numpy()
    order = np.random.default_rng(0).permutation(adata.n_obs)
    x = np.asarray(adata.obsm[key], np.float64)
    predicted = np.full(len(x), -1)
    scores: dict[str, list[float]] = {
        name: [] for name in ("balanced_accuracy", "macro_f1", "macro_ap", "auroc_ovo", "auroc_ovr")
    }
    for split in cross_validation(codes, folds, adata.obs["fold"].cat.categories.to_numpy(), order):
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=C, class_weight="balanced", tol=1e-9, max_iter=10_000)
        )
        model.fit(x[split.train], codes[split.train])
        proba, truth = model.predict_proba(x[split.test]), codes[split.test]
        predicted[split.test] = proba.argmax(1)
        scores["balanced_accuracy"].append(metrics.balanced_accuracy_score(truth, proba.argmax(1)))
        scores["macro_f1"].append(metrics.f1_score(truth, proba.argmax(1), average="macro"))
        scores["macro_ap"].append(metrics.average_precision_score(np.eye(3)[truth], proba, average="macro"))
        scores["auroc_ovo"].append(metrics.roc_auc_score(truth, proba, multi_class="ovo"))
        scores["auroc_ovr"].append(metrics.roc_auc_score(truth, proba, multi_class="ovr"))
    return scores, predicted


def test_agrees_with_scikit_learn_at_a_fixed_c(cells) -> None:
    ks.tl.linear_probe(cells, "cell_type", use_rep="X_kronos", C=0.05)
    scores, predicted = plain_probe(cells, "X_kronos", 0.05)
    ours = ks.get.result(cells, "cell_type_probe").query("representation == 'kronos'")
    assert list(ours["fold"]) == ["0", "1", "2", "3"]
    for name, values in scores.items():
        np.testing.assert_allclose(ours[name], values, atol=2e-3, err_msg=name)
    assert (cells.obs["cell_type_probe"].cat.codes.to_numpy() == predicted).mean() >= 0.995


def test_slots(cells) -> None:
    cells.obs.loc["cell_3", "cell_type"] = np.nan  # not scored, but predicted
    cells.obs.loc["cell_4", "fold"] = np.nan  # guard band
    ks.tl.linear_probe(cells, "cell_type", use_rep="X_kronos", C=[1e-3, 1e-1], key_added="probe")
    assert list(cells.obs["probe"].cat.categories) == list(CLASSES)
    assert cells.obs["probe"].isna().sum() == 1
    assert pd.isna(cells.obs.loc["cell_4", "probe"])
    proba = cells.obsm["probe_proba"]
    assert list(proba.columns) == list(CLASSES)
    np.testing.assert_allclose(proba.drop("cell_4").sum(axis=1), 1, atol=1e-5)
    assert proba.loc["cell_4"].isna().all()
    assert {"probe_X", "fold", "cell_type", "probe"} == set(cells.obs)
    scores = ks.get.result(cells, "probe")
    assert scores.groupby("representation")["n_test"].sum().eq(418).all()
    assert set(scores["representation"]) == {"kronos", "X"}
    summary = ks.get.result(cells, "probe", table="summary")
    one = summary.query("representation == 'X' and metric == 'macro_f1'").iloc[0]
    values = scores.query("representation == 'X'")["macro_f1"]
    assert one["mean"] == pytest.approx(values.mean())
    assert one["sd"] == pytest.approx(values.std(ddof=1))
    assert ks.get.result(cells, "probe", table="confusion").query("representation == 'kronos'")["count"].sum() == 418
    assert len(ks.get.result(cells, "probe", table="trials")) == 2 * 4 * 2


def test_importance_is_a_share_per_marker(cells) -> None:
    cells.X[:, 1] = cells.obs["cell_type"].cat.codes * 3.0  # CD3 alone tells the class
    ks.tl.linear_probe(cells, "cell_type", use_rep="X", C=0.1)
    table = ks.get.result(cells, "cell_type_probe", table="importance").pivot(
        index="class", columns="marker", values="weight"
    )
    assert list(table.columns) == sorted(cells.var_names)
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)
    assert (table.loc[["B cell", "Tumor"], "CD3"] > 0.5).all()


def test_marker_blocks_are_rolled_up(cells) -> None:
    """Features that `tl.embed` recorded: 3 markers × 10 features."""
    from kronos_sc._core.record import freeze

    panel = pd.DataFrame({"channel": ["a", "b", "c"], "marker": ["DAPI", "CD3", "CD20"], "id": [1, 2, 3]})
    model = {"name": "m", "sha256": "0", "source": "", "blocks_run": 1, "token_overlap": False}
    cells.uns["kronos"] = freeze(
        {"model": model, "panel": panel, "params": {"features": ["marker"], "patch_size": [64]}}
    )
    cells.obsm["X_kronos"][:, 10:20] = cells.obs["cell_type"].cat.codes.to_numpy()[:, None] * 2
    ks.tl.linear_probe(cells, "cell_type", C=0.1)
    table = ks.get.result(cells, "cell_type_probe", table="importance").query("representation == 'kronos'")
    assert set(table["marker"]) == {"DAPI", "CD3", "CD20"}
    assert table.groupby("marker")["weight"].mean().idxmax() == "CD3"


def test_shuffled_labels_give_chance(cells) -> None:
    cells.obs["cell_type"] = cells.obs["cell_type"].sample(frac=1, random_state=1).to_numpy()
    ks.tl.linear_probe(cells, "cell_type", use_rep="X_kronos", n_trials=6)
    assert ks.get.result(cells, "cell_type_probe")["balanced_accuracy"].mean() == pytest.approx(1 / 3, abs=0.07)


def test_the_tested_fold_touches_nothing(cells) -> None:
    """What is in a fold changes neither scaling, search nor fit of the probe that is tested on it."""
    other = cells.copy()
    fold = (cells.obs["fold"] == "2").to_numpy()
    other.obsm["X_kronos"][fold] = np.random.default_rng(5).normal(100, 50, (fold.sum(), 30))
    for adata in (cells, other):
        ks.tl.linear_probe(adata, "cell_type", use_rep="X_kronos", n_trials=4)
    trials = [
        ks.get.result(a, "cell_type_probe", table="trials").query("representation == 'kronos' and fold == '2'")
        for a in (cells, other)
    ]
    pd.testing.assert_frame_equal(*trials)


def test_order_of_units_does_not_matter_much(cells) -> None:
    """Other training units are drawn, so scores move a little, and the table follows the units."""
    turned = cells[np.random.default_rng(3).permutation(cells.n_obs)].copy()
    for adata in (cells, turned):
        ks.tl.linear_probe(adata, "cell_type", use_rep="X_kronos", C=0.05)
    same = turned.obs["cell_type_probe"].reindex(cells.obs_names).astype(str) == cells.obs["cell_type_probe"].astype(
        str
    )
    assert same.mean() > 0.93


def test_seeded(cells) -> None:
    runs = [ks.tl.linear_probe(cells, "cell_type", use_rep="X", n_trials=3, rng=seed, copy=True) for seed in (1, 1, 2)]
    tables = [ks.get.result(run, "cell_type_probe") for run in runs]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])
    assert "cell_type_probe" not in cells.obs


def test_lazy_features_give_the_same(cells) -> None:
    import dask.array as da

    lazy = cells.copy()
    lazy.obsm["X_kronos"] = da.from_array(cells.obsm["X_kronos"], chunks=(37, 30))
    for adata in (cells, lazy):
        ks.tl.linear_probe(adata, "cell_type", use_rep="X_kronos", C=0.05, max_per_class=40)
    pd.testing.assert_frame_equal(ks.get.result(cells, "cell_type_probe"), ks.get.result(lazy, "cell_type_probe"))
    assert ks.get.result(lazy, "cell_type_probe")["n_train"].max() == 120


def test_the_tutorials_way_of_counting(cells) -> None:
    ks.tl.linear_probe(cells, "cell_type", use_rep="X_kronos", n_trials=5, protocol="tutorial")
    scores = ks.get.result(cells, "cell_type_probe").query("representation == 'kronos'")["macro_f1"].to_numpy()
    summary = ks.get.result(cells, "cell_type_probe", table="summary").query(
        "representation == 'kronos' and metric == 'macro_f1'"
    )
    assert summary["sd"].item() == pytest.approx(np.std([*scores, scores.mean()]))
    assert summary["sd"].item() == pytest.approx(np.std(scores) * np.sqrt(4 / 5))
    assert ks.get.result(cells, "cell_type_probe", table="trials")["C"].between(1e-5, 1e10).all()


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_results_survive_a_file(cells, tmp_path, suffix: str) -> None:
    import anndata

    ks.tl.linear_probe(cells, "cell_type", use_rep="X_kronos", C=0.1)
    path = tmp_path / f"cells.{suffix}"
    getattr(cells, f"write_{suffix}")(path)
    back = getattr(anndata, f"read_{suffix}")(path)
    for table in ("scores", "summary", "per_class", "confusion", "importance", "trials"):
        pd.testing.assert_frame_equal(
            ks.get.result(cells, "cell_type_probe", table=table),
            ks.get.result(back, "cell_type_probe", table=table),
            check_dtype=False,
        )


def test_rows_without_features_are_left_out(cells) -> None:
    cells.obsm["X_kronos"][:5] = np.nan
    with pytest.warns(UserWarning, match="5 units have no finite features"):
        ks.tl.linear_probe(cells, "cell_type", use_rep="X_kronos", C=0.1)
    assert cells.obs["cell_type_probe"].isna().sum() == 5
    assert cells.obs["cell_type_probe_X"].isna().sum() == 5, "every representation sees the same units"


def test_a_fold_without_a_class_is_said(cells) -> None:
    cells.obs.loc[(cells.obs["fold"] == "1") & (cells.obs["cell_type"] == "Tumor"), "cell_type"] = np.nan
    with pytest.warns(UserWarning, match="Folds '1' of 'fold' hold not every class"):
        ks.tl.linear_probe(cells, "cell_type", use_rep="X_kronos", C=0.1)
    assert np.isfinite(ks.get.result(cells, "cell_type_probe")["auroc_ovo"]).all()


def _one_member(adata: AnnData) -> None:
    types = adata.obs["cell_type"].cat.add_categories("Rare").copy()
    types.iloc[0] = "Rare"
    adata.obs["cell_type"] = types


def _class_in_one_fold(adata: AnnData) -> None:
    adata.obs.loc[adata.obs["cell_type"] == "B cell", "fold"] = "0"


def _no_folds(adata: AnnData) -> None:
    del adata.obs["fold"]


def _one_fold(adata: AnnData) -> None:
    adata.obs["fold"] = "0"


def _one_class(adata: AnnData) -> None:
    adata.obs["cell_type"] = "B cell"


def _empty_fold(adata: AnnData) -> None:
    adata.obs.loc[adata.obs["fold"] == "3", "cell_type"] = np.nan


@pytest.mark.parametrize(
    ("spoil", "how", "error", "message"),
    [
        (_one_member, {}, ValueError, r"fewer than 2 units in the other folds \('Rare': 1 units in all\).*Merge them"),
        (_class_in_one_fold, {}, ValueError, "Fold '0' tests classes.*'B cell'"),
        (_no_folds, {}, KeyError, "pp.spatial_folds"),
        (_one_fold, {}, ValueError, "has 1 folds"),
        (_one_class, {}, ValueError, "has 1 classes"),
        (_empty_fold, {}, ValueError, "Fold '3' of 'fold' has no unit with 'cell_type'"),
        (None, {"use_rep": "X_krnos"}, KeyError, "Did you mean 'X_kronos'"),
        (None, {"C": -1.0}, ValueError, "positive number"),
        (None, {"max_per_class": 0}, ValueError, "max_per_class"),
        (None, {"protocol": "paper"}, ValueError, "'default', 'tutorial'"),
        (None, {"n_trials": 0}, ValueError, "n_trials"),
    ],
)
def test_errors_come_before_anything_changes(cells, spoil, how, error, message) -> None:
    if spoil:
        spoil(cells)
    before = (set(cells.obs), set(cells.obsm), set(cells.uns))
    with pytest.raises(error, match=message):
        ks.tl.linear_probe(cells, "cell_type", **{"use_rep": "X_kronos"} | how)
    assert before == (set(cells.obs), set(cells.obsm), set(cells.uns))


def test_a_spatialdata_is_told_which_table(make) -> None:
    with pytest.raises(TypeError, match=r"sdata\['table'\]"):
        ks.tl.linear_probe(make(), "cell_type")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_classes_with_slashes_survive_a_file(cells, tmp_path) -> None:
    import anndata

    cells.obs["cell_type"] = cells.obs["cell_type"].cat.rename_categories({"Tumor": "tumor cells / immune cells"})
    ks.tl.linear_probe(cells, "cell_type", use_rep="X_kronos", C=range(1, 3))
    cells.write_zarr(tmp_path / "cells.zarr")
    back = anndata.read_zarr(tmp_path / "cells.zarr")
    assert list(back.obsm["cell_type_probe_proba"].columns) == ["B cell", "CD4 T cell", "tumor cells | immune cells"]
    assert "tumor cells / immune cells" in set(back.obs["cell_type_probe"])
    assert "tumor cells / immune cells" in set(ks.get.result(back, "cell_type_probe", table="per_class")["class"])
