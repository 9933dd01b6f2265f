"""Motifs, against loops over cells and boxes."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_sc._methods.motif import motifs_around, motifs_inside


def around_by_loop(xy, types, needed, radius, allowed=None):
    allowed = np.ones(len(xy), bool) if allowed is None else allowed
    out = np.zeros(len(xy), np.int64)
    for i in np.flatnonzero((types >= 0) & allowed):
        near = allowed & (np.linalg.norm(xy - xy[i], axis=1) <= radius)
        out[i] = min((near & (types == t)).sum() // n for t, n in enumerate(needed))
    return out


def inside_by_loop(xy, types, needed, radius, centres, edge):
    def members(centre):
        return ((xy >= centre - edge / 2) & (xy < centre + edge / 2)).all(axis=1)

    return np.array([around_by_loop(xy, types, needed, radius, members(c)).max(initial=0) for c in centres])


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    return rng.uniform(0, 100, size=(250, 2)).round(), rng.integers(-1, 3, 250)


def test_by_hand():
    xy = np.array([[0, 0], [3, 4], [0, 6], [50, 50], [51, 50]], float)
    types = np.array([0, 1, 1, 0, -1])
    assert motifs_around(xy, types, np.array([1, 1]), 5.0).tolist() == [
        1,
        1,
        0,
        0,
        0,
    ]  # the second lies at 5 from the first, √13 from the third
    assert motifs_around(xy, types, np.array([1, 2]), 6.0).tolist() == [1, 1, 1, 0, 0]
    boxes = np.array([[0, 0], [25, 25], [60, 60]], float)
    assert motifs_inside(xy, types, np.array([1, 1]), 5.0, centres=boxes, edge=10.0).tolist() == [1, 0, 0]


@pytest.mark.parametrize("needed", [[1, 1, 1], [2, 1, 1], [1, 3, 2]])
@pytest.mark.parametrize("radius", [4.0, 12.0])
def test_around_cells(cells, needed, radius):
    xy, types = cells
    np.testing.assert_array_equal(
        motifs_around(xy, types, np.array(needed), radius), around_by_loop(xy, types, needed, radius)
    )


@pytest.mark.parametrize("edge", [15.0, 40.0])
def test_inside_overlapping_boxes(cells, edge):
    xy, types = cells
    centres = np.stack(np.meshgrid(np.arange(0, 100, 10), np.arange(5, 120, 15)), axis=-1).reshape(-1, 2).astype(float)
    found = motifs_inside(xy, types, np.array([1, 1, 2]), 10.0, centres=centres, edge=edge)
    np.testing.assert_array_equal(found, inside_by_loop(xy, types, [1, 1, 2], 10.0, centres, edge))
    assert len(np.unique(found)) > 1


def test_order_of_cells_does_not_matter(cells):
    xy, types = cells
    order = np.random.default_rng(1).permutation(len(xy))
    expected = motifs_around(xy, types, np.array([1, 1, 1]), 8.0)
    np.testing.assert_array_equal(motifs_around(xy[order], types[order], np.array([1, 1, 1]), 8.0), expected[order])


def test_no_cell_of_the_types():
    xy = np.zeros((3, 2))
    types = np.full(3, -1)
    assert motifs_around(xy, types, np.array([1]), 1.0).tolist() == [0, 0, 0]
    assert motifs_inside(xy, types, np.array([1]), 1.0, centres=xy, edge=1.0).tolist() == [0, 0, 0]
