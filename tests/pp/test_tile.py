"""Grids of boxes."""

import dask.array as da
import numpy as np
import pytest
from spatialdata import SpatialData
from spatialdata.models import Image2DModel
from spatialdata.transformations import Identity, Scale, get_transformation

import kronos_sc as ks


def blank(*shape):
    lazy = da.zeros((2, *shape), chunks=(1, 2048, 2048), dtype=np.uint16)
    return SpatialData(images={"image": Image2DModel.parse(lazy, dims=("c", "y", "x"), c_coords=["DAPI", "CD3"])})


def corners(sdata, name="patches"):
    return sdata[name].geometry.bounds[["miny", "minx"]].to_numpy().astype(int).tolist()


def test_the_number_of_the_paper():
    sdata = blank(8011, 8085)
    ks.pp.tile(sdata, size=64, stride=32)
    assert len(sdata["patches"]) == sdata["patches_table"].n_obs == 62_499
    obs = sdata["patches_table"].obs
    assert (obs["row"].max() + 1, obs["column"].max() + 1) == (249, 251)
    ks.pp.tile(sdata, size=64, overlap=0.5, key_added="half")
    assert corners(sdata, "half") == corners(sdata)


@pytest.mark.parametrize(
    ("shape", "size", "stride"), [((100, 130), 32, 32), ((100, 130), 32, 16), ((65, 64), 64, 1), ((99, 200), 33, 50)]
)
def test_origins_are_a_plain_range(shape, size, stride):
    sdata = blank(*shape)
    ks.pp.tile(sdata, size=size, stride=stride)
    expected = [[y, x] for y in range(0, shape[0] - size + 1, stride) for x in range(0, shape[1] - size + 1, stride)]
    assert corners(sdata) == expected
    bounds = sdata["patches"].geometry.bounds
    assert (bounds.maxx - bounds.minx == size).all()
    table = sdata["patches_table"]
    np.testing.assert_array_equal(table.obsm["spatial"], np.array(expected)[:, ::-1] + size / 2)
    assert (table.obs[["row", "column"]].to_numpy() * stride).tolist() == expected
    assert table.uns["spatialdata_attrs"]["region"] in ("patches", ["patches"])


@pytest.mark.parametrize(("overlap", "step"), [(0.0, 100), (0.25, 75), (1 / 3, 67), (0.999, 1)])
def test_overlap_is_a_share(overlap, step):
    sdata = blank(100, 300)
    ks.pp.tile(sdata, size=100, overlap=overlap)
    assert [x for _, x in corners(sdata)] == list(range(0, 201, step))


def test_boxes_carry_the_transformations_of_the_image(make):
    known = {"global": Scale([0.5, 0.5], axes=("y", "x")), "um": Identity()}
    sdata = make(image_transformations=known, labels_transformations=known)
    ks.pp.tile(sdata, size=64)
    assert get_transformation(sdata["patches"], get_all=True) == get_transformation(sdata["image"], get_all=True)
    (box,) = ks.get.patches(sdata, ["patches_3"], shapes_key="patches")
    np.testing.assert_array_equal(box, sdata["image"].data[:, 64:128, 64:128])


def test_tissue_filter_keeps_the_half_with_tissue():
    sdata = ks.datasets.tissue(shape=(512, 512), channels=["DAPI", "CD8"], rng=2)
    image = np.asarray(sdata["image"].data).copy()
    image[:, :, 256:] = np.random.default_rng(0).integers(0, 30, (2, 512, 256))  # glass
    sdata.images["image"] = Image2DModel.parse(image, dims=("c", "y", "x"), c_coords=["DAPI", "CD8"])
    ks.pp.tile(sdata, size=64, tissue_channel="DAPI")
    obs = sdata["patches_table"].obs
    x = np.array(corners(sdata))[:, 1]
    assert x.max() < 256
    assert len(x) >= 28  # of 32
    assert obs["tissue"].between(0.25, 1).all()
    assert obs["tissue"].dtype == np.float32
    ks.pp.tile(sdata, size=64, tissue_channel="DAPI", min_tissue=0.0, key_added="all")
    assert len(sdata["all"]) == 64
    assert (sdata["all_table"].obs["tissue"][np.array(corners(sdata, "all"))[:, 1] >= 320] == 0).all()


def test_share_of_tissue_by_hand(make):
    """A bright square of 64 on black: boxes of 32 are inside or outside, but for a rim of the blur."""
    image = np.zeros((1, 256, 256), np.uint16)
    image[0, 64:192, 64:192] = 30_000
    sdata = make(image=image, channels=("DAPI",), table=False, labels=np.ones((256, 256), np.uint8))
    ks.pp.tile(sdata, size=32, tissue_channel="DAPI", min_tissue=0)
    share = sdata["patches_table"].obs["tissue"].to_numpy().reshape(8, 8)
    assert share[3:5, 3:5].min() == 1
    assert share[[0, 7]].max() == share[:, [0, 7]].max() == 0


def test_errors(make, state, unchanged):
    sdata = make()
    before = state(sdata)
    for kwargs, message in (
        (
            {"size": 200},
            r"Image 'image' \(150 × 190 pixels\) is smaller than one box of 200 pixels\. Choose a smaller size",
        ),
        ({"size": 0}, "size must be a whole number of at least 1, got 0"),
        (
            {"size": 32, "overlap": 1.0},
            r"overlap must be at least 0 and below 1 .*, got 1\.0\. For a step in pixels use stride=",
        ),
        ({"size": 32, "stride": 0}, "stride must be a whole number of at least 1"),
        ({"size": 32, "key_added": "cells"}, r"The name 'cells' is taken \(labels\)\. Choose another with key_added="),
        ({"size": 32, "key_added": "Image"}, r"The name 'image' is taken \(images\)"),
        (
            {"size": 32, "tissue_channel": "DAPI", "min_tissue": 1.1},
            r"No box has 110% tissue \(the best has \d+%\)\. Lower min_tissue",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            ks.pp.tile(sdata, **kwargs)
    with pytest.raises(KeyError, match=r"There is no channel 'dapi'; there are: 'DAPI', .*Did you mean 'DAPI'"):
        ks.pp.tile(sdata, size=32, tissue_channel="dapi")
    with pytest.raises(TypeError, match="Expected a SpatialData, got AnnData"):
        ks.pp.tile(sdata["table"], size=32)
    unchanged(before, state(sdata))


def test_overwrite(make):
    sdata = make()
    ks.pp.tile(sdata, size=32)
    with pytest.raises(ValueError, match=r"The name 'patches' is taken \(shapes\).*overwrite=True"):
        ks.pp.tile(sdata, size=64)
    ks.pp.tile(sdata, size=64, overwrite=True)
    assert len(sdata["patches"]) == sdata["patches_table"].n_obs == 4


def test_boxes_survive_writing(make, tiny, tmp_path):
    import warnings

    import spatialdata

    sdata = make()
    ks.pp.tile(sdata, size=64)
    ks.tl.embed(sdata, model=tiny, shapes_key="patches")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sdata.write(tmp_path / "a.zarr")
    back = spatialdata.read_zarr(tmp_path / "a.zarr")
    ks.tl.embed(back, model=tiny, shapes_key="patches", key_added="again")
    np.testing.assert_array_equal(back["patches_table"].obsm["X_again"], sdata["patches_table"].obsm["X_kronos"])
