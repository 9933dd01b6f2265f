"""Training and test cases, drawn class by class."""

from __future__ import annotations

import numpy as np


def training_counts(counts: np.ndarray, train_size: float) -> np.ndarray:
    """Return training cases per class (int64): a number per class if `train_size` is whole, else a share of each.

    One of each class is left.
    """
    counts = np.asarray(counts)
    if isinstance(train_size, int | np.integer):
        return np.full(len(counts), int(train_size))
    return np.clip(np.round(counts * train_size).astype(np.int64), 1, np.maximum(counts - 1, 1))


def draw_split(labels: np.ndarray, n_train: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return (training, test) case numbers, increasing: `n_train` cases of each class drawn, all others to test."""
    chosen = [rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in enumerate(n_train)]
    train = np.sort(np.concatenate(chosen))
    return train, np.setdiff1d(np.arange(len(labels)), train)
