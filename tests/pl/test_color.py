from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import rgb2lab

from kronos_sc.pl._color import CHANNEL_COLORS, channel_colors, channel_limits, composite

NAMES = ["DAPI", "CD3", "CD8", "CD20", "CD31", "CD45", "CD68"]
# Machado, Oliveira & Fernandes (2009), severity 1
VISION = {
    "normal": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def test_channels_are_added_like_light_and_cut_at_white():
    planes = np.array([[[0, 50, 100]], [[0, 100, 100]]], np.uint16)
    rgb = composite(planes, [(1, 0, 0), (1, 1, 0)], np.array([[0, 100], [0, 100]]))
    np.testing.assert_allclose(rgb[0], [[0, 0, 0], [1, 1, 0], [1, 1, 0]])
    half = composite(planes[:1], [(1, 0, 0.5)], np.array([[0, 200]]))
    np.testing.assert_allclose(half[0], [[0, 0, 0], [0.25, 0, 0.125], [0.5, 0, 0.25]])


def test_a_flat_channel_and_missing_pixels_are_black():
    planes = np.array([[[7.0, np.nan]]])
    limits = channel_limits(planes, ["a"], (1, 99))
    np.testing.assert_array_equal(composite(planes, [(1, 1, 1)], limits), np.zeros((1, 2, 3)))


def test_limits_are_percentiles_or_raw_values(rng):
    planes = rng.integers(0, 1000, (2, 50, 50))
    expected = np.percentile(planes[0], (2, 98))
    np.testing.assert_allclose(channel_limits(planes, ["a", "b"], (2, 98))[0], expected)
    mixed = channel_limits(planes, ["a", "b"], {"b": (5, 20)})
    np.testing.assert_allclose(mixed[1], (5, 20))
    np.testing.assert_allclose(mixed[0], np.percentile(planes[0], (1, 99.7)))


def test_wrong_limits_say_so(rng):
    planes = rng.random((1, 4, 4))
    with pytest.raises(ValueError, match=r"limits=\(99, 1\) are no percentiles"):
        channel_limits(planes, ["a"], (99, 1))
    with pytest.raises(KeyError, match="limits names channels that are not shown: 'b'"):
        channel_limits(planes, ["a"], {"b": (0, 1)})


@pytest.mark.parametrize("vision", VISION)
def test_default_colours_can_be_told_apart(vision):
    srgb = np.array([to_rgb(color) for color in CHANNEL_COLORS])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4) @ np.asarray(VISION[vision]).T
    seen = np.clip(linear, 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
    assert min(np.linalg.norm(a - b) for a, b in combinations(lab, 2)) > 28


def test_colours_by_order_or_by_name():
    assert list(channel_colors(["CD8", "DAPI"], NAMES, image="i").values()) == [to_rgb(c) for c in CHANNEL_COLORS[:2]]
    assert channel_colors({"CD3": "red"}, NAMES, image="i") == {"CD3": (1, 0, 0)}
    assert list(channel_colors(None, NAMES, image="i")) == NAMES[:4]
    assert list(channel_colors("CD45", NAMES, image="i")) == ["CD45"]


@pytest.mark.parametrize(
    ("channels", "error", "message"),
    [
        (["CD99"], KeyError, "has no channel 'CD99'; it has: 'DAPI'"),
        (NAMES, ValueError, "7 channels were named, and 6 colours can be told apart"),
        (["CD3", "CD3"], ValueError, "named twice: 'CD3'"),
        ([], ValueError, "No channel was named"),
    ],
)
def test_wrong_channels_say_so(channels, error, message):
    with pytest.raises(error, match=message):
        channel_colors(channels, NAMES, image="i")


def test_more_than_six_channels_with_colours_of_their_own():
    assert len(channel_colors(dict.fromkeys(NAMES, "white"), NAMES, image="i")) == 7
