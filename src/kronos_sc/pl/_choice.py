"""Which units to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._core.checks import known, listed
from kronos_sc._core.missing import class_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

MOST_GROUPS = 60


def choose(
    table: AnnData, ids: Sequence[str] | None, *, groupby: str | None, n: int, rng: int | np.random.Generator | None
) -> tuple[list[str], dict[str, int] | None]:
    """Return the units to show, and how many are in each row, by its name (None without groups)."""
    names = table.obs_names
    pool = pd.Index(names) if ids is None else pd.Index([ids] if isinstance(ids, str) else [str(name) for name in ids])
    if lost := [name for name in pool if name not in names]:
        msg = (
            f"The table has no units {listed(lost)}; its names look like {listed(names[:3])}. Pass obs_names of the "
            "table."
        )
        raise KeyError(msg)
    if not len(pool):
        msg = (
            "There is no unit to show. Pass obs_names of the table, for instance list(table.obs_names[:16]), or leave "
            "ids out."
        )
        raise ValueError(msg)
    draw = np.random.default_rng(rng)
    if groupby is None:
        return (list(pool) if ids is not None else _some(pool, n, draw)), None
    groups = _groups(table, groupby).loc[pool]
    chosen = {}
    for group in groups.cat.categories:
        members = pool[(groups == group).to_numpy()]
        if len(members):
            chosen[str(group)] = list(members) if ids is not None else _some(members, n, draw)
    if not chosen:
        msg = f"No unit has a value in obs[{groupby!r}]. Fill the column, or leave groupby out."
        raise ValueError(msg)
    return [name for members in chosen.values() for name in members], {
        group: len(members) for group, members in chosen.items()
    }


def _some(members: pd.Index, n: int, draw: np.random.Generator) -> list[str]:
    """Return up to `n` members in the table's order."""
    picked = draw.choice(len(members), size=min(n, len(members)), replace=False)
    return [str(members[i]) for i in np.sort(picked)]


def _groups(table: AnnData, groupby: str) -> pd.Series:
    """Return a column of `obs` as categories."""
    known(
        groupby,
        list(table.obs.columns),
        what="column in obs",
        fix="Name the column that holds the groups with groupby=.",
    )
    groups = class_column(table.obs[groupby], place=f"adata.obs[{groupby!r}]").astype("category")
    if len(groups.cat.categories) > MOST_GROUPS:
        msg = (
            f"obs[{groupby!r}] has {len(groups.cat.categories)} groups, and {MOST_GROUPS} rows can be shown. Choose a "
            "column with fewer, or pass ids=."
        )
        raise ValueError(msg)
    return groups
