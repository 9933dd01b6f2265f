"""Mean and standard deviation of features that come block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._methods.scaling import Scaler

if TYPE_CHECKING:
    from collections.abc import Iterable


def scaler_of_blocks(blocks: Iterable[np.ndarray]) -> Scaler:
    """Return the scaler of all rows of all blocks (n × d each), as if they had come together; in float64.

    Sums of squared deviations of two sets add up, plus what their means are apart (Chan, Golub & LeVeque 1983).
    """
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for block in blocks:
        if not len(block):
            continue
        here = block.mean(axis=0, dtype=np.float64)
        apart, total = here - mean, count + len(block)
        deviation = block - here
        squares = squares + np.einsum("ij,ij->j", deviation, deviation) + apart**2 * count * len(block) / total
        mean, count = mean + apart * len(block) / total, total
    scale = np.sqrt(squares / max(count, 1))
    scale[scale <= 1e-6 * np.maximum(np.abs(mean), 1e-30)] = 1.0
    return Scaler(mean.astype(np.float32), scale.astype(np.float32))
