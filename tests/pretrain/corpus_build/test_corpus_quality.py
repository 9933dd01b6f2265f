"""Verdicts on markers, one hand-made plane each."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_pretrain.corpus_build.manifest import Quality
from kronos_pretrain.corpus_build.plane import Plane
from kronos_pretrain.corpus_build.quality import report


def _report(pixels: np.ndarray, scale: float = 65535.0):
    plane = Plane(pixels.shape, pixels.dtype, scale, 64)
    plane.add(pixels, 0, 0)
    return report(plane, Quality())


def test_numbers_of_a_plane_known_by_hand() -> None:
    pixels = np.full((100, 100), 10, np.uint16)
    pixels[:, :20] = 110
    pixels[0, :50] = 0
    numbers = _report(pixels)
    assert (numbers.low, numbers.median, numbers.high) == (0, 10, 110)
    assert numbers.zero == pytest.approx(0.005)
    below = (10 * (8000 - 30)) / 8020  # 20 zeros lie in the bright columns, 30 in the others
    assert numbers.signal == pytest.approx(110 / below, rel=1e-6)
    assert numbers.verdict == "ok"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_percentiles_against_numpy(dtype) -> None:
    scale = {"uint8": 255.0, "uint16": 65535.0, "float32": 3.0}[dtype]
    pixels = (np.random.default_rng(0).random((256, 256)) ** 2 * scale).astype(dtype)
    numbers = _report(pixels, scale)
    expected = np.percentile(pixels, [0.1, 50, 99.9])
    np.testing.assert_allclose([numbers.low, numbers.median, numbers.high], expected, atol=scale / 2000)


def test_verdicts(noise) -> None:
    good = noise((128, 128), 1)[0]
    rng = np.random.default_rng(0)
    empty = np.zeros((128, 128), np.uint16)
    empty[3, 3:8] = 9
    bright = good.copy()
    bright[:20] = 65535
    flat = np.full((128, 128), 100, np.uint16)
    flat[::2] = 101
    counts = (rng.random((128, 128)) < 0.1).astype(np.uint16)
    dim = rng.integers(1000, 1100, (64, 64)).repeat(2, 0).repeat(2, 1).astype(np.uint16)
    smooth = np.linspace(100, 30_000, 128)[None].repeat(128, 0).astype(np.uint16)
    cases = {"ok": good, "empty": empty, "saturated": bright, "flat": flat}
    assert {name: _report(pixels).verdict for name, pixels in cases.items()} == {name: name for name in cases}
    for pixels, reason in ((counts, "structure than noise"), (dim, "times the background"), (smooth, "fine detail")):
        numbers = _report(pixels)
        assert (numbers.verdict, reason in numbers.reason) == ("review", True), numbers


def test_a_constant_has_no_signal_and_is_flat() -> None:
    numbers = _report(np.full((64, 64), 7, np.uint8), 255.0)
    assert numbers.verdict == "flat"
    assert numbers.to_dict()["signal"] is None
    assert numbers.to_dict()["focus"] is None
