"""Clusters of units in an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._analysis.groups import groups_of
from kronos_sc._analysis.partition import ClusterOptions, Method, partition
from kronos_sc._core import results
from kronos_sc._core.free_key import free_key
from kronos_sc._core.log import info
from kronos_sc._core.representation import Representation, representation
from kronos_sc._core.rng import Seed, integer, seed, start
from kronos_sc._core.target import require_anndata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def cluster(
    adata: AnnData,
    *,
    use_rep: str | Sequence[str] = "X_kronos",
    n_clusters: int | None = 8,
    method: Method = "auto",
    groupby: str | None = None,
    resolution: float = 1.0,
    n_neighbors: int = 15,
    scale: bool = False,
    n_init: int = 10,
    rng: Seed = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Group units that are alike in an embedding, without labels :cite:p:`Shaban2025`.

    For cells this is phenotyping without an expert, for patches a map of the tissue. The paper clusters patches of 64
    pixels within each image (`groupby` the image, `n_clusters` 6, 10 or 14), cells with as many clusters as there are
    types (:func:`ari` scores those), and the patches of all cases together with 4, 8 or 16 clusters.

    Parameters
    ----------
    adata
        Units with an embedding.
    use_rep
        Entry of `obsm`, or `"X"`; a list gives one column of `obs` each.
    n_clusters
        How many clusters; more of them split what is common before they find what is rare. Leiden does not use it.
    method
        `"kmeans"` looks at all rows at once; `"minibatch"` reads them in blocks, so that they may lie on disk, and
        takes seconds where k-means takes minutes; `"auto"` is k-means for up to 100,000 units in memory and
        mini-batches otherwise. `"leiden"` finds communities of the neighbour graph (scanpy, igraph); the graph is not
        kept. `"kmeans"` and `"leiden"` hold the features of a group in memory; of a large embedding on disk, take
        :func:`pca` first.
    groupby
        Column of `obs`: cluster the units of each group on their own. Clusters are then named `"group:0"`, for the same
        number means nothing from one group to the next.
    resolution
        Of Leiden; larger values give more clusters.
    n_neighbors
        Neighbours per unit in the graph of Leiden; larger values give fewer, broader clusters.
    scale
        Standardise features first, so that all count the same. The paper mentions no such step.
    n_init
        Starts of k-means, of which the best is kept; more are slower and steadier.
    rng
        Seed or generator.
    key_added
        Name of the column and of the record; `"{representation}_cluster"` if left out. With several representations,
        `key_added` is the column of the first, and the others append their name.
    copy
        Return a new AnnData instead of adding to this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `obs['kronos_cluster' | key_added]`
        Cluster of each unit (categorical text), `"0"` the largest. Missing where the embedding holds NaN or the group
        is missing.
    `uns['kronos_cluster' | key_added]`
        `clusters` (`representation`, `column`, `group`, `cluster`, `n_units`, `share` of the group's units), `fits`
        (per representation and group the `method` used, `n_units`, `n_clusters`, and `inertia`: the sum of squared
        distances to the centres, k-means only), and `params`.

    Raises
    ------
    KeyError
        There is no such representation or column.
    ValueError
        A group has fewer units than clusters, or a parameter is out of range.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128))["table"]
    >>> ks.tl.cluster(cells, use_rep="X", n_clusters=4)
    >>> list(cells.obs["X_cluster"].cat.categories)
    ['0', '1', '2', '3']
    """
    require_anndata(adata)
    options = ClusterOptions(method, n_clusters, n_init, resolution, n_neighbors, scale)
    reps = [representation(adata, name) for name in dict.fromkeys([use_rep] if isinstance(use_rep, str) else use_rep)]
    if not reps:
        msg = "use_rep is an empty list; name one or several entries of obsm, or 'X'."
        raise ValueError(msg)
    groups = _groups(adata, groupby)
    columns = _columns(reps, key_added)
    run = AnalysisRun(adata, "cluster", columns[0], groupby, copy=copy)
    for name in columns[1:]:
        free_key(adata, name, groupby)
    units = {rep.name: _units(rep, groups, options) for rep in reps}

    run.announce()
    # the same seed for each representation: what one gives does not depend on which others were named
    seeds = [integer(child) for child in start(rng).spawn(len(groups))]
    clusters: dict[str, pd.Categorical] = {}
    fits = []
    sizes = []
    for rep, name in zip(reps, columns, strict=True):
        clusters[name], fit, size = _clustered(rep, units[rep.name], options, seeds)
        fits.append(fit.assign(representation=rep.label))
        sizes.append(size.assign(representation=rep.label, column=name))

    tables = {
        "clusters": pd.concat(sizes)[["representation", "column", "group", "cluster", "n_units", "share"]],
        "fits": pd.concat(fits)[["representation", "group", "method", "n_units", "n_clusters", "inertia"]],
    }
    params = {
        "representations": [rep.label for rep in reps],
        "groupby": groupby,
        "scale": scale,
        "rng": seed(rng),
        **_used(options),
    }
    run.store(params=params, tables=tables, obs=clusters)
    counts = ", ".join(f"{len(values.categories)} clusters in obs[{name!r}]" for name, values in clusters.items())
    return run.finish(f"added {counts} ({run.elapsed})")


def _columns(reps: list[Representation], key_added: str | None) -> list[str]:
    """Return the column of each representation."""
    if key_added is None:
        return [f"{rep.label}_cluster" for rep in reps]
    return results.keys_of(key_added, [rep.label for rep in reps])


def _groups(adata: AnnData, groupby: str | None) -> dict[str, np.ndarray]:
    """Return the units (mask) of each group; all of them under an empty name if there is no grouping."""
    if groupby is None:
        return {"": np.ones(adata.n_obs, bool)}
    groups = groups_of(adata, groupby)
    if not len(groups.classes):
        msg = f"obs[{groupby!r}] is empty, so there is no group to cluster. Name another column with groupby=."
        raise ValueError(msg)
    return {str(name): groups.codes == code for code, name in enumerate(groups.classes)}


def _units(rep: Representation, groups: dict[str, np.ndarray], options: ClusterOptions) -> dict[str, np.ndarray]:
    """Return the row numbers of each group that hold numbers throughout."""
    finite = rep.finite
    if missing := int((~finite).sum()):
        info(f"{missing:,} of {rep.n_units:,} units have NaN in {rep.name!r} and get no cluster")
    units = {name: np.flatnonzero(mask & finite) for name, mask in groups.items()}
    for name, rows in units.items():
        options.require(len(rows), what=f"Group {name!r}" if name else repr(rep.name))
    return units


def _clustered(
    rep: Representation, units: dict[str, np.ndarray], options: ClusterOptions, seeds: list[int]
) -> tuple[pd.Categorical, pd.DataFrame, pd.DataFrame]:
    """Return cluster names of all units of a representation, and what the record says of fits and sizes."""
    codes = np.full(rep.n_units, -1, np.int64)
    categories: list[str] = []
    fits: list[dict[str, Any]] = []
    sizes: list[pd.DataFrame] = []
    for (name, rows), child in zip(units.items(), seeds, strict=True):
        result = partition(rep, rows, options, np.random.default_rng(child))
        codes[rows] = result.labels + len(categories)
        names = [f"{name}:{i}" if name else str(i) for i in range(len(result.sizes))]
        categories += names
        fits.append(
            {
                "group": name,
                "method": options.resolved(rep, len(rows)),
                "n_units": len(rows),
                "n_clusters": len(names),
                "inertia": result.inertia,
            }
        )
        sizes.append(
            pd.DataFrame({"group": name, "cluster": names, "n_units": result.sizes, "share": result.sizes / len(rows)})
        )
    return pd.Categorical.from_codes(codes, categories), pd.DataFrame(fits), pd.concat(sizes)


def _used(options: ClusterOptions) -> dict[str, Any]:
    """Return the parameters that the method used."""
    if options.method == "leiden":
        return {"method": options.method, "resolution": options.resolution, "n_neighbors": options.n_neighbors}
    return {"method": options.method, "n_clusters": options.n_clusters, "n_init": options.n_init}
