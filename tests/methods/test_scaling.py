"""Standardisation, of rows that come together or block by block."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_sc._methods.scaling import fit_scaler, scaler_of_blocks


@pytest.mark.parametrize("size", [1, 7, 50, 200])
def test_blocks_give_what_all_rows_together_give(size: int) -> None:
    x = np.random.default_rng(0).normal(3, [1, 5, 0.01, 0], (101, 4)).astype(np.float32) + np.float32(1000)
    x[:50] += 4
    found = scaler_of_blocks(x[i : i + size] for i in range(0, len(x), size))
    whole = fit_scaler(x)
    np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(found.scale, whole.scale, rtol=1e-5)


def test_by_hand() -> None:
    found = scaler_of_blocks(
        [np.array([[1.0, 5.0]], np.float32), np.empty((0, 2), np.float32), np.array([[3.0, 5.0]], np.float32)]
    )
    assert found.mean.tolist() == [2, 5]
    assert found.scale.tolist() == [1, 1]
