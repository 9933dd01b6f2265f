"""Clusters that take a larger share of the cases of one group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.cases import Cases, labelled_cases
from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._core.checks import listed
from kronos_sc._core.target import target
from kronos_sc._core.warn import warn
from kronos_sc._methods.cases import case_shares
from kronos_sc._methods.enrichment import compare_shares, smallest_p

if TYPE_CHECKING:
    from anndata import AnnData

_ALPHA = 0.05


def enrichment(
    adata: AnnData,
    cluster_key: str,
    *,
    group_key: str,
    case_key: str,
    groups: tuple[str, str] | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Test which clusters take a larger share of the cases of one group than of another :cite:p:`Shaban2025`.

    Cell types serve as well as clusters. Cases are compared, not units: a thousand cells of one patient are one
    observation. Per cluster a two-sided Mann–Whitney U test of its shares, then Benjamini–Hochberg over the clusters.
    Shares of a case sum to 1, so that one cluster that grows makes the others shrink.

    Parameters
    ----------
    adata
        Table of cells or patches of all cases.
    cluster_key
        Column of `obs` with the cluster or type of each unit. Clusters of all cases together, not of each image alone.
    group_key
        Column of `obs` with the group of each case (response, diagnosis); the same for all units of a case.
    case_key
        Column of `obs` that names the case of each unit: the patient, not the image.
    groups
        The two groups to compare, where there are more than two.
    key_added
        Name of the result; `{cluster_key}_enrichment` if left out.
    copy
        Return a new AnnData instead of writing to `adata`.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `uns['{cluster_key}_enrichment' | key_added]`
        Table `enrichment`, one row per cluster: `cluster`, `group_a`, `group_b`, `n_a`, `n_b` (cases), `mean_a`,
        `mean_b`, `median_a`, `median_b` (shares), `statistic` (U), `p_value`, `p_adjusted`, and `effect`, the
        rank-biserial correlation: 1 where every case of a has more than every case of b, -1 the other way round. Table
        `composition` (case, group, cluster, share) for
        :func:`kronos_sc.pl.enrichment`; `params`.

    Raises
    ------
    KeyError
        A column or group does not exist.
    ValueError
        A case has two groups, a group has a single case, or there are more than two groups and none was named.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128), n_images=8, n_donors=8)["table"]
    >>> ks.tl.enrichment(cells, "cell_type", group_key="group", case_key="donor")
    >>> ks.get.result(cells, "cell_type_enrichment")["n_a"].unique().tolist()
    [4]
    """
    run = AnalysisRun(adata, "enrichment", key_added or f"{cluster_key}_enrichment", copy=copy)
    clusters = target(adata, cluster_key, argument="cluster_key")
    cases = labelled_cases(adata, case_key, group_key, argument="group_key")
    a, b = _two(cases, groups, group_key)
    shares = case_shares(clusters.codes, cases.codes, len(cases.names), len(clusters.classes))
    counted = np.isfinite(shares).all(axis=1)  # a case may have units and no cluster
    members = [np.flatnonzero((cases.labels == group) & counted) for group in (a, b)]
    _check_sizes(cases, (a, b), members, case_key)
    names = [str(cases.classes[group]) for group in (a, b)]

    table = compare_shares(*(shares[rows] for rows in members))
    table.insert(0, "cluster", clusters.classes)
    table.insert(1, "group_a", names[0])
    table.insert(2, "group_b", names[1])

    params = {"cluster_key": cluster_key, "group_key": group_key, "case_key": case_key, "groups": names}
    tables = {
        "enrichment": table,
        "composition": _composition(cases, clusters.classes, shares, np.concatenate(members)),
    }
    run.store(params=params, tables=tables)
    n_different = int((table["p_adjusted"] < _ALPHA).sum())
    sizes = ", ".join(f"{len(rows)} {name}" for rows, name in zip(members, names, strict=True))
    counts = f"{n_different} of {len(table)} clusters differ (adjusted p < {_ALPHA})"
    return run.finish(f"added uns[{run.key!r}]: {counts} between {sizes} cases")


def _two(cases: Cases, groups: tuple[str, str] | None, group_key: str) -> tuple[int, int]:
    """Return the numbers of the two groups to compare."""
    names = [str(name) for name in cases.classes]
    if groups is None:
        if len(names) != 2:
            msg = (
                f"obs[{group_key!r}] has {len(names)} groups of cases ({listed(names)}); two are compared. Name them "
                "with groups=('a', 'b')."
            )
            raise ValueError(msg)
        return 0, 1
    if isinstance(groups, str) or len(set(groups)) != 2:
        msg = (
            f"groups must name two different groups, got {groups!r}; there are: {listed(names)}. Write "
            f"groups=({names[0]!r}, {names[-1]!r})."
        )
        raise ValueError(msg)
    if unknown := [group for group in groups if str(group) not in names]:
        msg = (
            f"obs[{group_key!r}] has no case in group {listed(unknown)}; there are: {listed(names)}. Name two of these "
            "with groups=."
        )
        raise KeyError(msg)
    return names.index(str(groups[0])), names.index(str(groups[1]))


def _check_sizes(cases: Cases, groups: tuple[int, int], members: list[np.ndarray], case_key: str) -> None:
    """Raise a ValueError where a group has a single case; warn where no difference could be significant."""
    n_a, n_b = map(len, members)
    if min(n_a, n_b) < 2:
        sizes = ", ".join(f"{n} in {str(cases.classes[group])!r}" for group, n in zip(groups, (n_a, n_b), strict=True))
        msg = (
            f"Each group needs at least two cases; obs[{case_key!r}] has {sizes}. Name another case_key=, or add cases."
        )
        raise ValueError(msg)
    if (least := smallest_p(n_a, n_b)) > _ALPHA:
        warn(
            f"{n_a} and {n_b} cases are too few for this test: even groups that do not overlap give p = {least:.2g}. "
            "Read effect, not p_value."
        )


def _composition(cases: Cases, clusters: np.ndarray, shares: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "case": np.repeat(cases.names[rows], len(clusters)),
            "group": np.repeat(cases.classes[cases.labels[rows]], len(clusters)),
            "cluster": np.tile(clusters, len(rows)),
            "share": shares[rows].ravel(),
        }
    )
