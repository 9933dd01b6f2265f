"""Arrays on their way to what writes into memory, or could."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike


def writable(values: ArrayLike, dtype: DTypeLike | None = None) -> np.ndarray:
    """Return an array that torch can share: the one given if it is contiguous and may be written to, else a copy.

    pandas 3 hands out columns read-only, and so do memory maps and whoever has frozen an array; torch knows no
    read-only tensors, and warns of every one. All that goes to `torch.from_numpy` passes here. What is written into (an
    `out=`) must not: it might be a copy.

    Examples
    --------
    >>> import numpy as np
    >>> frozen = np.arange(3)
    >>> frozen.flags.writeable = False
    >>> writable(frozen).flags.writeable
    True
    """
    return np.require(values, dtype, ["C_CONTIGUOUS", "WRITEABLE"])
