"""What surrounds each unit, in any embedding and over any graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._analysis.reduce import held, reduced
from kronos_sc._core.checks import known, one_of, positive_integer
from kronos_sc._core.log import info
from kronos_sc._core.progress import track
from kronos_sc._core.representation import Representation, representation
from kronos_sc._core.resolve import region_column
from kronos_sc._core.rng import Seed, seed, start
from kronos_sc._core.target import require_anndata
from kronos_sc._core.warn import warn
from kronos_sc._methods.neighbourhood import Slot, aggregate, layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_GRAPH = (
    "Make the graph with squidpy.gr.spatial_neighbors_knn(adata, n_neighs=8) or another of squidpy's builders, or name "
    "it with connectivity_key=."
)


def nhood_aggregate(
    adata: AnnData,
    *,
    use_rep: str = "X_kronos",
    connectivity_key: str = "spatial_connectivities",
    hops: Sequence[int] = (0, 1, 2),
    stats: Sequence[str] = ("mean", "var"),
    n_pcs: int | None = None,
    rng: Seed = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Describe each unit by itself and by the units around it, ring by ring.

    Beside the features of the unit stand mean and variance over its direct neighbours, over the neighbours of those,
    and so on: what a neighbourhood is made of and how mixed it is. :func:`niches` clusters the result. A ring holds the
    units at exactly that many steps, so no unit counts twice. Any graph of squidpy will do; weights are not used.

    Parameters
    ----------
    adata
        Units with an embedding and a graph.
    use_rep
        Entry of `obsm`, or `"X"`.
    connectivity_key
        Entry of `obsp`: the graph. A row's neighbours are the columns that are not zero.
    hops
        Which rings, as steps from the unit; 0 is the unit itself. More steps look further and blur more.
    stats
        `"mean"`, `"var"` (population variance) or both, for each ring beyond 0.
    n_pcs
        Replace the features by so many principal components first: the result has features × (1 + 2 per ring) columns,
        which for wide embeddings of many cells is more than memory holds. All features if left out.
    rng
        Seed or generator, for the sample that components of large tables are fitted on.
    key_added
        Name of the record, and with `X_` before it of the entry of `obsm`; `"{representation}_nhood"` if left out.
    copy
        Return a new AnnData instead of adding to this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `obsm['X_kronos_nhood' | 'X_' + key_added]`
        float32, units × (features × statistics). An empty ring takes the unit's own values as its mean and 0 as its
        variance, as if surrounded by its like. Units with NaN stay NaN and are nobody's neighbours.
    `uns['kronos_nhood' | key_added]`
        `layout` (`hop`, `stat`, `start`, `stop`: which columns hold what) and `params`.

    Raises
    ------
    KeyError
        There is no such representation or graph.
    ValueError
        `hops` or `stats` are no choice, the graph has no edges, or `key_added` is the name of the representation
        itself.

    Warns
    -----
    UserWarning
        Edges join units of different elements of a SpatialData, whose coordinates have nothing to do with each other.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> from sklearn.neighbors import kneighbors_graph  # squidpy's graphs have more to them: radius, Delaunay, grids
    >>> cells = ks.datasets.tissue(shape=(128, 128))["table"]
    >>> cells.obsp["spatial_connectivities"] = kneighbors_graph(cells.obsm["spatial"], 6)
    >>> ks.tl.nhood_aggregate(cells, use_rep="X", hops=(0, 1))
    >>> cells.obsm["X_X_nhood"].shape[1] == 3 * cells.n_vars
    True
    """
    require_anndata(adata)
    rep = representation(adata, use_rep)
    hops, stats = _choices(hops, stats)
    graph = _graph(adata, connectivity_key)
    run = AnalysisRun(adata, "nhood_aggregate", key_added or f"{rep.label}_nhood", copy=copy)
    if f"X_{run.key}" == use_rep:
        msg = (
            f"key_added={run.key!r} would replace obsm[{use_rep!r}], which the result is made of. Choose another name, "
            f"{run.key + '_nhood'!r} say."
        )
        raise ValueError(msg)
    if n_pcs is not None:
        positive_integer(n_pcs, name="n_pcs")
    _warn_of_edges_between_elements(adata, graph, connectivity_key)

    run.announce()
    source = rep if n_pcs is None else reduced(rep, n_pcs, scale=False, rng=start(rng))
    slots = layout(source.width, hops, stats)
    values, bare = _aggregated(source, graph, slots)

    params = {
        "use_rep": use_rep,
        "connectivity_key": connectivity_key,
        "hops": list(hops),
        "stats": list(stats),
        "n_pcs": n_pcs,
        "rng": seed(rng),
    }
    run.store(params=params, tables={"layout": pd.DataFrame(slots)}, obsm={f"X_{run.key}": values})
    lonely = f"; {bare:,} units have an empty ring" if bare else ""
    shape = f"{values.shape[0]:,} × {values.shape[1]:,}"
    return run.finish(f"added obsm['X_{run.key}'], {shape}{lonely} ({run.elapsed})")


def _choices(hops: Sequence[int], stats: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return rings and statistics in order, each once."""
    rings = [hops] if isinstance(hops, int | np.integer) else list(hops)
    if not rings or any(isinstance(hop, bool) or not isinstance(hop, int | np.integer) or hop < 0 for hop in rings):
        msg = f"hops={hops!r} are no rings; give whole numbers from 0, as in hops=(0, 1, 2)."
        raise ValueError(msg)
    kinds = [stats] if isinstance(stats, str) else list(stats)
    for stat in kinds or [""]:
        one_of(stat, ("mean", "var"), name="stats")
    return sorted({int(hop) for hop in rings}), list(dict.fromkeys(kinds))


def _graph(adata: AnnData, key: str) -> sparse.csr_matrix:
    """Return the graph as ones, without loops."""
    known(key, list(adata.obsp), what="graph in obsp", fix=_GRAPH)
    coo = sparse.coo_matrix(adata.obsp[key])
    # weights and loops do not count: a unit has a neighbour or not
    edge = (coo.row != coo.col) & (coo.data != 0)
    if not edge.any():
        msg = f"The graph obsp[{key!r}] has no edges, so no unit has neighbours. {_GRAPH}"
        raise ValueError(msg)
    graph = sparse.csr_matrix((np.ones(int(edge.sum()), np.float32), (coo.row[edge], coo.col[edge])), shape=coo.shape)
    graph.data[:] = 1  # an edge listed twice is one edge
    return graph


def _warn_of_edges_between_elements(adata: AnnData, graph: sparse.csr_matrix, key: str) -> None:
    """Warn if a graph was built over several images at once, as if they lay on top of each other."""
    if (column := region_column(adata)) is None:
        return
    codes = pd.Categorical(adata.obs[column]).codes
    edges = graph.tocoo()
    if crossing := int((codes[edges.row] != codes[edges.col]).sum()):
        warn(
            f"{crossing:,} of {edges.nnz:,} edges of obsp[{key!r}] join units of different elements, whose positions "
            f"have nothing to do with each other. Build the graph again with library_key={column!r}."
        )


def _aggregated(rep: Representation, graph: sparse.csr_matrix, slots: Sequence[Slot]) -> tuple[np.ndarray, int]:
    """Return the features of all units (NaN where the embedding is) and how many units have an empty ring."""
    usable = rep.finite
    rows = np.flatnonzero(usable)
    if missing := rep.n_units - len(rows):
        info(f"{missing:,} of {rep.n_units:,} units have NaN in {rep.name!r} and are left out")
    features = np.full((rep.n_units, slots[-1].stop), np.nan, np.float32)
    most = held(rep)
    step = max(1, most // 4)  # a block, its halo and their squares
    bare = 0
    for first in track(range(0, len(rows), step), description="neighbourhoods", unit="block"):
        part = rows[first : first + step]
        features[part], empty = aggregate(rep.rows, graph, part, usable=usable, slots=slots, most=most)
        bare += int((empty > 0).sum())
    return features, bare
