"""A table for a segmentation that has none."""

import numpy as np
import pytest
from skimage.measure import regionprops_table

import kronos_sc as ks


def test_against_scikit_image(make):
    sdata = make(table=False, label_chunks=(37, 53))
    assert ks.pp.label_table(sdata) is None
    table = sdata["table"]
    expected = regionprops_table(np.asarray(sdata["cells"].data), properties=("label", "area", "centroid"))
    np.testing.assert_array_equal(table.obs["cell_id"], expected["label"])
    np.testing.assert_array_equal(table.obs["area"], expected["area"])
    np.testing.assert_allclose(
        table.obsm["spatial"] - 0.5, np.stack([expected["centroid-1"], expected["centroid-0"]], 1)
    )
    assert list(table.obs_names) == [str(label) for label in expected["label"]]
    assert set(table.obs["region"]) == {"cells"}


def test_names(make):
    sdata = make()
    with pytest.raises(ValueError, match=r"The name 'table' is taken \(tables\)\. Choose another with key_added="):
        ks.pp.label_table(sdata)
    ks.pp.label_table(sdata, key_added="again")
    assert "again" in sdata.tables
    with pytest.raises(KeyError, match=r"There is no labels 'nuclei'; there are: 'cells'"):
        ks.pp.label_table(sdata, labels_key="nuclei", key_added="third")
    with pytest.raises(ValueError, match=r"The name 'cells' is taken \(labels\)"):
        ks.pp.label_table(sdata, key_added="cells")
    sdata.labels["nuclei"] = sdata["cells"]
    with pytest.raises(ValueError, match=r"2 elements of the kind 'labels' .*labels_key="):
        ks.pp.label_table(sdata, key_added="third")
    sdata.labels.clear()
    with pytest.raises(ValueError, match=r"There is no labels in this SpatialData\. Segment the image first"):
        ks.pp.label_table(sdata, key_added="third")


def test_labels_that_hold_nothing(make):
    sdata = make(labels=np.zeros((150, 190), np.uint16), table=False)
    with pytest.raises(ValueError, match=r"Labels 'cells' hold no cell: every pixel is 0"):
        ks.pp.label_table(sdata)
    assert not sdata.tables
