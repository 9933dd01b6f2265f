"""A random order within each class, from which training sets of growing size are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._core import results
from kronos_sc._core.checks import positive_integer
from kronos_sc._core.free_key import free_key
from kronos_sc._core.log import info
from kronos_sc._core.rng import seed, start
from kronos_sc._core.target import target as as_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def nested_subsets(
    adata: AnnData,
    target: str,
    *,
    sizes: Sequence[int] = (100, 200, 500, 1000),
    rng: int | np.random.Generator | None = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Put the units of each class in a random order :cite:p:`Shaban2025`.

    Small training sets are then parts of larger ones. Scores for 100, 200 and 500 training cells per class compare
    better if the 100 are among the 200: then it is the number that differs, not the luck of the draw. The first n of a
    class in this order, whatever pool they are taken from (the training folds, one image), are such nested subsets, the
    same ones in every analysis and for every representation.

    Parameters
    ----------
    adata
        The table.
    target
        Column of `obs` with the classes.
    sizes
        Units per class that training will ask for; only to report which classes are smaller. The order does not depend
        on them.
    rng
        Seed or generator.
    key_added
        Name of the column and of the record; `"{target}_order"` if left out.
    copy
        Return a new `AnnData` instead of changing `adata`.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `obs['{target}_order' | key_added]`
        Rank of each unit within its class (int32), 0 first; -1 without a class.
    `uns['{target}_order' | key_added]`
        Table `subsets` (`class`, `size`, `n_units`: how many of that size the class can give) and parameters.

    Raises
    ------
    KeyError
        There is no such column.
    ValueError
        It has fewer than two classes, or a size is not a whole number of at least 1.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128))["table"]
    >>> ks.pp.nested_subsets(cells, "cell_type", sizes=(1, 2, 5))
    >>> int((cells.obs["cell_type_order"] == 0).sum()) == cells.obs["cell_type"].nunique()
    True
    """
    key = free_key(adata, key_added or f"{target}_order", target)
    classes = as_target(adata, target)
    sizes = sorted({positive_integer(size, name="each of sizes") for size in sizes})
    order = _ranks(classes.codes, len(classes.classes), start(rng))
    subsets = pd.DataFrame(
        [
            (name, size, min(size, int(n)))
            for name, n in zip(classes.classes, classes.counts, strict=True)
            for size in sizes
        ],
        columns=["class", "size", "n_units"],
    )
    table = adata.copy() if copy else adata
    table.obs[key] = order
    params = {"target": target, "sizes": sizes, "rng": seed(rng)}
    results.store(table, key, kind="nested_subsets", params=params, tables={"subsets": subsets})
    info(f"added obs[{key!r}]: an order within each of {len(classes.classes)} classes of {target!r}{_smaller(subsets)}")
    return table if copy else None


def _ranks(codes: np.ndarray, n_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random rank within its class for each unit (int32); -1 where the code is.

    Each class has a stream of its own.
    """
    rank = np.full(len(codes), -1, np.int32)
    for code, stream in enumerate(rng.spawn(n_classes)):
        members = np.flatnonzero(codes == code)
        rank[stream.permutation(members)] = np.arange(len(members), dtype=np.int32)
    return rank


def _smaller(subsets: pd.DataFrame) -> str:
    """Say which sizes some classes cannot give."""
    short = subsets.loc[subsets["n_units"] < subsets["size"]]
    text = ""
    for size, part in short.groupby("size"):
        classes = ", ".join(f"{name} ({n:,})" for name, n in zip(part["class"], part["n_units"], strict=True))
        text += f"; {classes} fewer than {size:,}"
    return text
