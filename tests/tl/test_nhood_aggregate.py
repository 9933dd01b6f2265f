import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad, read_zarr
from scipy import sparse

from kronos_sc import get, tl
from kronos_sc._analysis import reduce


@pytest.fixture
def cells():
    """Two hundred units on a jittered grid, joined to their nearest, with an embedding."""
    from sklearn.neighbors import kneighbors_graph

    rng = np.random.default_rng(0)
    xy = np.stack(np.meshgrid(np.arange(20), np.arange(10)), -1).reshape(-1, 2) + rng.random((200, 2)) * 0.4
    obs = pd.DataFrame(index=[f"c{i}" for i in range(200)])
    graph = kneighbors_graph(xy, 5)
    return AnnData(
        X=rng.random((200, 4), dtype=np.float32),
        obs=obs,
        obsm={"spatial": xy, "X_kronos": rng.normal(size=(200, 7)).astype(np.float32)},
        obsp={"spatial_connectivities": graph},
    )


def test_the_first_ring_is_mean_and_variance_of_the_neighbours(cells):
    assert tl.nhood_aggregate(cells, hops=(0, 1)) is None
    values, x = cells.obsm["X_kronos_nhood"], cells.obsm["X_kronos"]
    assert values.shape == (200, 21)
    assert values.dtype == np.float32
    for i in (0, 57, 199):
        around = x[cells.obsp["spatial_connectivities"][i].indices]
        np.testing.assert_allclose(values[i], np.concatenate([x[i], around.mean(0), around.var(0)]), atol=1e-6)


def test_the_record_says_which_columns_hold_what(cells):
    tl.nhood_aggregate(cells)
    layout = get.result(cells, "kronos_nhood")
    assert layout["hop"].tolist() == [0, 1, 1, 2, 2]
    assert layout["stat"].tolist() == ["value", "mean", "var", "mean", "var"]
    assert layout["stop"].iloc[-1] == cells.obsm["X_kronos_nhood"].shape[1] == 35
    params = cells.uns["kronos_nhood"]["params"]
    assert params["connectivity_key"] == "spatial_connectivities"
    assert params["hops"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("form", ["weights", "loops", "dense", "explicit zeros", "coo"])
def test_only_the_edges_of_a_graph_count(cells, form):
    tl.nhood_aggregate(cells)
    plain, graph = cells.obsm["X_kronos_nhood"], cells.obsp["spatial_connectivities"].copy()
    if form == "weights":
        graph.data = np.random.default_rng(1).normal(size=len(graph.data))
    if form == "loops":
        graph = (graph + sparse.eye(200)).tocsr()
    if form == "explicit zeros":
        graph = (
            graph + sparse.csr_matrix((np.zeros(200), (np.arange(200), np.arange(200)[::-1])), shape=(200, 200))
        ).tocsr()
    other = AnnData(obs=cells.obs, obsm={"X_kronos": cells.obsm["X_kronos"]})
    other.obsp["spatial_connectivities"] = {"dense": graph.toarray(), "coo": graph.tocsc()}.get(form, graph)
    tl.nhood_aggregate(other)
    np.testing.assert_allclose(other.obsm["X_kronos_nhood"], plain, atol=1e-6)


@pytest.mark.parametrize("rows_held", [1, 13, 50])
def test_the_size_of_blocks_does_not_matter(cells, monkeypatch, rows_held):
    tl.nhood_aggregate(cells)
    whole = cells.obsm["X_kronos_nhood"].copy()
    monkeypatch.setattr(reduce, "VALUES_HELD", 7 * rows_held)
    tl.nhood_aggregate(cells)
    np.testing.assert_allclose(cells.obsm["X_kronos_nhood"], whole, atol=1e-6)


def test_where_the_rows_lie_does_not_matter(cells):
    tl.nhood_aggregate(cells)
    cells.obsm["X_lazy"] = da.from_array(cells.obsm["X_kronos"], chunks=(33, 7))
    tl.nhood_aggregate(cells, use_rep="X_lazy")
    np.testing.assert_array_equal(cells.obsm["X_lazy_nhood"], cells.obsm["X_kronos_nhood"])


def test_the_order_of_units_does_not_matter(cells):
    tl.nhood_aggregate(cells)
    mixed = cells[np.random.default_rng(3).permutation(200)].copy()
    before = mixed.obsm["X_kronos_nhood"].copy()
    tl.nhood_aggregate(mixed)
    np.testing.assert_allclose(mixed.obsm["X_kronos_nhood"], before, atol=1e-6)


def test_units_without_numbers_are_nobodys_neighbours(cells):
    cells.obsm["X_kronos"][10] = np.nan
    tl.nhood_aggregate(cells, hops=(0, 1), stats="mean")
    values = cells.obsm["X_kronos_nhood"]
    assert np.isnan(values).any(1).nonzero()[0].tolist() == [10]
    near = next(i for i in range(200) if i != 10 and 10 in cells.obsp["spatial_connectivities"][i].indices)
    others = [j for j in cells.obsp["spatial_connectivities"][near].indices if j != 10]
    np.testing.assert_allclose(values[near, 7:], cells.obsm["X_kronos"][others].mean(0), atol=1e-6)


def test_components_make_it_narrow(cells):
    from sklearn.decomposition import PCA

    tl.nhood_aggregate(cells, hops=(0, 1), n_pcs=3, key_added="narrow")
    assert cells.obsm["X_narrow"].shape == (200, 9)
    theirs = PCA(3).fit_transform(cells.obsm["X_kronos"])
    np.testing.assert_allclose(np.abs(cells.obsm["X_narrow"][:, :3]), np.abs(theirs), atol=1e-4)


def test_a_graph_over_several_images_at_once_is_pointed_out(pairs):
    from sklearn.neighbors import kneighbors_graph

    pairs.obsp["spatial_connectivities"] = kneighbors_graph(pairs.obsm["spatial"], 5)
    with pytest.warns(UserWarning, match="library_key='element'"):
        tl.nhood_aggregate(pairs, use_rep="X")
    squidpy = pytest.importorskip("squidpy")
    squidpy.gr.spatial_neighbors_knn(pairs, n_neighs=5, library_key="element")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="kronos_sc")
        tl.nhood_aggregate(pairs, use_rep="X")


def test_copy_and_files(cells, tmp_path):
    new = tl.nhood_aggregate(cells, copy=True)
    assert "X_kronos_nhood" not in cells.obsm
    assert not cells.uns
    new.write_h5ad(tmp_path / "a.h5ad")
    new.write_zarr(tmp_path / "a.zarr")
    for back in (read_h5ad(tmp_path / "a.h5ad"), read_zarr(tmp_path / "a.zarr")):
        pd.testing.assert_frame_equal(get.result(back, "kronos_nhood"), get.result(new, "kronos_nhood"))
        np.testing.assert_array_equal(back.obsm["X_kronos_nhood"], new.obsm["X_kronos_nhood"])


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"use_rep": "X_kronus"}, KeyError, "Did you mean 'X_kronos'"),
        ({"connectivity_key": "connectivities"}, KeyError, "spatial_neighbors_knn"),
        ({"hops": (-1, 0)}, ValueError, "are no rings"),
        ({"hops": ()}, ValueError, "are no rings"),
        ({"hops": (0.5,)}, ValueError, "are no rings"),
        ({"stats": ("median",)}, ValueError, "stats can be 'mean', 'var'"),
        ({"n_pcs": 0}, ValueError, "n_pcs must be"),
        ({"key_added": "kronos"}, ValueError, "would replace obsm"),
    ],
)
def test_bad_input_is_named_and_nothing_changes(cells, how, error, message):
    with pytest.raises(error, match=message):
        tl.nhood_aggregate(cells, **how)
    assert "X_kronos_nhood" not in cells.obsm
    assert not cells.uns


def test_a_graph_without_edges_is_named(cells):
    cells.obsp["spatial_connectivities"] = sparse.eye(200, format="csr")
    with pytest.raises(ValueError, match="has no edges"):
        tl.nhood_aggregate(cells)


@pytest.fixture
def pairs():
    """Cells of two simulated images that lie on top of each other."""
    from kronos_sc import datasets

    return datasets.tissue(shape=(160, 160), n_images=2, rng=0)["table"].copy()
