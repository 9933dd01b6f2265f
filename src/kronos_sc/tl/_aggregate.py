"""From units to cases: a new table with one row per case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._core.checks import listed, one_of, positive_integer
from kronos_sc._core.features import contents, feature_frame
from kronos_sc._core.log import info
from kronos_sc._core.record import freeze
from kronos_sc._core.representation import Representation, representation
from kronos_sc._core.target import ClassColumn, require_anndata, target
from kronos_sc._core.warn import warn
from kronos_sc._methods.cases import case_means, case_moments, case_shares, case_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_METHODS = ("mean", "moments", "composition")
_COUNT = "n_units"


def aggregate(
    adata: AnnData,
    case_key: str,
    *,
    use_rep: str = "X_kronos",
    how: str = "mean",
    cluster_key: str | None = None,
    obs_keys: Sequence[str] | None = None,
    n_components: int | None = 2,
) -> AnnData:
    """Summarise the units of each case (patient, donor, image) in one row of a new AnnData.

    `"mean"` is the case vector of the paper's patient stratification and case retrieval, `"composition"` that of its
    case-level stratification by clusters :cite:p:`Shaban2025`. `"moments"` adds the spread within a case to the mean. A
    representation on disk is read block by block.

    Parameters
    ----------
    adata
        Table of cells or patches of all cases.
    case_key
        Column of `obs` that names the case of each unit; units without one are left out.
    use_rep
        Entry of `obsm`, or `"X"`; unused for `"composition"`.
    how
        `"mean"` per feature, `"moments"` (mean and standard deviation side by side, twice as wide), or `"composition"`
        (share of the case's units in each cluster).
    cluster_key
        Column of `obs` with the cluster or type of each unit, for `"composition"`.
    obs_keys
        Columns of `obs` to carry over; each must be the same for all units of a case. All that are, if left out.
        `n_units` is always counted anew.
    n_components
        Principal components of the case vectors, for a look at the cases with :func:`kronos_sc.pl.cases`. They are
        fitted on all cases (centred, not scaled) and are no input for a classifier that is then tested on some of them.
        `None` computes none.

    Returns
    -------
    A new `AnnData` (cases × features). `X` is float32; `var_names` are those of :func:`kronos_sc.get.feature_names`
    (`CD3_17`, or `CD3_mean` where the model names its features), or the clusters; `obs` has the case, `n_units` and the
    columns carried over; `obsm["X_pca"]` and `uns["pca"]` (variance and its ratio) hold the components,
    `uns["aggregate"]` how it was made.

    Raises
    ------
    KeyError
        A column or the representation does not exist.
    ValueError
        `cluster_key` is missing for `"composition"`, a column of `obs_keys` differs within a case, or no unit is left.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128), n_images=4, n_donors=4)["table"]
    >>> donors = ks.tl.aggregate(cells, "donor", how="composition", cluster_key="cell_type")
    >>> donors.n_obs, "group" in donors.obs
    (4, True)
    """
    from anndata import AnnData

    require_anndata(adata)
    one_of(how, _METHODS, name="how")
    if n_components is not None:
        positive_integer(n_components, name="n_components")
    cases = target(adata, case_key, argument="case_key", least=1)
    carried = _carried(adata, cases, obs_keys)
    if how == "composition":
        values, var, codes = _composition(adata, cases, cluster_key)
    else:
        rep = representation(adata, use_rep)
        order = 1 if how == "mean" else 2
        values, var, codes = _moments(adata, rep, cases, order=order)

    kept = _with_units(cases, codes)
    sizes = case_sizes(codes, len(cases.classes))[kept]
    obs = pd.concat([carried, pd.DataFrame({_COUNT: sizes}, index=carried.index[kept])], axis=1, join="inner")
    case_table = AnnData(values[kept].astype(np.float32), obs=obs, var=var)
    params = {
        "case_key": case_key,
        "use_rep": use_rep if how != "composition" else None,
        "how": how,
        "cluster_key": cluster_key,
    }
    case_table.uns["aggregate"] = freeze(params)
    _carry_colors(adata, case_table)
    if n_components is not None:
        _add_pca(case_table, n_components)
    info(
        f"{case_table.n_obs} cases × {case_table.n_vars} features ({how}) of {sizes.sum():,} units; "
        f"{len(carried.columns)} columns of obs carried over"
    )
    return case_table


def _moments(
    adata: AnnData, rep: Representation, cases: ClassColumn, *, order: int
) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Return case vectors, their features, and the case of each unit that took part."""
    codes = np.where(rep.finite, cases.codes, -1)
    if (lost := int((cases.codes >= 0).sum() - (codes >= 0).sum())) > 0:
        warn(
            f"{lost:,} of {adata.n_obs:,} units have NaN in {rep.name!r} and are left out of their cases; embed them, "
            "or subset the table."
        )
    var = contents(feature_frame(adata, rep))
    if order == 1:
        return case_means(rep, codes, len(cases.classes)), var, codes
    parts = {
        name: var.rename(index=lambda text, name=name: f"{text}_{name}").assign(moment=name) for name in ("mean", "std")
    }
    return np.hstack(case_moments(rep, codes, len(cases.classes), order=order)), pd.concat(parts.values()), codes


def _composition(
    adata: AnnData, cases: ClassColumn, cluster_key: str | None
) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Return shares of clusters per case, the clusters, and the case of each unit that took part."""
    if cluster_key is None:
        msg = (
            f"how='composition' needs clusters or types; obs has: {listed(adata.obs.columns)}. Name a column with "
            "cluster_key=, or run tl.cluster first."
        )
        raise ValueError(msg)
    clusters = target(adata, cluster_key, argument="cluster_key", least=1)
    codes = np.where(clusters.labelled, cases.codes, -1)
    shares = case_shares(clusters.codes, codes, len(cases.classes), len(clusters.classes))
    return shares, pd.DataFrame(index=pd.Index(clusters.classes.astype(str))), codes


def _with_units(cases: ClassColumn, codes: np.ndarray) -> np.ndarray:
    """Return which cases have units (bool); those that have none are named in a warning."""
    kept = case_sizes(codes, len(cases.classes)) > 0
    if not kept.any():
        msg = (
            f"No unit has a case in obs[{cases.name!r}] and a value to summarise. Embed the units first, or name "
            "another column with case_key=."
        )
        raise ValueError(msg)
    if not kept.all():
        warn(
            f"{int((~kept).sum())} of {len(kept)} cases have no unit with a value and are left out "
            f"({listed(cases.classes[~kept], most=5)})."
        )
    return kept


def _carried(adata: AnnData, cases: ClassColumn, obs_keys: Sequence[str] | None) -> pd.DataFrame:
    """Return columns of `obs` that are the same for all units of a case, one row per case.

    The case itself comes first.
    """
    inside = adata.obs.loc[cases.labelled]
    codes = cases.codes[cases.labelled]
    requested = list(adata.obs.columns if obs_keys is None else obs_keys)
    # a count of an earlier call gives way to that of this one
    names = list(dict.fromkeys([cases.name, *(name for name in requested if name != _COUNT)]))
    if unknown := [name for name in names if name not in adata.obs]:
        msg = (
            f"obs has no column {listed(unknown)}; it has: {listed(adata.obs.columns, most=30)}. Name others with "
            "obs_keys=."
        )
        raise KeyError(msg)
    varied = {name: int((inside[name].groupby(codes).nunique(dropna=False) > 1).sum()) for name in names}
    if obs_keys is not None and (torn := [name for name in names if varied[name]]):
        msg = (
            f"obs[{torn[0]!r}] differs within {varied[torn[0]]} of {len(cases.classes)} cases, so a case has no value "
            f"of it; the same within all cases: {listed([name for name in names if not varied[name]])}. "
            "Leave it out of obs_keys."
        )
        raise ValueError(msg)
    first = np.unique(codes, return_index=True)[1]
    one_per_case = inside[[name for name in names if not varied[name]]].iloc[first]
    return one_per_case.set_axis(pd.Index(cases.classes.astype(str)), axis=0)


def _carry_colors(adata: AnnData, case_table: AnnData) -> None:
    for name in case_table.obs.columns:
        if f"{name}_colors" in adata.uns:
            case_table.uns[f"{name}_colors"] = adata.uns[f"{name}_colors"]


def _add_pca(case_table: AnnData, n_components: int) -> None:
    """Add principal components of the cases, as many as there can be."""
    from sklearn.decomposition import PCA

    count = min(n_components, case_table.n_obs - 1, case_table.n_vars)
    if count < 1:
        return
    with np.errstate(invalid="ignore"):  # cases that are all alike have no shares of variance
        pca = PCA(count, random_state=0).fit(case_table.X)
    case_table.obsm["X_pca"] = pca.transform(case_table.X).astype(np.float32)
    case_table.uns["pca"] = {
        "variance": pca.explained_variance_,
        "variance_ratio": pca.explained_variance_ratio_,
    }
