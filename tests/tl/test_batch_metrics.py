"""scIB's batch metrics, through scib-metrics."""

import sys
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import silhouette_samples

import kronos_sc as ks

N = 240


@pytest.fixture(scope="module")
def made():
    """Two cell types, three batches: mixed in the embedding, apart in mean marker expression."""
    rng = np.random.default_rng(0)
    kind, batch = rng.integers(0, 2, N), rng.integers(0, 3, N)
    mixed = rng.standard_normal((N, 12)) + 4 * kind[:, None]
    apart = rng.standard_normal((N, 5)) + 6 * batch[:, None] * [1, -1, 1, -1, 1] + 3 * kind[:, None]
    obs = pd.DataFrame(
        {"kind": np.array(["T", "B"])[kind], "batch": np.array(["x", "y", "z"])[batch]},
        index=[f"c{i}" for i in range(N)],
    )
    table = anndata.AnnData(
        obs=obs, obsm={"X_kronos": mixed.astype(np.float32), "X_mean_marker": apart.astype(np.float32)}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nothing of JAX or UMAP reaches the user
        ks.tl.batch_metrics(table, "batch", label_key="kind", use_rep="X_kronos")
    return table


@pytest.fixture
def table(made):
    return made.copy()


def test_all_metrics_that_apply_and_which_way_is_better(made):
    found = ks.get.result(made, "batch_metrics")
    names = ["silhouette_batch", "bras", "graph_connectivity", "ilisi", "kbet", "pcr"]
    assert list(zip(found["representation"], found["metric"], strict=True)) == [
        (r, m) for r in ("kronos", "mean_marker") for m in names
    ]
    assert found["value"].between(0, 1).all()
    wide = found.pivot_table(index="metric", columns="representation", values="value")
    for name, better in dict(zip(found["metric"], found["better"], strict=True)).items():
        if name != "graph_connectivity":  # which asks whether labels hang together
            assert (wide.loc[name, "kronos"] > wide.loc[name, "mean_marker"]) == (better == "higher"), name


def test_the_summary_is_for_the_plot(made):
    scores, summary = ks.get.result(made, "batch_metrics"), ks.get.result(made, "batch_metrics", table="summary")
    both = scores.merge(summary, on=["representation", "metric"], validate="one_to_one")
    assert len(both) == len(scores) == len(summary)
    np.testing.assert_array_equal(both["value"], both["mean"])
    assert (summary["n"] == 1).all()
    assert summary[["sd", "low", "high"]].isna().all(axis=None)
    ax = ks.pl.scores(made, "batch_metrics")
    shown = {c.get_label(): [bar.get_height() for bar in c] for c in ax.containers if hasattr(c, "patches")}
    assert list(shown) == ["kronos", "mean_marker"]
    for name, heights in shown.items():
        assert heights == pytest.approx(scores.loc[scores["representation"] == name, "value"].tolist())


def test_batch_silhouette_of_scib_is_one_minus_the_absolute_within_labels(made):
    found = ks.get.result(made, "batch_metrics").set_index(["representation", "metric"])["value"]
    x, kind, batch = made.obsm["X_mean_marker"], made.obs["kind"], made.obs["batch"]
    expected = np.mean([1 - np.abs(silhouette_samples(x[kind == k], batch[kind == k])).mean() for k in ("T", "B")])
    assert found["mean_marker", "silhouette_batch"] == pytest.approx(expected, abs=1e-4)


def test_pcr_is_the_share_of_variance_that_the_batch_explains(made):
    found = ks.get.result(made, "batch_metrics").set_index(["representation", "metric"])["value"]
    pca = PCA(4).fit(made.obsm["X_mean_marker"])
    dummies, z = pd.get_dummies(made.obs["batch"]).to_numpy(float), pca.transform(made.obsm["X_mean_marker"])
    r2 = [LinearRegression().fit(dummies, z[:, i]).score(dummies, z[:, i]) for i in range(4)]
    expected = np.average(r2, weights=pca.explained_variance_)
    assert found["mean_marker", "pcr"] == pytest.approx(expected, abs=0.01)


def test_kbet_by_hand(made):
    from scipy.stats import chi2

    x, batch = made.obsm["X_kronos"].astype(float), pd.Categorical(made.obs["batch"]).codes
    nearest = np.argsort(((x[:, None] - x[None]) ** 2).sum(-1), axis=1)[:, :50]
    observed = np.stack([(batch[nearest] == code).sum(axis=1) for code in range(3)], axis=1)
    expected = 50 * np.bincount(batch) / N
    accepted = chi2.sf(((observed - expected) ** 2 / expected).sum(axis=1), 2) >= 0.05
    found = ks.get.result(made, "batch_metrics").set_index(["representation", "metric"])["value"]
    assert found["kronos", "kbet"] == pytest.approx(accepted.mean(), abs=0.01)


def test_without_labels_only_what_needs_none(table):
    ks.tl.batch_metrics(table, "batch", use_rep="X_kronos", key_added="plain", max_units=200)
    found = ks.get.result(table, "plain")
    assert list(found["metric"].unique()) == ["ilisi", "kbet", "pcr"]
    both = ks.get.result(table, "batch_metrics").merge(found, on=["representation", "metric"])
    np.testing.assert_allclose(both["value_x"], both["value_y"], atol=0.15)
    assert ks.get.result(table, "plain")["value"].notna().all()


def test_missing_values_are_left_out_and_copy_leaves_the_table(table):
    table.obs["kind"] = pd.Categorical(table.obs["kind"].where(np.arange(N) > 3))
    table.obsm["X_kronos"][7] = np.nan
    before = set(table.uns)
    with pytest.warns(UserWarning, match="1 units have no finite features"):
        out = ks.tl.batch_metrics(
            table, "batch", label_key="kind", use_rep="X_kronos", metrics=["kbet"], key_added="few", copy=True
        )
    assert out.uns["few"]["params"]["n_units"] == N - 5
    assert set(table.uns) == before


def test_results_survive_a_file(made, tmp_path):
    made.write_h5ad(tmp_path / "t.h5ad")
    back = ks.get.result(anndata.read_h5ad(tmp_path / "t.h5ad"), "batch_metrics")
    pd.testing.assert_frame_equal(ks.get.result(made, "batch_metrics"), back)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"batch_key": "bacth"}, KeyError, "no column in obs 'bacth'"),
        ({"label_key": "type"}, KeyError, "no column in obs 'type'.*label_key="),
        ({"metrics": ["ilisi", "asw"]}, ValueError, "metrics='asw' is not a choice; metrics can be 'silhouette_batch'"),
        ({"metrics": []}, ValueError, "metrics is empty"),
        ({"metrics": ["bras", "kbet"]}, ValueError, "'bras' look within labels, and none are named.*label_key="),
        ({"max_units": -1}, ValueError, "max_units must be a whole number"),
        ({"label_key": "batch_too"}, ValueError, "No class of 'batch_too' occurs in two batches"),
        ({"use_rep": "X_half", "metrics": "kbet"}, ValueError, "only 'x' has units with values"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* no finite features")
def test_error(table, how, error, message):
    table.obs["batch_too"] = table.obs["batch"]
    table.obsm["X_half"] = np.where((table.obs["batch"] == "x").to_numpy()[:, None], table.obsm["X_kronos"], np.nan)
    before = set(table.uns)
    with pytest.raises(error, match=message):
        ks.tl.batch_metrics(table, how.pop("batch_key", "batch"), key_added="new", **{"use_rep": "X_kronos"} | how)
    assert set(table.uns) == before


def test_without_the_package_the_extra_is_named(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "scib_metrics", None)
    with pytest.raises(ImportError, match=r'pip install "kronos-sc\[batch\]"'):
        ks.tl.batch_metrics(table, "batch", use_rep="X_kronos", key_added="new")
    assert "new" not in table.uns
