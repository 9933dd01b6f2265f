"""Scores by majority ratio."""

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

import kronos_sc as ks
from kronos_sc._core import results


@pytest.fixture
def probed():
    """400 patches with labels, ratios and what a probe of two representations would leave.

    The first guesses better on clean patches.
    """
    rng = np.random.default_rng(0)
    n, classes = 400, ["T", "B", "tumour"]
    truth, ratio = rng.integers(0, 3, n), rng.integers(1, 11, n) / 10
    obs = pd.DataFrame(index=[f"p{i}" for i in range(n)])
    obs["majority"] = pd.Categorical.from_codes(truth, classes)
    obs["majority_ratio"] = ratio.astype(np.float32)
    obs["fold"] = pd.Categorical.from_codes(rng.integers(0, 4, n), list("0123"))
    obs.loc[obs.index[:20], "fold"] = None
    obs.loc[obs.index[20:40], ["majority", "majority_ratio"]] = None
    adata = anndata.AnnData(obs=obs)
    for name, skill in (("majority_probe", 3 * ratio[:, None]), ("majority_probe_mean_marker", 0.0)):
        logits = rng.normal(size=(n, 3)) + skill * (truth[:, None] == np.arange(3))
        proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        proba[:20] = np.nan
        adata.obsm[f"{name}_proba"] = pd.DataFrame(proba.astype(np.float32), index=obs.index, columns=classes)
    params = {
        "target": "majority",
        "fold_key": "fold",
        "representations": ["kronos", "mean_marker"],
        "classes": classes,
    }
    scores = pd.DataFrame({"representation": np.repeat(["kronos", "mean_marker"], 4), "fold": list("0123") * 2})
    results.store(adata, "majority_probe", kind="linear_probe", params=params, tables={"scores": scores})
    return adata


def test_against_scikit_learn(probed):
    ks.tl.ratio_scores(probed, thresholds=(0.2, 0.7, 1))
    found = ks.get.result(probed, "majority_probe_ratio").set_index(["representation", "threshold", "fold"])
    assert len(found) == 2 * 3 * 4
    obs = probed.obs
    for (label, threshold, fold), row in found.iterrows():
        chosen = (
            (obs["fold"] == fold) & (obs["majority_ratio"].round(3) >= threshold) & obs["majority"].notna()
        ).to_numpy()
        proba = probed.obsm["majority_probe_proba" if label == "kronos" else "majority_probe_mean_marker_proba"][chosen]
        true = obs["majority"][chosen].cat.codes.to_numpy()
        guess = proba.to_numpy().argmax(axis=1)
        assert row["n_test"] == chosen.sum() > 0
        assert row["n_classes"] == len(set(true))
        assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, guess))
        assert row["macro_f1"] == pytest.approx(f1_score(true, guess, average="macro", labels=np.unique(true)))
        ap = [average_precision_score(true == c, proba.iloc[:, c]) for c in np.unique(true)]
        assert row["macro_ap"] == pytest.approx(np.mean(ap))
        if row["n_classes"] == 3:
            sure = proba.to_numpy(float, copy=True)  # pandas 3 hands out what may not be written to
            sure /= sure.sum(axis=1, keepdims=True)
            assert row["auroc_ovo"] == pytest.approx(roc_auc_score(true, sure, multi_class="ovo"))


def test_the_sets_shrink(probed):
    ks.tl.ratio_scores(probed, thresholds=(1, 0.5))
    clean = probed.obs.dropna()
    clean = clean[clean["majority_ratio"] >= 0.5]
    sets = ks.get.result(probed, "majority_probe_ratio", table="sets")
    assert sets["threshold"].tolist() == [0.5, 1]
    assert sets["n_test"].tolist() == [len(clean), (clean["majority_ratio"] == 1).sum()]
    assert sets["n_classes"].tolist() == [3, 3]


def test_cleaner_labels_score_better_where_there_is_skill(probed):
    ks.tl.ratio_scores(probed)
    table = ks.get.result(probed, "majority_probe_ratio", table="summary")
    table = table[table["metric"] == "balanced_accuracy"].pivot(
        index="threshold", columns="representation", values="mean"
    )
    assert table.index.tolist() == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert table["kronos"].iloc[-1] > table["kronos"].iloc[0] + 0.1
    assert np.abs(table["mean_marker"] - 1 / 3).max() < 0.15


def test_zero_repeats_the_probe():
    rng = np.random.default_rng(1)
    obs = pd.DataFrame({"majority": pd.Categorical(rng.choice(["a", "b"], 300))}, index=[f"p{i}" for i in range(300)])
    obs["majority_ratio"] = rng.random(300)
    adata = anndata.AnnData(
        rng.normal(size=(300, 4)).astype(np.float32) + (obs["majority"] == "a").to_numpy()[:, None], obs=obs
    )
    adata.obsm["spatial"] = rng.random((300, 2)) * 100
    adata.obsm["X_other"] = rng.normal(size=(300, 5))
    ks.pp.spatial_folds(adata, guard=5)
    ks.tl.linear_probe(adata, "majority", use_rep="X_other", C=1.0)
    ks.tl.ratio_scores(adata, thresholds=[0, 0.5])
    probe, again = ks.get.result(adata, "majority_probe"), ks.get.result(adata, "majority_probe_ratio")
    again = again[again["threshold"] == 0].reset_index(drop=True)
    shared = ["representation", "fold", "n_test", "balanced_accuracy", "macro_f1", "macro_ap", "auroc_ovo", "auroc_ovr"]
    pd.testing.assert_frame_equal(probe[shared], again[shared])


def test_folds_that_run_empty_are_nan_and_not_averaged(probed):
    probed.obs.loc[probed.obs["fold"] == "2", "majority_ratio"] = 0.3
    ks.tl.ratio_scores(probed, thresholds=(0.9,))
    scores = ks.get.result(probed, "majority_probe_ratio").set_index(["representation", "fold"]).loc["kronos"]
    assert scores.loc["2", "n_test"] == 0
    assert np.isnan(scores.loc["2", "balanced_accuracy"])
    assert (ks.get.result(probed, "majority_probe_ratio", table="summary")["n"] == 3).all()


def test_permuted_patches_score_the_same(probed):
    other = probed[np.random.default_rng(0).permutation(probed.n_obs)].copy()
    for adata in (probed, other):
        ks.tl.ratio_scores(adata)
    for table in ("scores", "summary"):
        pd.testing.assert_frame_equal(
            ks.get.result(probed, "majority_probe_ratio", table=table),
            ks.get.result(other, "majority_probe_ratio", table=table),
        )


def test_copy_and_files(probed, tmp_path):
    out = ks.tl.ratio_scores(probed, key_added="clean", copy=True)
    assert "clean" not in probed.uns
    out.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(ks.get.result(back, "clean"), ks.get.result(out, "clean"))
    ks.tl.ratio_scores(back)
    pd.testing.assert_frame_equal(ks.get.result(back, "majority_probe_ratio"), ks.get.result(out, "clean"))


def percent(adata):
    adata.obs["majority_ratio"] *= 100


def no_proba(adata):
    del adata.obsm["majority_probe_mean_marker_proba"]


def fewer_classes(adata):
    adata.obsm["majority_probe_proba"] = adata.obsm["majority_probe_proba"][["T", "B"]]


def all_mixed(adata):
    adata.obs["majority_ratio"] = 0.1


@pytest.mark.parametrize(
    ("spoil", "how", "error", "message"),
    [
        (None, {"key": "probe"}, KeyError, "no result in uns 'probe'.*tl.linear_probe"),
        (None, {"ratio_key": "ratio"}, KeyError, "no column in obs 'ratio'"),
        (percent, {}, ValueError, r"obs\['majority_ratio'\] must be shares from 0 to 1; found .* divided by 100"),
        (None, {"thresholds": (20, 40)}, ValueError, "thresholds must be shares from 0 to 1; found '20.0', '40.0'"),
        (None, {"thresholds": ()}, ValueError, "thresholds must be shares from 0 to 1, and there are none"),
        (no_proba, {}, KeyError, "no entry of obsm 'majority_probe_mean_marker_proba'.*Run tl.linear_probe again"),
        (fewer_classes, {}, ValueError, "does not hold the classes 'T', 'B', 'tumour' of the probe"),
        (all_mixed, {}, ValueError, r"'majority_ratio' of at least 0.2 \(the largest is 0.10\). Lower thresholds="),
    ],
)
def test_errors(probed, spoil, how, error, message):
    if spoil:
        spoil(probed)
    with pytest.raises(error, match=message):
        ks.tl.ratio_scores(probed, **how)
    assert set(probed.uns) == {"majority_probe"}
