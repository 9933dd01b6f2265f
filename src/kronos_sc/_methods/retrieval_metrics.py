"""How good the answers of a search are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def accuracy_at(relevant: np.ndarray, k: int) -> np.ndarray:
    """Return whether any of the first `k` answers is relevant (float64, one per query).

    `relevant` is queries × answers, nearest first.
    """
    return relevant[:, :k].any(axis=1).astype(np.float64)


def precision_at(relevant: np.ndarray, k: int) -> np.ndarray:
    """Return the share of relevant ones among the first `k` answers (float64, one per query)."""
    return relevant[:, :k].mean(axis=1)


def average_precision_at(relevant: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    """Return AP@k (float64, one per query): Σᵢ P(i) · rel(i) / min(k, n_relevant), i = 1 … k.

    P(i) is the precision of the first i answers. `n_relevant` (one per query) is how many relevant references there
    are. 1 if all that could be relevant are, and come first; NaN where nothing could be.
    """
    first = relevant[:, :k]
    precision = first.cumsum(axis=1) / np.arange(1, first.shape[1] + 1)
    most = np.minimum(first.shape[1], n_relevant)
    return np.where(most > 0, (precision * first).sum(axis=1) / np.maximum(most, 1), np.nan)


def chance_at(n_relevant: np.ndarray, n_references: int, k: int) -> np.ndarray:
    """Return the probability that any of `k` references drawn at random is relevant (float64, one per query)."""
    drawn = np.arange(k)
    misses = np.maximum(n_references - np.asarray(n_relevant)[:, None] - drawn, 0) / (n_references - drawn)
    return 1 - misses.prod(axis=1)


def composition_error(query: np.ndarray, answers: Sequence[np.ndarray]) -> np.ndarray:
    """Return the root mean squared difference of compositions, in percent (queries × answers, float64).

    `query` (queries × classes) are shares between 0 and 1, `answers` those of the first, second, … answer.
    """
    return np.stack([100 * np.sqrt(np.square(query - answer).mean(axis=1)) for answer in answers], axis=1)


def best_at(error: np.ndarray, k: int) -> np.ndarray:
    """Return the smallest error among the first `k` answers (one per query)."""
    return error[:, :k].min(axis=1)
