"""A representation made narrower: standardised, projected on principal components, wherever its rows lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core.log import info
from kronos_sc._core.representation import Representation
from kronos_sc._core.rng import integer
from kronos_sc._methods.clustering import VALUES_HELD
from kronos_sc._methods.scaling import Scaler, scaler_of_blocks

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

_SAMPLE_VALUES = 2**26  # numbers that components are fitted on: 256 MiB as float32, 175,000 rows of 384 features


def held(rep: Representation) -> int:
    """Return how many rows to hold at a time."""
    return max(1, VALUES_HELD // max(rep.width, 1))


def tell_memory(rep: Representation, n: int, *, how: str) -> None:
    """Log that `n` rows that are not in memory are going to be; `how` ends the sentence."""
    if not rep.in_memory:
        info(f"{rep.label}: reading {4 * rep.width * n / 2**30:.2f} GiB into memory{how}")


def streamed_scaler(rep: Representation, rows: np.ndarray) -> Scaler:
    """Return mean and standard deviation of features, from one pass over some rows."""
    return scaler_of_blocks(block for _, block in rep.blocks(rows, size=held(rep)))


def reduced(rep: Representation, n_pcs: int, *, scale: bool, rng: np.random.Generator) -> Representation:
    """Return the first principal components (float32, in memory) of a representation.

    They are fitted on a sample where it is large; rows with NaN stay NaN. With fewer features or units than components
    there are as many components as there can be.
    """
    rows = np.flatnonzero(rep.finite)
    scaler = streamed_scaler(rep, rows) if scale else None
    most = max(_SAMPLE_VALUES // rep.width, n_pcs)
    sample = rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
    count = min(n_pcs, rep.width, len(sample))
    fitted = _fit(_scaled(rep.rows(sample), scaler), count, rng)
    components = np.full((rep.n_units, count), np.nan, np.float32)
    for part, block in rep.blocks(rows, size=held(rep)):
        components[part] = fitted.transform(_scaled(block, scaler))
    return Representation(rep.name, components)


def _scaled(x: np.ndarray, scaler: Scaler | None) -> np.ndarray:
    return x if scaler is None else scaler.apply(x)


def _fit(x: np.ndarray, count: int, rng: np.random.Generator) -> PCA:
    from sklearn.decomposition import PCA

    return PCA(count, random_state=integer(rng)).fit(x)
