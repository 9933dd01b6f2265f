import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad, read_zarr
from scipy.stats import mannwhitneyu

from kronos_sc import get, tl


def study(n_cases=12, units=80, *, more=0.0, groups=("A", "B"), seed=0):
    """Cases of which those of the last group have `more` of the first cluster."""
    rng = np.random.default_rng(seed)
    case = np.repeat(np.arange(n_cases), units)
    group = np.array(groups)[case % len(groups)]
    cluster = rng.choice(["one", "two", "three"], p=[0.3, 0.3, 0.4], size=len(case))
    cluster[(rng.random(len(case)) < more) & (group == groups[-1])] = "one"
    obs = pd.DataFrame({"cluster": pd.Categorical(cluster), "group": group, "donor": [f"d{c:02d}" for c in case]})
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs)


def test_the_cluster_that_grows_is_found():
    adata = study(more=0.5)
    tl.enrichment(adata, "cluster", group_key="group", case_key="donor")
    table = get.result(adata, "cluster_enrichment").set_index("cluster")
    assert table.loc["one", "effect"] == -1  # every B has more than every A
    assert table.loc["one", "p_adjusted"] < 0.01
    assert table.loc["one", "median_b"] > table.loc["one", "median_a"] + 0.2
    assert (table["n_a"] == 6).all()
    assert (table[["group_a", "group_b"]] == ["A", "B"]).all(axis=None)


def test_it_is_scipy_on_a_cross_table():
    adata = study()
    tl.enrichment(adata, "cluster", group_key="group", case_key="donor")
    table = get.result(adata, "cluster_enrichment").set_index("cluster")
    shares = pd.crosstab(adata.obs["donor"], adata.obs["cluster"], normalize="index")
    first = adata.obs.groupby("donor")["group"].first() == "A"
    for name in shares:
        test = mannwhitneyu(shares.loc[first, name], shares.loc[~first, name])
        assert table.loc[name, "statistic"] == test.statistic
        assert table.loc[name, "p_value"] == pytest.approx(test.pvalue)
    composition = get.result(adata, "cluster_enrichment", table="composition")
    back = composition.pivot(index="case", columns="cluster", values="share")
    np.testing.assert_allclose(back[shares.columns], shares)


def test_cells_without_a_difference_rarely_give_one():
    """Cases are counted, not cells.

    Of 100 studies without an effect about five have p < 0.05 for a cluster, whatever the cells are.
    """
    small = []
    for seed in range(100):
        adata = study(n_cases=10, units=300, seed=seed)
        tl.enrichment(adata, "cluster", group_key="group", case_key="donor")
        small.append(get.result(adata, "cluster_enrichment")["p_value"].iloc[0] < 0.05)
    assert np.mean(small) < 0.13


def test_two_of_three_groups_in_the_order_named():
    adata = study(groups=("A", "B", "C"), more=0.6)
    tl.enrichment(adata, "cluster", group_key="group", case_key="donor", groups=("C", "A"), key_added="ca")
    table = get.result(adata, "ca").set_index("cluster")
    assert table.loc["one", "effect"] == 1
    assert set(get.result(adata, "ca", table="composition")["group"]) == {"A", "C"}


def test_missing_clusters_groups_and_cases_are_left_out():
    adata = study()
    adata.obs["cluster"] = adata.obs["cluster"].where(np.arange(adata.n_obs) % 7 != 0)
    adata.obs["group"] = adata.obs["group"].where(adata.obs["donor"] != "d03")
    adata.obs.loc[adata.obs["donor"] == "d05", "cluster"] = np.nan
    tl.enrichment(adata, "cluster", group_key="group", case_key="donor")
    assert get.result(adata, "cluster_enrichment")[["n_a", "n_b"]].iloc[0].tolist() == [6, 4]
    shares = get.result(adata, "cluster_enrichment", table="composition").groupby("case")["share"].sum()
    np.testing.assert_allclose(shares, 1)


def test_too_few_cases_for_any_p_are_named():
    with pytest.warns(UserWarning, match="3 and 3 cases are too few for this test.*p = 0.1"):
        tl.enrichment(study(n_cases=6), "cluster", group_key="group", case_key="donor")


def test_copy_and_round_trip(tmp_path):
    adata = study()
    out = tl.enrichment(adata, "cluster", group_key="group", case_key="donor", copy=True)
    assert not adata.uns
    out.write_h5ad(tmp_path / "a.h5ad")
    out.write_zarr(tmp_path / "a.zarr")
    for back in (read_h5ad(tmp_path / "a.h5ad"), read_zarr(tmp_path / "a.zarr")):
        for table in ("enrichment", "composition"):
            pd.testing.assert_frame_equal(
                get.result(back, "cluster_enrichment", table=table), get.result(out, "cluster_enrichment", table=table)
            )


@pytest.mark.parametrize(
    ("groups", "arguments", "error", "message"),
    [
        (("A", "B", "C"), {}, ValueError, r"has 3 groups of cases .*groups=\('a', 'b'\)"),
        (("A", "B"), {"groups": ("A", "Z")}, KeyError, "no case in group 'Z'; there are: 'A', 'B'"),
        (("A", "B"), {"groups": ("A", "A")}, ValueError, "two different groups"),
        (("A", "B"), {"groups": "AB"}, ValueError, "two different groups"),
        (("A", "B"), {"case_key": "group"}, ValueError, "at least two cases.*1 in 'A', 1 in 'B'.*case_key="),
        (("A", "B"), {"group_key": "cluster"}, ValueError, "12 of 12 cases have several values of 'cluster'"),
        (("A", "B"), {"group_key": "response"}, KeyError, "group_key="),
    ],
)
def test_error(groups, arguments, error, message):
    adata = study(groups=groups)
    with pytest.raises(error, match=message):
        tl.enrichment(adata, "cluster", **({"group_key": "group", "case_key": "donor"} | arguments))
    assert not adata.uns
