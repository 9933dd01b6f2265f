import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad, read_zarr
from sklearn.metrics import adjusted_rand_score

from kronos_sc import get, tl


@pytest.fixture
def cells():
    """Four groups in two images, with a second embedding and a baseline."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), [120, 80, 60, 40])
    x = (rng.normal(size=(4, 6))[truth] * 5 + rng.normal(size=(300, 6))).astype(np.float32)
    order = rng.permutation(300)
    obs = pd.DataFrame({"truth": pd.Categorical(truth[order].astype(str)), "image": np.where(order % 2, "a", "b")})
    obs.index = obs.index.astype(str)
    return AnnData(X=rng.random((300, 3), dtype=np.float32), obs=obs, obsm={"X_kronos": x[order], "X_other": -x[order]})


@pytest.mark.parametrize("how", [{}, {"method": "minibatch"}, {"scale": True}, {"method": "minibatch", "scale": True}])
def test_groups_are_found_and_named_by_size(cells, how):
    assert tl.cluster(cells, n_clusters=4, **how) is None
    found = cells.obs["kronos_cluster"]
    assert list(found.cat.categories) == ["0", "1", "2", "3"]
    assert found.value_counts(sort=False).tolist() == [120, 80, 60, 40]
    assert adjusted_rand_score(cells.obs["truth"], found) == 1
    table = get.result(cells, "kronos_cluster")
    assert table["n_units"].tolist() == [120, 80, 60, 40]
    assert table["share"].sum() == pytest.approx(1)
    assert set(table["column"]) == {"kronos_cluster"}


def test_leiden_needs_no_number(cells):
    before = set(cells.uns), set(cells.obsp)
    tl.cluster(cells, n_clusters=None, method="leiden", resolution=0.05)
    assert adjusted_rand_score(cells.obs["truth"], cells.obs["kronos_cluster"]) == 1
    assert set(cells.uns) - before[0] == {"kronos_cluster"}  # no graph stays behind
    assert set(cells.obsp) == before[1]


def test_auto_means_all_rows_unless_they_lie_elsewhere(cells):
    tl.cluster(cells, n_clusters=4)
    assert get.result(cells, "kronos_cluster", table="fits")["method"].tolist() == ["kmeans"]
    cells.obsm["X_lazy"] = da.from_array(cells.obsm["X_kronos"], chunks=(64, 6))
    tl.cluster(cells, use_rep="X_lazy", n_clusters=4)
    assert get.result(cells, "lazy_cluster", table="fits")["method"].tolist() == ["minibatch"]


def test_where_the_rows_lie_does_not_matter(cells):
    cells.obsm["X_lazy"] = da.from_array(cells.obsm["X_kronos"], chunks=(64, 6))
    tl.cluster(cells, use_rep=["X_kronos", "X_lazy"], n_clusters=4, method="minibatch", key_added="c")
    assert (cells.obs["c"] == cells.obs["c_lazy"]).all()


def test_several_representations_get_a_column_each(cells):
    tl.cluster(cells, use_rep=["X_kronos", "X_other", "X"], n_clusters=4)
    assert {"kronos_cluster", "other_cluster", "X_cluster"} <= set(cells.obs)
    assert get.result(cells, "kronos_cluster", table="fits")["representation"].tolist() == ["kronos", "other", "X"]
    together = cells.obs["other_cluster"].copy()
    tl.cluster(cells, use_rep="X_other", n_clusters=4)
    assert (cells.obs["other_cluster"] == together).all()  # what one gives does not depend on the others


def test_each_image_on_its_own(cells):
    tl.cluster(cells, n_clusters=3, groupby="image")
    found = cells.obs["kronos_cluster"].astype(str)
    assert set(found) == {f"{image}:{i}" for image in "ab" for i in range(3)}
    assert (found.str[0] == cells.obs["image"]).all()
    alone = cells[cells.obs["image"] == "b"].copy()
    tl.cluster(alone, n_clusters=3)
    here = found[cells.obs["image"] == "b"].str[2:]
    assert adjusted_rand_score(alone.obs["kronos_cluster"], here) == 1
    sizes = get.result(cells, "kronos_cluster").groupby("group")["share"].sum()
    assert sizes.tolist() == pytest.approx([1, 1])


def test_units_without_numbers_or_group_get_no_cluster(cells):
    cells.obsm["X_kronos"][3] = np.nan
    cells.obs["image"] = pd.Categorical(cells.obs["image"].where(np.arange(300) != 7))
    tl.cluster(cells, n_clusters=3, groupby="image")
    assert cells.obs["kronos_cluster"].isna().to_numpy().nonzero()[0].tolist() == [3, 7]
    assert get.result(cells, "kronos_cluster", table="fits")["n_units"].sum() == 298


def test_a_copy_leaves_the_table_alone(cells):
    x = cells.obsm["X_kronos"].copy()
    new = tl.cluster(cells, n_clusters=4, key_added="mine", copy=True)
    assert "mine" in new.obs
    assert "mine" in new.uns
    assert "mine" not in cells.obs
    assert not cells.uns
    np.testing.assert_array_equal(cells.obsm["X_kronos"], x)


def test_the_seed_decides_and_is_on_record(cells):
    for name in ("one", "two"):
        tl.cluster(cells, use_rep="X", n_clusters=8, n_init=1, rng=5, key_added=name)
    assert (cells.obs["one"] == cells.obs["two"]).all()
    assert cells.uns["one"]["params"]["rng"] == 5
    tl.cluster(cells, use_rep="X", n_clusters=8, rng=np.random.default_rng(5), key_added="three")
    assert cells.uns["three"]["params"]["rng"] == "generator"


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_results_survive_files(cells, tmp_path, form):
    tl.cluster(cells, n_clusters=4)
    path = tmp_path / f"cells.{form}"
    cells.write_h5ad(path) if form == "h5ad" else cells.write_zarr(path)
    back = read_h5ad(path) if form == "h5ad" else read_zarr(path)
    pd.testing.assert_frame_equal(get.result(back, "kronos_cluster"), get.result(cells, "kronos_cluster"))
    assert (back.obs["kronos_cluster"] == cells.obs["kronos_cluster"]).all()


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"use_rep": "X_kronus"}, KeyError, "Did you mean 'X_kronos'"),
        ({"use_rep": []}, ValueError, "empty list"),
        ({"method": "spectral"}, ValueError, "method can be 'auto'"),
        ({"n_clusters": None}, ValueError, "method='leiden'"),
        ({"n_clusters": 0}, ValueError, "n_clusters must be a whole number"),
        ({"n_clusters": 301}, ValueError, "'X_kronos' has 300 units, too few for 301 clusters"),
        ({"groupby": "imgae"}, KeyError, "Did you mean 'image'"),
        ({"groupby": "image", "n_clusters": 200}, ValueError, "Group 'a' has 150 units"),
        ({"method": "leiden", "resolution": 0}, ValueError, "resolution must be above 0"),
        ({"n_init": 0}, ValueError, "n_init must be"),
    ],
)
def test_bad_input_is_named_and_nothing_changes(cells, how, error, message):
    columns = list(cells.obs)
    with pytest.raises(error, match=message):
        tl.cluster(cells, **how)
    assert list(cells.obs) == columns
    assert not cells.uns


def test_a_spatialdata_is_no_table(make):
    with pytest.raises(TypeError, match="pass one, as in sdata"):
        tl.cluster(make())


def test_features_on_disk_that_have_to_be_in_memory_are_announced(caplog):
    adata = AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(30)]))
    adata.obsm["X_kronos"] = da.from_array(np.random.default_rng(0).random((30, 4)).astype(np.float32), chunks=(7, -1))
    with caplog.at_level("INFO", logger="kronos_sc"):
        tl.cluster(adata, n_clusters=2, method="kmeans")
    assert "kronos: reading 0.00 GiB into memory; tl.pca(adata, use_rep='X_kronos') makes it small" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", logger="kronos_sc"):
        tl.cluster(adata, n_clusters=2)
    assert "into memory" not in caplog.text
