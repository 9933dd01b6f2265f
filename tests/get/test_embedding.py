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
