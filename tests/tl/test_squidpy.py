"""Clusters and niches go into squidpy as they are, and squidpy's graphs into neighbourhoods."""

import numpy as np
import pytest

from kronos_sc import datasets, tl

sq = pytest.importorskip("squidpy")


@pytest.fixture(scope="module")
def simulated():
    table = datasets.tissue(shape=(200, 200), n_images=2, rng=0)["table"].copy()
    tl.cluster(table, use_rep="X", n_clusters=4)
    return table


@pytest.fixture
def cells(simulated):
    return simulated.copy()


@pytest.mark.parametrize(
    ("graph", "how"),
    [
        ("spatial_neighbors_knn", {"n_neighs": 6}),
        ("spatial_neighbors_radius", {"radius": 25}),
        ("spatial_neighbors_delaunay", {}),
        ("spatial_neighbors_grid", {"n_neighs": 6}),
    ],
)
def test_every_graph_will_do(cells, graph, how):
    getattr(sq.gr, graph)(cells, library_key="element", **how)
    tl.nhood_aggregate(cells, use_rep="X")
    values = cells.obsm["X_X_nhood"]
    assert values.shape == (cells.n_obs, 5 * cells.n_vars)
    assert np.isfinite(values).all()
    tl.niches(cells, use_rep="X_X_nhood", n_niches=3)
    assert cells.obs["X_niche"].nunique() == 3


@pytest.mark.parametrize("key", ["X_cluster", "X_niche"])
def test_enrichment_and_co_occurrence(cells, key):
    sq.gr.spatial_neighbors_knn(cells, n_neighs=6, library_key="element")
    tl.nhood_aggregate(cells, use_rep="X")
    tl.niches(cells, use_rep="X_X_nhood", n_niches=4)
    sq.gr.nhood_enrichment(cells, cluster_key=key, seed=0, n_perms=50, show_progress_bar=False)
    assert cells.uns[f"{key}_nhood_enrichment"]["zscore"].shape == (4, 4)
    one = cells[cells.obs["element"] == cells.obs["element"].iloc[0]].copy()
    sq.gr.co_occurrence(one, cluster_key=key, interval=5)
    present = one.obs[key].cat.remove_unused_categories().cat.categories
    assert one.uns[f"{key}_co_occurrence"]["occ"].shape[0] >= len(present)
