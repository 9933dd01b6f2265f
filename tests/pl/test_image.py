import numpy as np
import pytest

from kronos_sc import pl
from kronos_sc.pl import _tissue
from kronos_sc.pl._color import CHANNEL_COLORS


def test_axes_are_in_micrometres_with_bar_and_legend(sdata, ax, bars, channel_names):
    pl.image(sdata, channels=["DAPI", "CD8"], ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x (µm)", "y (µm)")
    assert ax.get_xlim() == (0, 96)
    assert ax.get_ylim() == (80, 0)
    assert bars(ax) == [("20 µm", 20.0)]
    assert channel_names(ax) == {"DAPI": CHANNEL_COLORS[0], "CD8": CHANNEL_COLORS[1]}
    assert ax.get_aspect() == 1


def test_pixels_are_the_composite(sdata, ax):
    pl.image(sdata, channels={"CD8": "lime"}, limits={"CD8": (0, 1000)}, ax=ax)
    raw = sdata["image"].sel(c="CD8").to_numpy().astype(float)
    expected = np.zeros((*raw.shape, 3))
    expected[..., 1] = np.clip(raw / 1000, 0, 1)
    np.testing.assert_allclose(ax.images[0].get_array(), expected, atol=1e-6)


def test_without_pixel_size_axes_are_in_pixels(sdata, ax, bars):
    from spatialdata.transformations import remove_transformation

    image = sdata["image"].copy()
    remove_transformation(image, "um")
    sdata.images["bare"] = image
    pl.image(sdata, image_key="bare", ax=ax)
    assert ax.get_xlabel() == "x (px)"
    assert ax.get_xlim() == (0, 192)
    assert bars(ax) == []


def test_mpp_overrules(sdata, ax):
    pl.image(sdata, mpp=2.0, ax=ax)
    assert ax.get_xlim() == (0, 384)


def test_large_images_are_shrunk_and_keep_their_extent(sdata, ax, monkeypatch):
    monkeypatch.setattr(_tissue, "MOST_PIXELS", 50)
    pl.image(sdata, channels=["DAPI"], ax=ax)
    assert ax.images[0].get_array().shape == (40, 48, 3)
    assert ax.get_xlim() == (0, 96)


def test_pyramids_are_read_at_the_level_that_is_enough(sdata, monkeypatch):
    from spatialdata.models import Image2DModel

    sdata.images["pyramid"] = Image2DModel.parse(
        sdata["image"].data,
        dims=("c", "y", "x"),
        c_coords=list(sdata["image"].coords["c"].to_numpy()),
        scale_factors=[2, 2],
    )
    monkeypatch.setattr(_tissue, "MOST_PIXELS", 90)
    shown = _tissue.tissue(sdata, ["DAPI"], image_key="pyramid", limits=(1, 99))
    assert shown.rgb.shape == (40, 48, 3)  # of 160 × 192, 80 × 96 and 40 × 48: the second, averaged by two
    assert shown.shape == (160, 192)


def test_several_images_need_a_name(pair):
    with pytest.raises(ValueError, match="Choose one with image_key="):
        pl.image(pair)
