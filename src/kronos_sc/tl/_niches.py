"""Niches: clusters of neighbourhoods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._analysis.partition import ClusterOptions, Method, partition
from kronos_sc._analysis.reduce import reduced
from kronos_sc._core.checks import positive_integer
from kronos_sc._core.log import info
from kronos_sc._core.representation import representation
from kronos_sc._core.rng import Seed, seed, start
from kronos_sc._core.target import require_anndata

if TYPE_CHECKING:
    from anndata import AnnData


def niches(
    adata: AnnData,
    *,
    use_rep: str = "X_kronos_nhood",
    n_niches: int | None = 8,
    method: Method = "auto",
    n_pcs: int | None = 50,
    scale: bool = True,
    resolution: float = 1.0,
    n_init: int = 10,
    rng: Seed = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Group units by what surrounds them.

    Run :func:`nhood_aggregate` first. Its features are standardised (variances are on another scale than means),
    reduced to their principal components and clustered. Where :func:`cluster` finds kinds of cells, this finds the
    kinds of places they live in.

    Parameters
    ----------
    adata
        Units with aggregated neighbourhoods.
    use_rep
        Entry of `obsm`.
    n_niches
        How many niches; Leiden does not use it.
    method
        How to cluster, as in :func:`cluster`.
    n_pcs
        Principal components to keep; fewer are faster and keep only what varies most. All features if None.
    scale
        Standardise features first.
    resolution
        Of Leiden; larger values give more niches.
    n_init
        Starts of k-means, of which the best is kept.
    rng
        Seed or generator.
    key_added
        Name of the column and of the record; `"kronos_niche"` for `"X_kronos_nhood"` and so on if left out.
    copy
        Return a new AnnData instead of adding to this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `obs['kronos_niche' | key_added]`
        Niche of each unit (categorical text), `"0"` the largest; missing where the features hold NaN.
    `uns['kronos_niche' | key_added]`
        `niches` (`representation`, `niche`, `n_units`, `share`) and `params`.

    Raises
    ------
    KeyError
        There is no such representation.
    ValueError
        There are fewer units than niches, or a parameter is out of range.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> from sklearn.neighbors import kneighbors_graph  # squidpy's graphs have more to them: radius, Delaunay, grids
    >>> cells = ks.datasets.tissue(shape=(128, 128))["table"]
    >>> cells.obsp["spatial_connectivities"] = kneighbors_graph(cells.obsm["spatial"], 6)
    >>> ks.tl.nhood_aggregate(cells, use_rep="X")
    >>> ks.tl.niches(cells, use_rep="X_X_nhood", n_niches=3)
    >>> list(cells.obs["X_niche"].cat.categories)
    ['0', '1', '2']
    """
    require_anndata(adata)
    rep = representation(adata, use_rep)
    run = AnalysisRun(adata, "niches", key_added or f"{rep.label.removesuffix('_nhood')}_niche", copy=copy)
    if n_pcs is not None:
        positive_integer(n_pcs, name="n_pcs")
    options = ClusterOptions(method, n_niches, n_init, resolution, scale=scale and n_pcs is None, noun="niches")
    if missing := int((~rep.finite).sum()):
        info(f"{missing:,} of {rep.n_units:,} units have NaN in {rep.name!r} and get no niche")
    rows = np.flatnonzero(rep.finite)
    options.require(len(rows), what=repr(rep.name))

    run.announce()
    for_components, for_clusters = start(rng).spawn(2)
    narrow = rep if n_pcs is None else reduced(rep, n_pcs, scale=scale, rng=for_components)
    clusters = partition(narrow, rows, options, for_clusters)
    names = [str(i) for i in range(len(clusters.sizes))]
    codes = np.full(rep.n_units, -1, np.int64)
    codes[rows] = clusters.labels

    table = pd.DataFrame(
        {"representation": rep.label, "niche": names, "n_units": clusters.sizes, "share": clusters.sizes / len(rows)}
    )
    params = {
        "use_rep": use_rep,
        "n_niches": n_niches,
        "method": options.resolved(narrow, len(rows)),
        "n_pcs": n_pcs,
        "scale": scale,
        "resolution": resolution,
        "n_init": n_init,
        "rng": seed(rng),
    }
    labels = pd.Categorical.from_codes(codes, names)
    run.store(params=params, tables={"niches": table}, obs={run.key: labels})
    return run.finish(f"added {len(names)} niches in obs[{run.key!r}] ({run.elapsed})")
