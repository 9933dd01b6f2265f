import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex

from kronos_sc import get, pl, tl


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    case = np.repeat(np.arange(12), 60)
    cluster = rng.choice(["one", "two", "three"], size=720)
    cluster[(case % 2 == 1) & (rng.random(720) < 0.5)] = "two"
    obs = pd.DataFrame({"cluster": cluster, "group": np.array(["A", "B"])[case % 2], "donor": case.astype(str)})
    obs.index = obs.index.astype(str)
    adata = AnnData(obs=obs)
    tl.enrichment(adata, "cluster", group_key="group", case_key="donor")
    return adata


def test_every_case_is_a_point_and_every_cluster_a_line(study, ax):
    pl.enrichment(study, "cluster_enrichment", ax=ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["one", "three", "two"]
    points = [p for p in ax.collections if len(p.get_offsets()) == 6]
    assert len(points) == 6  # three clusters × two groups
    table = get.result(study, "cluster_enrichment", table="composition")
    first = table[(table["cluster"] == "one") & (table["group"] == "A")]["share"] * 100
    np.testing.assert_allclose(points[0].get_offsets()[:, 0], first)
    assert to_hex(points[0].get_facecolors()[0]) == "#0072b2"


def test_stars_are_adjusted_p(study, ax):
    pl.enrichment(study, "cluster_enrichment", ax=ax)
    p = get.result(study, "cluster_enrichment")["p_adjusted"]
    wanted = ["***" if x < 0.001 else "**" if x < 0.01 else "*" if x < 0.05 else "" for x in p]
    assert [text.get_text() for text in ax.texts] == wanted
    assert "**" in wanted
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["A (n = 6)", "B (n = 6)"]


def test_clusters_and_colours_can_be_chosen(study, ax):
    pl.enrichment(study, "cluster_enrichment", clusters=["two", "one"], palette={"A": "black", "B": "red"}, ax=ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["two", "one"]
    assert to_hex(ax.get_legend().get_patches()[1].get_edgecolor()) == "#ff0000"
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # from top to bottom


def test_the_figure_grows(study):
    few = pl.enrichment(study, "cluster_enrichment", clusters=["one"])
    all_of_them = pl.enrichment(study, "cluster_enrichment")
    assert all_of_them.figure.get_figheight() > few.figure.get_figheight()


def test_errors(study):
    with pytest.raises(KeyError, match="no cluster in this result 'four'"):
        pl.enrichment(study, "cluster_enrichment", clusters=["four"])
    with pytest.raises(KeyError, match="no result in uns"):
        pl.enrichment(study, "none")
    adata = study.copy()
    adata.X = np.random.default_rng(0).random((720, 0), dtype=np.float32)
    adata.obsm["X_kronos"] = np.random.default_rng(0).random((720, 4), dtype=np.float32)
    tl.ari(adata, "cluster", use_rep="X_kronos")
    with pytest.raises(
        ValueError, match=r"made by .*ari, not by tl\.enrichment, whose results are: 'cluster_enrichment'"
    ):
        pl.enrichment(adata, "cluster_ari")
