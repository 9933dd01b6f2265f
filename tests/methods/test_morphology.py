"""Class maps without specks and small holes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import disk

from kronos_sc._methods.morphology import smoothed


def blobs(seed: int, n_classes: int = 3, shape: tuple[int, int] = (60, 70)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        np.stack([ndimage.gaussian_filter(rng.standard_normal(shape), 2) for _ in range(n_classes + 1)])
        .argmax(0)
        .astype(np.uint8)
    )


def test_specks_go_and_holes_fill():
    classes = np.ones((20, 20), np.uint8)
    classes[:, 10:] = 2
    wanted = classes.copy()
    classes[4, 4] = 2
    classes[12, 3:5] = 0
    classes[10, 15] = 1
    opened = smoothed(classes, opening=1, closing=0, n_classes=2)
    assert opened.dtype == np.uint8
    assert (opened[12, 3:5] == 0).all(), "opening leaves what has no class alone"
    opened[12, 3:5] = 1
    np.testing.assert_array_equal(opened, wanted)
    np.testing.assert_array_equal(smoothed(classes, opening=0, closing=1, n_classes=2), wanted)


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_one_class_is_opened_and_closed_as_scipy_does_it(seed, radius):
    """With a single class and no class, opening and closing are those of a mask; the border goes on as it ends."""
    mask = blobs(seed, 1) > 0
    around = 2 * radius + 1
    wide = np.pad(mask, around, mode="edge")
    disc = disk(radius)
    opened = ndimage.binary_dilation(ndimage.binary_erosion(wide, disc), disc)[around:-around, around:-around]
    # what opening takes from the class goes to the nearest pixel that kept its own
    kept = mask & opened | ~mask
    y, x = ndimage.distance_transform_edt(~kept, return_distances=False, return_indices=True)
    np.testing.assert_array_equal(smoothed(mask.astype(int), opening=radius, closing=0, n_classes=1), mask[y, x])
    closed = ndimage.binary_erosion(ndimage.binary_dilation(wide, disc), disc)[around:-around, around:-around]
    np.testing.assert_array_equal(smoothed(mask.astype(int), opening=0, closing=radius, n_classes=1), closed)


def test_numbers_of_classes_and_axes_do_not_matter():
    classes = blobs(5)
    wanted = smoothed(classes, opening=2, closing=2, n_classes=3)
    assert (wanted != classes).mean() > 0.02
    other = np.array([0, 3, 1, 2])
    np.testing.assert_array_equal(
        smoothed(other[classes], opening=0, closing=2, n_classes=3),
        other[smoothed(classes, opening=0, closing=2, n_classes=3)],
    )
    turned = smoothed(np.ascontiguousarray(classes.T), opening=0, closing=2, n_classes=3)
    np.testing.assert_array_equal(turned.T, smoothed(classes, opening=0, closing=2, n_classes=3))


@pytest.mark.parametrize(("more", "winner"), [(1, 1), (2, 2), (0, 1)])
def test_a_gap_that_two_classes_close_goes_to_the_larger(more, winner):
    """A pinwheel round a pixel without a class; of equals the lower code gets it."""
    wheel = np.array([[1, 1, 1, 2, 2], [1, 1, 1, 2, 2], [2, 2, 0, 2, 2], [2, 2, 1, 1, 1], [2, 2, 1, 1, 1]])
    wheel = (
        np.hstack([wheel, wheel[:, -1:]])
        if more == 2
        else np.vstack([wheel[:1], wheel, wheel[[-1, -1]]])
        if more == 1
        else wheel
    )
    wheel[-1, :2] = 1 if more == 1 else 2
    assert np.sign(np.subtract(*np.bincount(wheel.ravel())[1:])) == {1: 1, 2: -1, 0: 0}[more]
    row, column = np.argwhere(wheel == 0)[0]
    assert smoothed(wheel, opening=0, closing=1, n_classes=2)[row, column] == winner


def test_stripes_too_thin_for_a_disc_go_to_the_larger_class():
    """Nobody takes back what was just given away: classes do not trade places."""
    stripes = np.tile([1, 2, 1, 2, 1, 2, 1, 2, 1], (9, 1))
    np.testing.assert_array_equal(smoothed(stripes, opening=0, closing=1, n_classes=2), np.ones((9, 9)))
    np.testing.assert_array_equal(smoothed(3 - stripes, opening=0, closing=1, n_classes=2), np.full((9, 9), 2))


def test_what_is_wide_enough_stays():
    """Closing gives away only where no disc fits into what was there."""
    classes = blobs(2)
    after = smoothed(classes, opening=0, closing=2, n_classes=3)
    for code in (0, 1, 2, 3):
        wide = np.pad(classes == code, 5, mode="edge")
        room = ndimage.binary_dilation(ndimage.binary_erosion(wide, disk(2)), disk(2))[5:-5, 5:-5]
        assert (after[room] == code).all()


def test_maps_with_nothing_to_do():
    classes = blobs(1)
    np.testing.assert_array_equal(smoothed(classes, opening=0, closing=0, n_classes=3), classes)
    none = np.zeros((5, 6), int)
    np.testing.assert_array_equal(smoothed(none, opening=2, closing=2, n_classes=3), none)
    lost = np.array([[1, 2], [2, 1]])
    np.testing.assert_array_equal(smoothed(np.pad(lost, 3), opening=5, closing=0, n_classes=2), np.zeros((8, 8)))
    assert classes is not smoothed(classes, opening=0, closing=0, n_classes=3)
