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


def as_list(names: str | Sequence[str]) -> list[str]:
    """Return one name or several as a list."""
    return [names] if isinstance(names, str) else list(names)


def choose(
    table: AnnData, ids: Sequence[str] | None, *, groupby: str | None, n: int, rng: int | np.random.Generator | None
) -> tuple[list[str], dict[str, int] | None]:
    """Return the units to show, and how many are in each row, by its name (None without groups)."""
    names = table.obs_names
    pool = pd.Index(names)
    if ids is not None:
        pool = pd.Index([str(name) for name in as_list(ids)])
    if unknown := [name for name in pool if name not in names]:
        msg = (
            f"The table has no units {listed(unknown)}; its names look like {listed(names[:3])}. Pass obs_names of the "
            "table."
        )
        raise KeyError(msg)
    if not len(pool):
        msg = (
            "There is no unit to show. Pass obs_names of the table, for instance list(table.obs_names[:16]), or leave "
            "ids out."
        )
        raise ValueError(msg)

    # units that were named are all shown; without names a few are drawn
    most = n if ids is None else None
    rng = np.random.default_rng(rng)
    if groupby is None:
        return _some(pool, most, rng), None
    groups = _groups(table, groupby).loc[pool]
    chosen = {}
    for group in groups.cat.categories:
        members = pool[(groups == group).to_numpy()]
        if len(members):
            chosen[str(group)] = _some(members, most, rng)
    if not chosen:
        msg = f"No unit has a value in obs[{groupby!r}]. Fill the column, or leave groupby out."
        raise ValueError(msg)
    sizes = {group: len(members) for group, members in chosen.items()}
    return [name for members in chosen.values() for name in members], sizes


def _some(members: pd.Index, n: int | None, rng: np.random.Generator) -> list[str]:
    """Return up to `n` members in the table's order; all of them, as they come, if None."""
    if n is None:
        return list(members)
    positions = rng.choice(len(members), size=min(n, len(members)), replace=False)
    return [str(members[i]) for i in np.sort(positions)]


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
