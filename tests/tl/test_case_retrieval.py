"""Retrieval of cases, against a plain loop over draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad, read_zarr
from scipy.stats import t

import kronos_sc as ks

N_CASES = 12


def make(effect: float, seed: int = 0) -> AnnData:
    """Cases of unequal size in two groups."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 20, N_CASES)
    case = np.repeat(np.arange(N_CASES), sizes)
    group = np.array(["EBV+", "EBV-"])[case % 2]
    obs = pd.DataFrame(
        {"case": [f"case_{i:02}" for i in case], "group": group}, index=[f"patch_{i}" for i in range(len(case))]
    )
    adata = AnnData(rng.normal(size=(len(case), 3)).astype(np.float32), obs=obs, var=pd.DataFrame(index=list("abc")))
    adata.obsm["X_kronos"] = (effect * (case % 2)[:, None] + rng.normal(size=(len(case), 8))).astype(np.float32)
    return adata


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_against_a_plain_loop(metric):
    """The draws come from one child of the generator per repeat.

    Answers, scores and shares are found in the plain way.
    """
    from sklearn.metrics import balanced_accuracy_score, f1_score
    from sklearn.neighbors import KNeighborsClassifier

    from kronos_sc._methods.case_splits import draw_split

    adata = make(0.5)
    ks.tl.case_retrieval(adata, "group", case_key="case", use_rep="X_kronos", n_repeats=20, metric=metric, rng=5)
    scores = ks.get.result(adata, "group_case_retrieval")
    scores = scores[scores["representation"] == "kronos"].reset_index(drop=True)
    means = pd.DataFrame(adata.obsm["X_kronos"].astype(float)).groupby(adata.obs["case"].to_numpy()).mean().to_numpy()
    labels = np.arange(N_CASES) % 2  # "EBV+" sorts before "EBV-"
    for i, child in enumerate(np.random.default_rng(5).spawn(20)):
        train, test = draw_split(labels, np.array([3, 3]), child)
        found = KNeighborsClassifier(1, metric=metric).fit(means[train], labels[train]).predict(means[test])
        assert scores["accuracy"][i] == pytest.approx((found == labels[test]).mean())
        assert scores["macro_f1"][i] == pytest.approx(f1_score(labels[test], found, average="macro"))
        assert scores["balanced_accuracy"][i] == pytest.approx(balanced_accuracy_score(labels[test], found))
    assert (scores["n_reference"] == 6).all()
    assert (scores["n_query"] == 6).all()


def test_units_with_nan_are_left_out_of_all_representations():
    adata = make(0.5)
    kept = adata[2:].copy()
    adata.obsm["X_kronos"][:2] = np.nan
    with pytest.warns(UserWarning, match="2 units have no finite features"):
        ks.tl.case_retrieval(adata, "group", case_key="case", use_rep="X_kronos", n_repeats=5)
    ks.tl.case_retrieval(kept, "group", case_key="case", use_rep="X_kronos", n_repeats=5)
    pd.testing.assert_frame_equal(*(ks.get.result(table, "group_case_retrieval") for table in (adata, kept)))


def test_clear_groups_are_found_and_noise_is_chance():
    found = {}
    for effect in (3.0, 0.0):
        for seed in range(4):
            adata = make(effect, seed)
            ks.tl.case_retrieval(adata, "group", case_key="case", use_rep="X_kronos", n_repeats=30)
            summary = ks.get.result(adata, "group_case_retrieval", table="summary").set_index(
                ["representation", "metric"]
            )
            found.setdefault(effect, []).append(summary.loc[("kronos", "accuracy"), "mean"])
            assert summary["n"].eq(30).all()
    assert np.mean(found[3.0]) == 1
    assert np.mean(found[0.0]) == pytest.approx(0.5, abs=0.15)


def test_interval_is_that_of_the_mean():
    adata = make(0.4)
    ks.tl.case_retrieval(adata, "group", case_key="case", use_rep="X_kronos", n_repeats=50)
    scores = ks.get.result(adata, "group_case_retrieval")
    accuracy = scores.loc[scores["representation"] == "kronos", "accuracy"]
    row = ks.get.result(adata, "group_case_retrieval", table="summary").iloc[0]
    half = t.ppf(0.975, 49) * accuracy.std() / np.sqrt(50)
    np.testing.assert_allclose([row["low"], row["high"]], [accuracy.mean() - half, accuracy.mean() + half])


def test_by_case():
    adata = make(0.4)
    ks.tl.case_retrieval(adata, "group", case_key="case", use_rep="X_kronos", n_repeats=30)
    cases, scores = (
        ks.get.result(adata, "group_case_retrieval", table="cases"),
        ks.get.result(adata, "group_case_retrieval"),
    )
    ours = cases[cases["representation"] == "kronos"]
    assert ours["n_query"].sum() == 30 * 6
    mean = scores.loc[scores["representation"] == "kronos", "accuracy"].mean()
    assert np.average(ours["accuracy"], weights=ours["n_query"]) == pytest.approx(mean)


def test_order_of_units_does_not_matter():
    adata = make(0.4)
    other = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    for table in (adata, other):
        ks.tl.case_retrieval(table, "group", case_key="case", use_rep="X_kronos", n_repeats=10)
    pd.testing.assert_frame_equal(
        ks.get.result(adata, "group_case_retrieval"), ks.get.result(other, "group_case_retrieval")
    )


def test_embedding_in_dask_and_files(tmp_path):
    import dask.array as da

    adata = make(0.4)
    out = ks.tl.case_retrieval(adata, "group", case_key="case", use_rep="X_kronos", n_repeats=10, copy=True)
    assert not adata.uns
    adata.obsm["X_kronos"] = da.from_array(adata.obsm["X_kronos"], chunks=(20, 8))
    ks.tl.case_retrieval(adata, "group", case_key="case", use_rep="X_kronos", n_repeats=10)
    out.write_h5ad(tmp_path / "a.h5ad")
    out.write_zarr(tmp_path / "a.zarr")
    for back in (read_h5ad(tmp_path / "a.h5ad"), read_zarr(tmp_path / "a.zarr"), adata):
        for table in ("scores", "summary", "cases"):
            pd.testing.assert_frame_equal(
                ks.get.result(back, "group_case_retrieval", table=table),
                ks.get.result(out, "group_case_retrieval", table=table),
            )


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"n_reference": 6}, ValueError, "12 cases .6 EBV., 6 EBV.*each with more cases than n_reference=6"),
        ({"case_key": "group"}, ValueError, "n_reference=3"),  # one case per group
        ({"case_key": "patient"}, KeyError, "no column in obs 'patient'"),
        ({"n_repeats": 0}, ValueError, "n_repeats must be a whole number"),
        ({"metric": "l1"}, ValueError, "metric='l1' is not a choice"),
    ],
)
def test_error(how, error, message):
    adata = make(0.4)
    with pytest.raises(error, match=message):
        ks.tl.case_retrieval(adata, "group", **({"case_key": "case", "use_rep": "X"} | how))
    assert not adata.uns


def test_a_case_of_two_groups_is_an_error():
    adata = make(0.4)
    adata.obs.loc["patch_0", "group"] = "EBV-"
    with pytest.raises(ValueError, match="1 of 12 cases have several values"):
        ks.tl.case_retrieval(adata, "group", case_key="case", use_rep="X")
