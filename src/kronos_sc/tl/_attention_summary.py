"""What a model looks at in each cell type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._core import results
from kronos_sc._core.balanced import sample_per_class, standardised
from kronos_sc._core.checks import known, positive_integer
from kronos_sc._core.free_key import free_key
from kronos_sc._core.log import info
from kronos_sc._core.rng import seed, start
from kronos_sc._core.target import require_anndata, target
from kronos_sc._core.warn import warn

if TYPE_CHECKING:
    from anndata import AnnData


def attention_summary(
    adata: AnnData,
    groupby: str,
    *,
    key: str = "kronos_attention",
    n_per_group: int | None = 1000,
    rng: int | np.random.Generator | None = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Summarise attention per cell type and marker, as in the paper's Figure S8 :cite:p:`Shaban2025`.

    As many units of each group are drawn as there are, up to `n_per_group`, so that common types do not decide what is
    usual; z-scores are taken marker by marker over the units drawn.

    Parameters
    ----------
    adata
        Table with the result of :func:`kronos_sc.tl.attention`.
    groupby
        Column of `obs`: cell types, say. Units without a value are left out.
    key
        Name of the result.
    n_per_group
        Most units per group; 1,000 in the paper. None for all.
    rng
        Seed or generator of the draw.
    key_added
        Name of the result in `uns`; `{groupby}_attention` if left out.
    copy
        Return a new table instead of changing this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `uns['{groupby}_attention' | key_added]`
        Table `summary` for :func:`kronos_sc.get.result`: one row per group and marker with `n`, `median`, `mean`, `sd`,
        `q25` and `q75` of the z-scores, and `attention`, the mean of the raw values; `params`.

    Raises
    ------
    KeyError
        There is no such result or column.
    ValueError
        Fewer than two groups have attention.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(96, 96), channels=["DAPI", "CD8", "CYTOKERATIN"])
    >>> ks.tl.attention(sdata, model=ks.models.load("kronos-untrained", blocks="official"), patch_size=32)
    >>> ks.tl.attention_summary(sdata["table"], "region")
    >>> sorted(ks.get.result(sdata["table"], "region_attention")["marker"].unique())
    ['CD8', 'CYTOKERATIN', 'DAPI']
    """
    require_anndata(adata)
    most = None if n_per_group is None else positive_integer(n_per_group, name="n_per_group")
    markers = results.frame(adata, key, "markers", kind="attention")["marker"]
    known(
        key, list(adata.obsm), what="entry of obsm", fix="Run tl.attention(sdata) again, whose result was taken away."
    )
    name = free_key(adata, key_added or f"{groupby}_attention", groupby)
    raw = np.asarray(adata.obsm[key], np.float32)
    groups = target(adata, groupby, argument="groupby", least=1).keep(np.isfinite(raw).all(1))
    counts = groups.counts
    n_groups = int((counts > 0).sum())
    if n_groups < 2:
        msg = (
            f"{n_groups} groups of obs[{groupby!r}] have attention in {key!r}; at least 2 are needed. "
            "Name another column with groupby=."
        )
        raise ValueError(msg)
    if missing := [str(group) for group, count in zip(groups.classes, counts, strict=True) if not count]:
        warn(
            f"No unit of {', '.join(missing)} has attention in {key!r}; they are not in the summary. Compute them with "
            "tl.attention(ids=...)."
        )

    # z-scores are taken over the units drawn, so that a common type does not decide what is usual
    rows = sample_per_class(groups.codes, most, start(rng))
    summary = _summary(raw[rows], groups.classes[groups.codes[rows]], list(groups.classes), list(markers))
    table = adata.copy() if copy else adata
    params = {"attention": key, "groupby": groupby, "n_per_group": most, "rng": seed(rng)}
    results.store(table, name, kind="attention_summary", params=params, tables={"summary": summary})
    info(f"added uns[{name!r}]: attention of {len(rows):,} units in {n_groups} groups to {len(markers)} markers")
    return table if copy else None


def _summary(raw: np.ndarray, groups: np.ndarray, names: list[str], markers: list[str]) -> pd.DataFrame:
    """Return one row per group and marker."""
    z = standardised(raw)
    parts = []
    for name in names:
        members = groups == name
        count = int(members.sum())
        if not count:
            continue
        low, median, high = np.quantile(z[members], (0.25, 0.5, 0.75), axis=0)
        # the standard deviation of a single unit is not known
        sd = z[members].std(0, ddof=1) if count > 1 else np.full(len(markers), np.nan)
        parts.append(
            {
                "group": [name] * len(markers),
                "marker": markers,
                "n": [count] * len(markers),
                "median": median,
                "mean": z[members].mean(0),
                "sd": sd,
                "q25": low,
                "q75": high,
                "attention": raw[members].mean(0),
            }
        )
    return pd.DataFrame({column: np.concatenate([part[column] for part in parts]) for column in parts[0]})
