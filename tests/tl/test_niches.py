import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from sklearn.metrics import adjusted_rand_score

from kronos_sc import get, tl


@pytest.fixture(scope="module")
def halves():
    """Two halves of a square with the same two kinds of cells: kept apart on the left, mixed on the right."""
    from sklearn.neighbors import kneighbors_graph

    rng = np.random.default_rng(0)
    xy = rng.random((800, 2)) * [40, 20]
    kind = np.where(xy[:, 0] < 20, 0, rng.integers(0, 2, 800))
    x = (np.array([[0.0] * 5, [3.0] * 5])[kind] + rng.normal(size=(800, 5))).astype(np.float32)
    table = AnnData(
        obs=pd.DataFrame({"half": np.where(xy[:, 0] < 20, "left", "right")}, index=[f"c{i}" for i in range(800)]),
        obsm={"spatial": xy, "X_kronos": x},
        obsp={"spatial_connectivities": kneighbors_graph(xy, 8)},
    )
    tl.nhood_aggregate(table)
    return table


@pytest.fixture
def cells(halves):
    return halves.copy()


def test_niches_see_the_neighbourhood_where_clusters_see_the_cell(cells):
    assert tl.niches(cells, n_niches=2) is None
    tl.cluster(cells, n_clusters=2)
    by_place = adjusted_rand_score(cells.obs["half"], cells.obs["kronos_niche"])
    assert by_place > 0.75
    assert by_place > adjusted_rand_score(cells.obs["half"], cells.obs["kronos_cluster"]) + 0.2
    table = get.result(cells, "kronos_niche")
    assert table["niche"].tolist() == ["0", "1"]
    assert table["n_units"].sum() == 800
    assert table["share"].sum() == pytest.approx(1)


@pytest.mark.parametrize("how", [{"n_pcs": None}, {"scale": False}, {"method": "minibatch"}, {"n_pcs": 3}])
def test_ways_to_get_there(cells, how):
    tl.niches(cells, n_niches=2, **how)
    assert adjusted_rand_score(cells.obs["half"], cells.obs["kronos_niche"]) > 0.6


def test_scaling_makes_units_of_measure_irrelevant(cells):
    tl.niches(cells, n_niches=3)
    cells.obsm["X_other_nhood"] = cells.obsm["X_kronos_nhood"] * np.linspace(
        0.01, 100, cells.obsm["X_kronos_nhood"].shape[1]
    )
    tl.niches(cells, use_rep="X_other_nhood", n_niches=3)
    assert adjusted_rand_score(cells.obs["kronos_niche"], cells.obs["other_niche"]) > 0.99


def test_lazy_rows_and_missing_ones(cells):
    values = cells.obsm["X_kronos_nhood"].copy()
    values[5] = np.nan
    cells.obsm["X_plain_nhood"], cells.obsm["X_lazy_nhood"] = values, da.from_array(values, chunks=(90, 25))
    for name in ("plain", "lazy"):
        tl.niches(cells, use_rep=f"X_{name}_nhood", n_niches=2, method="minibatch")
        assert cells.obs[f"{name}_niche"].isna().to_numpy().nonzero()[0].tolist() == [5]
    assert cells.obs["plain_niche"].equals(cells.obs["lazy_niche"])


def test_copy_seed_and_file(cells, tmp_path):
    new = tl.niches(cells, n_niches=4, rng=3, copy=True)
    assert "kronos_niche" not in cells.obs
    tl.niches(cells, n_niches=4, rng=3)
    assert cells.obs["kronos_niche"].equals(new.obs["kronos_niche"])
    assert new.uns["kronos_niche"]["params"]["rng"] == 3
    new.write_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(
        get.result(read_h5ad(tmp_path / "a.h5ad"), "kronos_niche"), get.result(new, "kronos_niche")
    )


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"use_rep": "X_kronos_nhod"}, KeyError, "Did you mean 'X_kronos_nhood'"),
        ({"n_niches": 0}, ValueError, "n_niches must be"),
        ({"n_niches": None}, ValueError, "n_niches="),
        ({"n_niches": 801}, ValueError, "800 units, too few for 801 niches"),
        ({"n_pcs": 0}, ValueError, "n_pcs must be"),
        ({"method": "gmm"}, ValueError, "method can be"),
    ],
)
def test_bad_input_is_named_and_nothing_changes(cells, how, error, message):
    with pytest.raises(error, match=message):
        tl.niches(cells, **how)
    assert "kronos_niche" not in cells.obs
    assert "kronos_niche" not in cells.uns


def test_in_a_real_lung_niches_hang_together(real):
    import anndata
    from sklearn.neighbors import kneighbors_graph

    cells = anndata.read_h5ad(real / "cell_tables" / "scimap_exemplar001.h5ad")
    cells.obsp["spatial_connectivities"] = kneighbors_graph(cells.obs[["X_centroid", "Y_centroid"]].to_numpy(), 10)
    tl.nhood_aggregate(cells, use_rep="X")
    tl.niches(cells, use_rep="X_X_nhood", n_niches=6)
    tl.cluster(cells, use_rep="X", n_clusters=6)
    edges = cells.obsp["spatial_connectivities"].tocoo()
    same = {
        key: (cells.obs[key].cat.codes.to_numpy()[edges.row] == cells.obs[key].cat.codes.to_numpy()[edges.col]).mean()
        for key in ("X_niche", "X_cluster")
    }
    assert same["X_niche"] > 0.7 > same["X_cluster"]
    tl.ari(cells, "phenotype", use_rep="X")  # the types were gated on these markers
    assert get.result(cells, "phenotype_ari")["ari"].item() > 0.25
