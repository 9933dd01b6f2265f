from fractions import Fraction

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad, read_zarr
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from kronos_sc import get, tl

FAST = {
    "logistic": tl.Logistic(n_components=8),
    "composition": tl.Composition(n_clusters=4, max_per_case=30),
    "mlp": tl.MeanMLP(n_components=8, hidden=8, epochs=15, learning_rate=1e-2),
    "attention": tl.AttentionMIL(
        n_components=6, hidden=8, attention=4, epochs=15, learning_rate=1e-2, bag_size=20, max_per_case=30
    ),
}
EVERY = pytest.mark.parametrize("method", FAST)


def cohort(n_cases=20, units=30, *, effect=1.5, groups=2, seed=0):
    """Cases with units of four kinds; the groups differ in how many of each they have, by `effect`. X says nothing."""
    rng = np.random.default_rng(seed)
    case = np.repeat(np.arange(n_cases), units)
    group = case % groups
    kind = rng.integers(0, 4, len(case))
    kind = np.where(rng.random(len(case)) < 0.4 * effect, group, kind)
    x = (
        rng.normal(size=(4, 12))[kind] * 2
        + rng.normal(size=(len(case), 12))
        + 0.2 * rng.normal(size=(n_cases, 12))[case]
    )
    order = rng.permutation(len(case))
    obs = pd.DataFrame(
        {"group": pd.Categorical(np.array(["well", "sick", "dead"])[group]), "donor": [f"d{c:02d}" for c in case]}
    )
    obs = obs.iloc[order].set_axis([f"c{i}" for i in range(len(case))])
    return AnnData(
        rng.random((len(case), 3), dtype=np.float32), obs=obs, obsm={"X_kronos": x[order].astype(np.float32)}
    )


@pytest.fixture(scope="module")
def study():
    return cohort()


def auroc(adata, key="group_stratify"):
    table = get.result(adata, key, table="summary")
    return table[table["metric"] == "auroc"].set_index("representation")["mean"]


@EVERY
def test_groups_that_differ_are_told_apart_and_a_blind_baseline_is_not(study, method):
    out = tl.stratify(study, "group", case_key="donor", use_rep="X_kronos", method=FAST[method], n_splits=12, copy=True)
    assert auroc(out)["kronos"] > 0.9
    assert auroc(out)["X"] < 0.8
    assert not study.uns


@EVERY
def test_shuffled_labels_give_chance(method):
    """Mean over studies with shuffled labels; a leak of any kind would lift it."""
    means = []
    for seed in range(6):
        adata = cohort(16, 12, seed=seed)
        names = adata.obs["donor"].unique()
        shuffled = np.random.default_rng(seed).permutation(np.arange(16) % 2)
        adata.obs["label"] = adata.obs["donor"].map(dict(zip(names, shuffled.astype(str), strict=True)))
        adata.X = None
        tl.stratify(adata, "label", case_key="donor", use_rep="X_kronos", method=FAST[method], n_splits=8, rng=seed)
        means.append(auroc(adata, "label_stratify")["kronos"])
    assert 0.3 < np.mean(means) < 0.7


@EVERY
def test_test_cases_change_nothing_but_their_own_prediction(study, method):
    """In one split the features of a test case become noise: all other predictions of that split stay as they were."""
    arguments = {"case_key": "donor", "use_rep": "X_kronos", "method": FAST[method], "n_splits": 1}
    alone = study.copy()
    alone.X = None
    before = get.result(
        tl.stratify(alone, "group", **arguments, copy=True), "group_stratify", table="predictions"
    ).set_index("case")
    victim = before.index[0]
    rows = (alone.obs["donor"] == victim).to_numpy()
    alone.obsm["X_kronos"][rows] = np.random.default_rng(9).normal(size=(rows.sum(), 12)) * 20 + 50
    after = get.result(
        tl.stratify(alone, "group", **arguments, copy=True), "group_stratify", table="predictions"
    ).set_index("case")
    others = before.index[1:]
    pd.testing.assert_frame_equal(before.loc[others], after.loc[others])
    assert before.loc[victim, "probability: sick"] != after.loc[victim, "probability: sick"]


@EVERY
def test_a_prediction_rests_on_the_training_cases_and_the_case_itself(study, method):
    """All test cases but one become noise: the prediction of the one stays.

    The units that PCA and k-means would see are among them.
    """
    arguments = {"case_key": "donor", "use_rep": "X_kronos", "method": FAST[method], "n_splits": 1}
    alone = study.copy()
    alone.X = None
    before = get.result(
        tl.stratify(alone, "group", **arguments, copy=True), "group_stratify", table="predictions"
    ).set_index("case")
    rows = alone.obs["donor"].isin(before.index[1:]).to_numpy()
    alone.obsm["X_kronos"][rows] = np.random.default_rng(9).normal(size=(rows.sum(), 12)) * 20 + 50
    after = get.result(
        tl.stratify(alone, "group", **arguments, copy=True), "group_stratify", table="predictions"
    ).set_index("case")
    pd.testing.assert_frame_equal(before.iloc[:1], after.iloc[:1])


def test_more_components_than_cases_make_a_difference():
    """As in the paper, whose scores for 64 and 256 components differ in cohorts of 14 to 28 cases."""
    adata = cohort(14, 30)
    adata.obsm["X_kronos"] = adata.obsm["X_kronos"] @ np.random.default_rng(1).normal(size=(12, 60)).astype(np.float32)
    adata.obsm["X_kronos"] += np.random.default_rng(2).normal(size=(adata.n_obs, 60)).astype(np.float32)
    found = []
    for n in (16, 48):
        tl.stratify(
            adata, "group", case_key="donor", use_rep="X_kronos", method=tl.Logistic(n_components=n), n_splits=2
        )
        found.append(get.result(adata, "group_stratify", table="predictions")["probability: sick"])
    assert not np.allclose(*found)


@pytest.mark.parametrize(
    "method", [tl.Logistic(n_components=8, max_features=24), tl.MeanMLP(n_components=8, max_features=24, epochs=30)]
)
def test_wide_representations_are_projected_first(method):
    adata = cohort()
    adata.obsm["X_kronos"] = adata.obsm["X_kronos"] @ np.random.default_rng(1).normal(size=(12, 300)).astype(np.float32)
    tl.stratify(adata, "group", case_key="donor", use_rep="X_kronos", method=method, n_splits=5)
    assert auroc(adata)["kronos"] > 0.9
    assert adata.uns["group_stratify"]["params"]["options"]["max_features"] == 24


def test_fitting_clusters_on_all_cases_is_the_one_that_sees_test_cases(study):
    arguments = {
        "case_key": "donor",
        "use_rep": "X_kronos",
        "method": tl.Composition(n_clusters=4, fit_on="all"),
        "n_splits": 1,
    }
    before = get.result(
        tl.stratify(study, "group", **arguments, copy=True), "group_stratify", table="predictions"
    ).set_index("case")
    changed = study.copy()
    rows = (study.obs["donor"] == before.index[0]).to_numpy()
    changed.obsm["X_kronos"][rows] += np.random.default_rng(9).normal(size=(rows.sum(), 12)).astype(np.float32) * 20
    tl.stratify(changed, "group", **arguments)
    after = get.result(changed, "group_stratify", table="predictions").set_index("case")
    assert not np.allclose(before["probability: sick"][1:], after["probability: sick"][1:])


def test_scores_are_those_of_the_predictions(study):
    tables = {}
    out = tl.stratify(study, "group", case_key="donor", use_rep="X_kronos", n_splits=5, copy=True)
    for name in ("scores", "predictions", "summary"):
        tables[name] = get.result(out, "group_stratify", table=name)
    for row in tables["scores"].itertuples():
        own = tables["predictions"].query("representation == @row.representation and split == @row.split")
        assert row.auroc == pytest.approx(roc_auc_score(own["true"] == "sick", own["probability: sick"]))
        assert row.balanced_accuracy == pytest.approx(balanced_accuracy_score(own["true"], own["predicted"]))
        assert (row.n_train, row.n_test) == (16, 4)
    kronos = tables["scores"].query("representation == 'kronos'")["auroc"]
    line = tables["summary"].query("representation == 'kronos' and metric == 'auroc'").iloc[0]
    assert line["mean"] == pytest.approx(kronos.mean())
    assert line["high"] - line["mean"] == pytest.approx(1.96 * kronos.std() / np.sqrt(5))


def test_splits_are_shared_and_do_not_depend_on_their_number(study):
    arguments = {"case_key": "donor", "method": FAST["composition"]}
    few = get.result(
        tl.stratify(study, "group", use_rep="X_kronos", n_splits=2, **arguments, copy=True),
        "group_stratify",
        table="predictions",
    )
    more = tl.stratify(study, "group", use_rep=["X", "X_kronos"], n_splits=4, **arguments, copy=True)
    more = get.result(more, "group_stratify", table="predictions")
    for name in ("X", "kronos"):
        one, other = (t[(t["representation"] == name) & (t["split"] < 2)].reset_index(drop=True) for t in (few, more))
        pd.testing.assert_frame_equal(one, other)
    cases = more.groupby(["representation", "split"])["case"].apply(list).unstack()
    assert cases.loc["X"].equals(cases.loc["kronos"])


@pytest.mark.parametrize(("size", "n_train"), [(3, 6), (0.5, 10), (np.int64(2), 4), (1, 2)])
def test_training_cases(study, size, n_train):
    out = tl.stratify(study, "group", case_key="donor", use_rep="X", train_size=size, n_splits=2, copy=True)
    assert (get.result(out, "group_stratify")["n_train"] == n_train).all()


def test_defaults_are_those_of_the_paper(study):
    out = tl.stratify(study, "group", case_key="donor", use_rep="X", method="composition", n_splits=2, copy=True)
    scores = get.result(out, "group_stratify")
    assert scores[["n_train", "n_test"]].iloc[0].tolist() == [10, 10]
    assert out.uns["group_stratify"]["params"]["options"]["n_clusters"] == 8
    assert out.uns["group_stratify"]["params"]["rng"] == 0


@pytest.mark.parametrize("method", ["logistic", "composition", "attention"])
def test_three_groups(method):
    adata = cohort(18, groups=3)
    tl.stratify(adata, "group", case_key="donor", use_rep="X_kronos", method=FAST[method], n_splits=6)
    assert auroc(adata)["kronos"] > 0.8
    predictions = get.result(adata, "group_stratify", table="predictions")
    np.testing.assert_allclose(predictions.filter(like="probability: ").sum(axis=1), 1)
    assert list(adata.uns["group_stratify"]["classes"]) == ["dead", "sick", "well"]


def test_the_order_of_units_and_laziness_change_nothing(study):
    """Methods that read all units of a case give the same however the table is sorted and stored."""
    shuffled = study[np.random.default_rng(1).permutation(study.n_obs)].copy()
    shuffled.obsm["X_kronos"] = da.from_array(shuffled.obsm["X_kronos"], chunks=(70, 12))
    one, other = (
        get.result(
            tl.stratify(a, "group", case_key="donor", use_rep="X_kronos", n_splits=3, copy=True),
            "group_stratify",
            table="predictions",
        )
        for a in (study, shuffled)
    )
    names = [name for name in one if name.startswith("probability")]
    np.testing.assert_allclose(one[names], other[names], atol=1e-4)
    pd.testing.assert_frame_equal(one.drop(columns=names), other.drop(columns=names))


@pytest.mark.parametrize("method", ["composition", "attention"])
def test_lazy_values_give_the_same(study, method):
    lazy = study.copy()
    lazy.obsm["X_kronos"] = da.from_array(lazy.obsm["X_kronos"], chunks=(70, 12))
    one, other = (
        get.result(
            tl.stratify(a, "group", case_key="donor", use_rep="X_kronos", method=FAST[method], n_splits=2, copy=True),
            "group_stratify",
        )
        for a in (study, lazy)
    )
    pd.testing.assert_frame_equal(one, other)


def test_cases_without_label_or_values_are_left_out(study):
    adata = study.copy()
    adata.obs["group"] = adata.obs["group"].where(adata.obs["donor"] != "d02")
    adata.obsm["X_kronos"][(adata.obs["donor"] == "d03").to_numpy()] = np.nan
    adata.obsm["X_kronos"][np.flatnonzero(adata.obs["donor"] == "d04")[:5]] = np.nan
    with (
        pytest.warns(UserWarning, match="35 units have no finite features"),
        pytest.warns(UserWarning, match=r"1 of 20 cases have no unit without NaN and are left out \('d03'\)"),
    ):
        tl.stratify(adata, "group", case_key="donor", use_rep="X_kronos", n_splits=10)
    predictions = get.result(adata, "group_stratify", table="predictions")
    assert {"d02", "d03"}.isdisjoint(predictions["case"])
    assert "d04" in set(predictions["case"])
    assert set(predictions["representation"]) == {"kronos", "X"}  # the same cases for both


def test_round_trip(study, tmp_path):
    out = tl.stratify(
        study, "group", case_key="donor", use_rep="X_kronos", method=FAST["attention"], n_splits=2, copy=True
    )
    out.write_h5ad(tmp_path / "a.h5ad")
    out.write_zarr(tmp_path / "a.zarr")
    for back in (read_h5ad(tmp_path / "a.h5ad"), read_zarr(tmp_path / "a.zarr")):
        for table in ("scores", "summary", "predictions", "roc"):
            pd.testing.assert_frame_equal(
                get.result(back, "group_stratify", table=table), get.result(out, "group_stratify", table=table)
            )


def test_classes_with_a_slash_can_be_stored(tmp_path):
    adata = cohort(8, 5)
    adata.obs["group"] = adata.obs["group"].cat.rename_categories({"sick": "CR/PR", "well": "SD/PD"})
    tl.stratify(adata, "group", case_key="donor", use_rep="X_kronos", train_size=2, n_splits=2)
    adata.write_zarr(tmp_path / "a.zarr")
    back = get.result(read_zarr(tmp_path / "a.zarr"), "group_stratify", table="predictions")
    assert {"probability: CR|PR", "probability: SD|PD"} <= set(back.columns)
    assert set(back["true"]) == {"CR/PR", "SD/PD"}
    pd.testing.assert_frame_equal(back, get.result(adata, "group_stratify", table="predictions"))


def test_options_hold_plain_values(study):
    """Whatever number or device was given, the record can hold it."""
    import torch

    method = tl.MeanMLP(
        n_components=np.int64(4),
        dropout=np.float32(0.25),
        epochs=2,
        learning_rate=Fraction(1, 100),
        device=torch.device("cpu"),
    )
    out = tl.stratify(study, "group", case_key="donor", use_rep="X", method=method, n_splits=1, copy=True)
    options = out.uns["group_stratify"]["params"]["options"]
    assert options["device"] == "cpu"
    assert {name: type(options[name]) for name in ("n_components", "dropout", "learning_rate")} == {
        "n_components": int,
        "dropout": float,
        "learning_rate": float,
    }


def test_what_cannot_be_recorded_fails_before_the_work(study, monkeypatch):
    monkeypatch.setattr("kronos_sc.tl._stratify._predict", lambda *_: pytest.fail("worked in vain"))
    monkeypatch.setattr("kronos_sc.tl._stratify.asdict", lambda _: {"device": object()})
    with pytest.raises(TypeError, match="A record cannot hold object"):
        tl.stratify(study, "group", case_key="donor", use_rep="X", copy=True)


def test_starts_of_kmeans_are_recorded_as_used():
    assert tl.Composition().n_init == 1
    assert tl.Composition(fit_on="all").n_init == 10
    assert tl.Composition(fit_on="all", n_init=2).n_init == 2
    assert tl.Composition().max_fit == 4096


def of_one_group(adata):
    adata.obs["group"] = "well"


def with_a_lonely_case(adata):
    adata.obs["group"] = np.where(adata.obs["donor"] == "d01", "sick", "well")


def with_torn_cases(adata):
    adata.obs.iloc[:3, adata.obs.columns.get_loc("group")] = "sick"
    adata.obs.iloc[3:9, adata.obs.columns.get_loc("group")] = "well"


@pytest.mark.parametrize(
    ("spoil", "arguments", "error", "message"),
    [
        (of_one_group, {}, ValueError, "has 1 classes"),
        (with_a_lonely_case, {}, ValueError, "A group needs 2 cases .* 20 cases .1 sick, 19 well.*merge groups"),
        (with_torn_cases, {}, ValueError, "cases have several values of 'group'.*case_key"),
        (
            None,
            {"method": "composition", "train_size": 10},
            ValueError,
            "A group needs 11 cases.*Choose train_size of at most 9",
        ),
        (None, {"train_size": 1.5}, ValueError, "train_size must be a share of cases"),
        (None, {"train_size": 0}, ValueError, "train_size must be a share of cases"),
        (None, {"train_size": True}, ValueError, "train_size must be a share of cases"),
        (None, {"method": tl.Logistic}, ValueError, "is not a choice; .*'attention'"),
        (None, {"method": "forest"}, ValueError, "method='forest' is not a choice; .*'attention'"),
        (None, {"n_splits": 0}, ValueError, "n_splits must be a whole number"),
        (None, {"use_rep": "X_uni"}, KeyError, "no representation in obsm 'X_uni'"),
        (None, {"case_key": "patient"}, KeyError, "case_key="),
        (None, {"target": "response"}, KeyError, "target="),
    ],
)
def test_error(study, spoil, arguments, error, message):
    adata = study.copy()
    if spoil:
        spoil(adata)
    arguments = {"target": "group", "case_key": "donor", "use_rep": "X_kronos"} | arguments
    with pytest.raises(error, match=message):
        tl.stratify(adata, arguments.pop("target"), **arguments)
    assert not adata.uns


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tl.Composition(n_clusters=0), "n_clusters must be"),
        (lambda: tl.Composition(fit_on="test"), "fit_on='test' is not a choice"),
        (lambda: tl.Composition(max_per_case=0), "max_per_case must be"),
        (lambda: tl.Composition(max_fit=0), "max_fit must be"),
        (lambda: tl.Composition(n_init=0), "n_init must be"),
        (lambda: tl.Logistic(max_features=0), "max_features must be"),
        (lambda: tl.MeanMLP(max_per_case=0.5), "max_per_case must be"),
        (lambda: tl.MeanMLP(weight_decay=-1), "weight_decay must be at least 0"),
        (lambda: tl.Logistic(C=0), "C must be a positive number"),
        (lambda: tl.MeanMLP(dropout=1), "dropout must be at least 0 and below 1"),
        (lambda: tl.AttentionMIL(validation=-0.1), "validation must be at least 0"),
        (lambda: tl.AttentionMIL(learning_rate=-1), "learning_rate must be a positive number"),
    ],
)
def test_options_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
