"""Overlapping windows → one map."""

# Shapes: k classes, r × c tokens of the map, n × n tokens of a window.
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kronos_sc._dense.windows import Tiling


class Blend:
    """Weighted mean of the windows' probabilities at each token.

    Memory is that of the map, whatever the number of windows.

    Parameters
    ----------
    tiling
        The windows.
    n_classes
        Numbers per token.
    """

    def __init__(self, tiling: Tiling, n_classes: int) -> None:
        self._tiling = tiling
        self._weights = tiling.weights()
        count = tiling.grid.count
        rows, columns = (int(along[-1] - tiling.start) // tiling.grid.step + count for along in tiling.origins)

        # windows may reach beyond the image, so the sums are larger than the map that `mean` cuts out of them
        self._sum_krc = np.zeros((n_classes, rows, columns), np.float32)
        self._weight_rc = np.zeros((rows, columns), np.float32)

    def add(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        """Add windows whose first tokens are at these rows and columns of the map; `values` is (windows, n · n · k)."""
        n = self._tiling.grid.count
        values_wknn = values.reshape(len(values), n, n, -1).transpose(0, 3, 1, 2)
        for i, j, value in zip(rows.tolist(), columns.tolist(), values_wknn, strict=True):
            self._sum_krc[:, i : i + n, j : j + n] += value * self._weights
            self._weight_rc[i : i + n, j : j + n] += self._weights

    def mean(self) -> np.ndarray:
        """Return the map (k, r, c), float32."""
        rows, columns = self._tiling.map_shape
        return self._sum_krc[:, :rows, :columns] / self._weight_rc[:rows, :columns]
