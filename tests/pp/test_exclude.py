"""Grids and statistics without the pixels of artifacts."""

import numpy as np
import pytest
from spatialdata.models import Labels2DModel

import kronos_sc as ks


@pytest.fixture
def sdata(make):
    """Noise whose right third is an artifact (1), with a few spots (2)."""
    sdata = make()
    codes = np.zeros((150, 190), np.int32)
    codes[:, 120:] = 1
    codes[10:14, 10:14] = 2
    sdata.labels["artifacts"] = Labels2DModel.parse(codes, dims=("y", "x"))
    return sdata


@pytest.mark.parametrize(
    ("most", "asked", "last"),
    [(0.5, "artifacts", 96), (0.2, "artifacts", 64), (0, {"artifacts": [1]}, 64), (0.5, {"artifacts": [2]}, 128)],
)
def test_boxes_with_many_excluded_pixels_are_left_out(sdata, most, asked, last):
    ks.pp.tile(sdata, size=32, exclude=asked, max_excluded=most)
    left = sdata["patches"].geometry.bounds.minx
    assert left.max() == last
    obs = sdata["patches_table"].obs
    codes = np.asarray(sdata["artifacts"])
    chosen = codes > 0 if isinstance(asked, str) else np.isin(codes, asked["artifacts"])
    corners = sdata["patches"].geometry.bounds[["miny", "minx"]].to_numpy().astype(int)
    np.testing.assert_allclose(obs["excluded"], [chosen[y : y + 32, x : x + 32].mean() for y, x in corners], rtol=1e-6)
    assert obs["excluded"].max() <= most


def test_tissue_and_exclusion_together(sdata):
    ks.pp.tile(sdata, size=32, tissue_channel="DAPI", min_tissue=0, exclude="artifacts")
    assert list(sdata["patches_table"].obs.columns) == ["region", "patch_id", "row", "column", "tissue", "excluded"]


def test_no_box_is_left(sdata, state, unchanged):
    before = state(sdata)
    with pytest.raises(ValueError, match=r"Every box has more than 10% excluded pixels \(the best has 20%\)"):
        ks.pp.tile(sdata, size=150, exclude={"artifacts": [1]}, max_excluded=0.1, stride=40)
    with pytest.raises(ValueError, match="max_excluded must lie between 0 and 1"):
        ks.pp.tile(sdata, exclude="artifacts", max_excluded=1.5)
    with pytest.raises(KeyError, match="There is no labels 'artefacts'"):
        ks.pp.tile(sdata, exclude="artefacts")
    unchanged(before, state(sdata))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_excluded_pixels_do_not_count(sdata, make, dtype):
    pixels = np.array(sdata["image"]).astype(float) / 65535 if dtype == "float32" else np.array(sdata["image"])
    sdata.images["image"] = make(image=pixels.astype(dtype), dtype=dtype)["image"]
    keep = np.asarray(sdata["artifacts"]) == 0
    stats = ks.pp.marker_stats(sdata, exclude="artifacts")
    pixels = np.array(sdata["image"]).astype(float)[:, keep] / (65535 if dtype == "uint16" else 1)
    np.testing.assert_allclose(stats["mean"], pixels.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(stats["std"], pixels.std(axis=1), rtol=1e-5)
    assert (stats["pixels"] == keep.sum()).all()


def test_values_that_nobody_uses_stop_nobody(sdata, make):
    """NaN under an artifact is no error, and a marker without a pixel has no mean."""
    pixels = np.array(sdata["image"]).astype(np.float32) / 65535
    pixels[:, :, 130] = np.nan
    sdata.images["image"] = make(image=pixels, dtype="float32")["image"]
    assert np.isfinite(ks.pp.marker_stats(sdata, exclude="artifacts")["mean"]).all()
    sdata.labels["all"] = Labels2DModel.parse(np.ones((150, 190), np.uint8), dims=("y", "x"))
    with pytest.raises(ValueError, match=r"Every pixel of channels 'DAPI'.* is excluded"):
        ks.pp.marker_stats(sdata, exclude="all")
