"""Tissue, artifacts and the patches that are left."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from kronos_pretrain.corpus_build.manifest import CorpusSettings
from kronos_pretrain.corpus_build.plane import CELL, Plane
from kronos_pretrain.corpus_build.tissue import Grids, covered, origins, shares


def _grids(*planes: np.ndarray) -> Grids:
    grids = Grids(planes[0].shape)
    for n, pixels in enumerate(planes):
        plane = Plane(pixels.shape, pixels.dtype, 65535.0, 64)
        plane.add(pixels, 0, 0)
        grids.add(plane, nuclear=n == 0)
    return grids


@pytest.fixture
def slide(noise) -> tuple[np.ndarray, np.ndarray]:
    """Three planes of tissue on the left half, and glass with camera noise on the right."""
    rng = np.random.default_rng(0)
    tissue = noise((512, 512), 3).astype(np.float32) * 0.3 + 900
    glass = np.zeros((512, 512), bool)
    glass[:, 256:] = True
    return np.where(glass, 300, tissue).astype(np.float32) + rng.normal(0, 10, tissue.shape), glass


def test_glass_is_no_tissue(slide) -> None:
    planes, glass = slide
    mask = _grids(*planes.astype(np.uint16)).tissue()
    expected = ~glass[CELL // 2 :: CELL, CELL // 2 :: CELL]
    assert (mask == expected)[:, [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]].all()
    assert 0.45 < mask.mean() < 0.6


def test_tissue_from_edge_to_edge_has_no_background(noise) -> None:
    assert _grids(*noise((512, 512), 2)).tissue().all()


def test_tissue_without_nuclei_is_still_tissue(slide) -> None:
    """Matrix shows in other markers only."""
    planes, _ = slide
    nuclear = planes[0].copy()
    nuclear[256:, :256] = 300
    mask = _grids(nuclear.astype(np.uint16), *planes[1:].astype(np.uint16)).tissue()
    assert mask[10:15, 1:6].all()
    assert not mask[:, 11:].any()


def test_an_empty_image_is_not_an_error() -> None:
    assert _grids(np.zeros((128, 128), np.uint16)).tissue().all()


def test_what_is_out_of_focus_is_found(noise) -> None:
    rng = np.random.default_rng(0)
    sharp = gaussian_filter(noise((512, 512), 1)[0].astype(np.float32), 1)
    pixels = sharp.copy()
    pixels[:256] = gaussian_filter(sharp, 8)[:256]
    pixels = np.clip(pixels + rng.normal(0, 150, pixels.shape), 0, 65535).astype(np.uint16)
    grids = _grids(pixels)
    _, blurred = grids.artifacts(CorpusSettings(), np.ones((16, 16), bool))
    assert blurred[:6].mean() > 0.9
    assert not blurred[10:].any()


def test_saturated_places_are_found(noise) -> None:
    planes = noise((256, 256), 3)
    planes[:, 64:128, 64:128] = 65535
    saturated, _ = _grids(*planes).artifacts(CorpusSettings(), np.ones((8, 8), bool))
    expected = np.zeros((8, 8), bool)
    expected[2:4, 2:4] = True
    np.testing.assert_array_equal(saturated, expected)


def test_one_saturated_marker_of_many_is_no_artifact(noise) -> None:
    """A strong marker is a matter of its verdict, not of the tissue."""
    planes = noise((256, 256), 5)
    planes[4, 64:128, 64:128] = 65535
    saturated, _ = _grids(*planes).artifacts(CorpusSettings(), np.ones((8, 8), bool))
    assert not saturated.any()


def test_patches_against_a_loop() -> None:
    rng = np.random.default_rng(3)
    shape = (400, 360)
    settings = CorpusSettings(patch=128, stride=64, least_tissue=0.6, most_artifacts=0.2)
    tissue = rng.random((12, 11)) < 0.62
    bad = rng.random((12, 11)) < 0.18
    corners = origins(shape, tissue, bad, settings)
    expected = [
        (y, x)
        for y in range(0, 400 - 127, 64)
        for x in range(0, 360 - 127, 64)
        if tissue[y // 32 : y // 32 + 4, x // 32 : x // 32 + 4].mean() >= 0.6
        if bad[y // 32 : y // 32 + 4, x // 32 : x // 32 + 4].mean() <= 0.2
    ]
    assert 0 < len(expected) < 5 * 4
    assert corners.dtype == np.int32
    assert [tuple(each) for each in corners.tolist()] == expected
    inside = np.zeros(shape, bool)
    for y, x in expected:
        inside[y : y + 128, x : x + 128] = True
    np.testing.assert_array_equal(covered(shape, corners, settings), inside[::64, ::64][:6, :5])


def test_shares_of_a_full_mask_are_one() -> None:
    corners = np.array([[0, 0], [64, 32]])
    np.testing.assert_array_equal(shares(np.ones((6, 5), bool), corners, 128), 1.0)
