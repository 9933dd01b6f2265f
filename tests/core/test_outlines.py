"""Outlines along pixel edges."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from scipy import ndimage

from kronos_sc._core.outlines import outlines

CASES = {
    "one pixel": [[1]],
    "corners that touch": [[1, 0], [0, 1]],
    "two classes side by side": [[1, 1, 2], [1, 2, 2]],
    "a hole that touches the outside at a corner": [[0, 1, 1], [1, 0, 1], [1, 1, 1]],
    "two holes that touch": [[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]],
    "an island in a hole": [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 2, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]],
}


def boxes(classes: np.ndarray, code: int) -> shapely.Geometry:
    """The oracle: the union of one box per pixel."""
    y, x = np.nonzero(classes == code)
    return shapely.union_all(shapely.box(x, y, x + 1, y + 1))


def check(classes: np.ndarray) -> None:
    found = outlines(classes)
    shapes = np.array([shape for _, shape in found], object)
    codes = np.array([code for code, _ in found])
    assert shapely.is_valid(shapes).all()
    for code in range(1, classes.max() + 1):
        mine = shapes[codes == code]
        assert len(mine) == ndimage.label(classes == code)[1]
        assert shapely.area(mine).sum() == (classes == code).sum()
        if (classes == code).any():
            assert shapely.equals(shapely.union_all(mine), boxes(classes, code))


@pytest.mark.parametrize("name", CASES)
def test_parts_are_the_unions_of_their_pixels(name):
    check(np.array(CASES[name]))


@pytest.mark.parametrize("seed", range(12))
def test_parts_of_noise(seed):
    rng = np.random.default_rng(seed)
    check(rng.integers(0, 2 + seed % 3, rng.integers(1, 24, 2)))


def test_corners_are_those_where_the_outline_turns():
    ((code, shape),) = outlines(np.full((3, 5), 7))
    assert code == 7
    assert shape.equals_exact(shapely.Polygon([(0, 0), (5, 0), (5, 3), (0, 3)]))
    ((_, ring),) = outlines(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]))
    assert [len(part.coords) - 1 for part in (ring.exterior, *ring.interiors)] == [4, 4]


def test_order_is_that_of_reading():
    found = outlines(np.array([[0, 3, 0, 1], [2, 0, 0, 1]], np.uint8))
    assert [code for code, _ in found] == [3, 1, 2]
    assert outlines(np.zeros((4, 5), int)) == []
