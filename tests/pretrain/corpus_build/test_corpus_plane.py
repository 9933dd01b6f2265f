"""One pass over the pixels of a marker: exact moments, percentiles and focus against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_pretrain.corpus_build.plane import CELL, Plane, detail, pooling, split
from kronos_pretrain.corpus_build.source import EDGE


def _plane(pixels: np.ndarray, *, scale: float, step: int = 64) -> Plane:
    plane = Plane(pixels.shape, pixels.dtype, scale, step)
    for y in range(0, pixels.shape[0], EDGE):
        plane.add(pixels[y : y + EDGE], y, 0)
    return plane


@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 255.0), ("uint16", 65535.0), ("float32", 1.0), ("uint32", 1e6)])
def test_moments_are_those_of_the_covered_pixels(dtype, scale) -> None:
    rng = np.random.default_rng(0)
    pixels = (rng.random((300, 260)) ** 3 * scale).astype(dtype)
    covered = rng.random((300 // 64, 260 // 64)) < 0.6
    moments = _plane(pixels, scale=scale).moments(covered)
    values = split(pixels, 64).transpose(0, 2, 1, 3)[covered].astype(np.float64).ravel()
    assert moments.count == values.size
    assert moments.mean == pytest.approx(values.mean(), rel=1e-12)
    assert moments.std == pytest.approx(values.std(), rel=1e-9)


def test_whole_numbers_are_summed_exactly() -> None:
    """A constant of large numbers has no variance at all, not almost none."""
    plane = _plane(np.full((128, 128), 65_533, np.uint16), scale=65535.0)
    assert plane.moments(np.ones((2, 2), bool)).squares == 0


def test_nothing_covered_has_no_moments() -> None:
    assert _plane(np.zeros((128, 128), np.uint8), scale=255.0).moments(np.zeros((2, 2), bool)).count == 0


def test_tiles_and_blocks_change_nothing(monkeypatch) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 60_000, (500, 420)).astype(np.uint16)
    whole = _plane(pixels, scale=65535.0)
    monkeypatch.setattr("kronos_pretrain.corpus_build.plane.TILE", 64)
    parts = Plane(pixels.shape, pixels.dtype, 65535.0, 64)
    for y in range(0, 500, 256):
        for x in range(0, 420, 128):
            parts.add(pixels[y : y + 256, x : x + 128], y, x)
    for name in ("levels", "saturated", "total", "squares"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name), err_msg=name)
    for name in ("mean", "variance", "detail", "coarse", "thumbnail"):
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), rtol=1e-4, err_msg=name)


def test_detail_is_the_mean_squared_laplacian() -> None:
    """Against a loop over the inner pixels of one cell, and 1 for white noise."""
    rng = np.random.default_rng(2)
    cell = rng.normal(size=(8, 8)).astype(np.float32)
    squares = [
        (4 * cell[i, j] - cell[i - 1, j] - cell[i + 1, j] - cell[i, j - 1] - cell[i, j + 1]) ** 2
        for i in range(1, 7)
        for j in range(1, 7)
    ]
    assert detail(cell[None, :, None, :])[0, 0] == pytest.approx(np.mean(squares) / 20, rel=1e-5)
    white = split(rng.normal(size=(512, 512)).astype(np.float32), CELL)
    assert detail(white).mean() == pytest.approx(1.0, rel=0.02)


def test_thumbnails_fit() -> None:
    assert pooling((200, 256)) == 1
    assert pooling((200, 257)) == 2
    assert pooling((60_000, 40_000)) == 256
    plane = _plane(np.arange(300 * 300, dtype=np.uint16).reshape(300, 300) // 2, scale=65535.0)
    assert plane.thumbnail.shape == (150, 150)
    np.testing.assert_allclose(plane.thumbnail[0, 0], np.mean([0, 0, 150, 150]))


def test_saturation_counts_full_scale_only() -> None:
    pixels = np.zeros((64, 64), np.uint16)
    pixels[:16, :16] = 4095
    assert _plane(pixels, scale=4095.0).saturated.tolist() == [[0.25, 0], [0, 0]]
    assert not _plane(pixels, scale=65535.0).saturated.any()
