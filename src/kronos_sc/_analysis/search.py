"""Nearest neighbours between rows of representations, wherever these lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from kronos_sc._core.representation import Representation
from kronos_sc._core.settings import settings

Transform = Callable[[np.ndarray], np.ndarray]


def as_is(rows: np.ndarray) -> np.ndarray:
    """Return rows unchanged."""
    return rows


@dataclass(frozen=True)
class SearchSet:
    """Rows of a representation, and what is done to them before they are compared.

    Parameters
    ----------
    rep
        The representation.
    rows
        Row numbers, increasing for references.
    transform
        From rows as read (n × features) to rows as compared.
    """

    rep: Representation
    rows: np.ndarray
    transform: Transform = as_is

    def blocks(self, *, times: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (row numbers, rows as compared), `times` as many at once as `settings.block_memory` holds."""
        size = max(1, times * settings.block_memory // (4 * max(self.rep.width, 1)))
        for part, values in self.rep.blocks(self.rows, size=size):
            yield part, self.transform(values)


def nearest(
    reference: SearchSet, query: SearchSet, k: int, *, metric: str, skip_own: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return distance (float32) and row number in the reference's table (int64) of the `k` nearest, both queries × k.

    `skip_own`: rows of both sides are the same units, and none is its own answer. References are read once for every
    4 · `settings.block_memory` of queries; neither side is held as a whole unless it is in memory.
    """
    from kronos_sc._methods.neighbours import top_k

    answers = []
    for part, values in query.blocks(times=4):
        distance, index = top_k(reference.blocks(), values, k + skip_own, metric=metric)
        answers.append(_without(part, distance, index) if skip_own else (distance, index))
    if not answers:
        return np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
    distances, indices = zip(*answers, strict=True)
    return np.concatenate(distances), np.concatenate(indices)


def _without(own: np.ndarray, distance: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return answers without the query itself.

    One that is not among its own answers (others equal it) loses the last.
    """
    keep = index != own[:, None]
    keep[keep.all(axis=1), -1] = False
    shape = (len(own), index.shape[1] - 1)
    return distance[keep].reshape(shape), index[keep].reshape(shape)
