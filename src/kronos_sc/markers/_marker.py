"""One marker: its name, its id, what its pixels are like."""

from __future__ import annotations

import math
from dataclasses import dataclass

IDS = {"nuclear": range(1, 128), "other": range(128, 512)}
LAST_ID = 511  # the marker encoding has rows 0 … 511


@dataclass(frozen=True)
class Marker:
    """One marker of a vocabulary.

    Parameters
    ----------
    name
        Name, as the model spells it.
    id
        Row of the marker encoding, 0 … 511, or `None` while it has none.
    mean, std
        Mean and standard deviation of the pixels of the training data, after scaling to [0, 1]; NaN if unknown.
    role
        `"nuclear"` for what shows every nucleus, else `"other"`.
    aliases
        Further spellings, beyond those of the built-in table.
    """

    name: str
    id: int | None = None
    mean: float = math.nan
    std: float = math.nan
    role: str = "other"
    aliases: tuple[str, ...] = ()

    @property
    def has_statistics(self) -> bool:
        """Whether mean and standard deviation are known."""
        return math.isfinite(self.mean) and math.isfinite(self.std)
