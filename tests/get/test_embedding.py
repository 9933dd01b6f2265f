"""Embeddings with named axes, and their records."""

import numpy as np
import pytest

import kronos_sc as ks


@pytest.fixture(scope="module")
def done(make, tiny):
    sdata = make((80, 100), channels=("CD8", "Na", "DAPI", "CD3"))
    ks.tl.embed(sdata, model=tiny, features=["marker", "cls"])
    return sdata


def test_blocks_of_markers(done):
    values = ks.get.embedding(done)
    table = done["table"]
    assert values.dims == ("unit", "marker", "feature")
    assert list(values.marker.values) == ["CD8", "DAPI", "CD3"]
    assert list(values.unit.values) == list(table.obs_names)
    np.testing.assert_array_equal(values.sel(marker="DAPI"), table.obsm["X_kronos"][:, 48:96])
    assert np.shares_memory(values.values, table.obsm["X_kronos"])
    np.testing.assert_array_equal(ks.get.embedding(table, markers=["CD3", "CD8"])[:, 1], table.obsm["X_kronos"][:, :48])
    np.testing.assert_array_equal(ks.get.embedding(done, markers="CD3")[:, 0], table.obsm["X_kronos"][:, 96:])


def test_errors(done, tiny, make):
    with pytest.raises(KeyError, match=r"The embedding has no marker 'CD4'; its panel is 'CD8', 'DAPI', 'CD3'"):
        ks.get.embedding(done, markers=["CD4"])
    with pytest.raises(KeyError, match=r"There is no record in uns 'other'.*Embed first with tl\.embed"):
        ks.get.record(done, key="other")
    with pytest.raises(TypeError, match="Expected AnnData or SpatialData, got int"):
        ks.get.record(3)
    ks.tl.embed(done, model=tiny, features="cls", key_added="unit")
    with pytest.raises(ValueError, match=r"obsm\['X_unit'\] holds one vector per unit, not one per marker"):
        ks.get.embedding(done, key="unit")


def test_baseline(make):
    sdata = make((80, 100))
    ks.tl.embed(sdata, model="mean-marker")
    assert ks.get.embedding(sdata, key="mean_marker").shape == (sdata["table"].n_obs, 5, 1)


def test_features_on_disk_stay_there(done):
    import dask.array as da

    table = done["table"].copy()
    read = []

    def look(block):
        read.append(len(block))
        return block

    for chunks in [(7, -1), (10_000, 31)]:
        table.obsm["X_kronos"] = da.from_array(done["table"].obsm["X_kronos"], chunks=chunks).map_blocks(
            look, meta=np.empty((0, 0), np.float32)
        )
        lazy = ks.get.embedding(table)
        plain = ks.get.embedding(done)
        some = ks.get.embedding(table, markers=["CD3", "CD8"])
        assert not read
        assert isinstance(lazy.data, da.Array)
        assert isinstance(some.data, da.Array)
        np.testing.assert_array_equal(lazy.values, plain.values)
        np.testing.assert_array_equal(some.values, plain.sel(marker=["CD3", "CD8"]).values)
        assert lazy.coords.equals(plain.coords)
        assert (lazy.name, lazy.dtype, lazy.dims) == (plain.name, plain.dtype, plain.dims)
        read.clear()
        assert lazy.isel(unit=slice(3, 5)).sel(marker="DAPI").compute().shape == (2, 48)
        assert len(read) <= 5  # the chunks of those rows only
        read.clear()
