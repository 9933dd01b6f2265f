"""Matrices that resize: against torch's own interpolation, crop by crop."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from kronos_pretrain.data import resample


def _one(start: int, length: int, *, size: int, extent: int, reverse: bool = False) -> torch.Tensor:
    return resample.weights(torch.tensor(start), torch.tensor(length), torch.tensor(reverse), size=size, extent=extent)


def test_a_stretch_of_the_asked_size_is_copied() -> None:
    assert torch.equal(_one(3, 5, size=5, extent=12), torch.eye(12)[3:8])


def test_reversing_turns_the_rows_round() -> None:
    assert torch.equal(_one(2, 9, size=4, extent=12, reverse=True), _one(2, 9, size=4, extent=12).flip(0))


def test_halving_by_hand() -> None:
    """Output pixel 1 of 8 → 4 lies between inputs 2 and 3.

    The kernel is widened by 2, so taps stand at ±1/4, ±3/4, ±5/4, ±7/4.
    """
    near = [1 - 2.5 * x**2 + 1.5 * x**3 for x in (0.25, 0.75)]
    far = [2 - 4 * x + 2.5 * x**2 - 0.5 * x**3 for x in (1.25, 1.75)]
    side = [*near, *far]
    taps = torch.tensor([side[2], side[1], side[0], side[0], side[1], side[2], side[3]])  # the eighth falls outside
    torch.testing.assert_close(_one(0, 8, size=4, extent=8)[1, :7], taps / taps.sum())


@pytest.mark.parametrize("size", [16, 33, 64])
def test_it_is_what_torch_interpolates(size: int) -> None:
    """Enlarged, reduced and kept; every box in one call."""
    g = torch.Generator().manual_seed(0)
    image = torch.randn(2, 60, 70, generator=g)
    top = torch.randint(0, 20, (8,), generator=g)
    left = torch.randint(0, 20, (8,), generator=g)
    height = torch.randint(5, 41, (8,), generator=g)
    width = torch.randint(5, 51, (8,), generator=g)
    no = torch.zeros(8, dtype=torch.bool)
    rows = resample.weights(top, height, no, size=size, extent=60)
    columns = resample.weights(left, width, no, size=size, extent=70)
    ours = rows[:, None] @ image @ columns[:, None].transpose(-1, -2)
    for i, (t, x, h, w) in enumerate(zip(top.tolist(), left.tolist(), height.tolist(), width.tolist(), strict=True)):
        crop = image[None, :, t : t + h, x : x + w]
        theirs = F.interpolate(crop, (size, size), mode="bicubic", antialias=True, align_corners=False)[0]
        torch.testing.assert_close(ours[i], theirs, atol=1e-5, rtol=0)


def test_no_blur_is_the_identity() -> None:
    assert torch.equal(resample.blur(torch.zeros(1), 6)[0], torch.eye(6))


def test_blur_is_a_normalised_gaussian() -> None:
    matrix = resample.blur(torch.tensor([1.5]), 9)[0].double()
    weights = torch.tensor(
        [torch.exp(torch.tensor(-((i - 4) ** 2) / (2 * 1.5**2), dtype=torch.float64)) for i in range(9)]
    )
    torch.testing.assert_close(matrix[4], weights / weights.sum(), atol=1e-6, rtol=0)
    torch.testing.assert_close(matrix.sum(1), torch.ones(9, dtype=torch.float64))


def test_apply_equals_a_loop_over_views() -> None:
    g = torch.Generator().manual_seed(1)
    v, b, m, h, w, s = 3, 2, 4, 10, 12, 5
    pixels = torch.randn(b, m, h, w, generator=g)
    rows = torch.randn(v, b, s, h, generator=g)
    columns = torch.randn(v, b, s, w, generator=g)
    turn = torch.tensor([[True, False], [False, False], [True, True]])
    out = resample.apply(pixels, rows, columns, turn)
    for i in range(v):
        for j in range(b):
            one = torch.stack([rows[i, j] @ plane @ columns[i, j].T for plane in pixels[j]])
            torch.testing.assert_close(out[i, j], one.mT if turn[i, j] else one, atol=1e-5, rtol=1e-5)
